"""Late fusion: one module per method, each with `fuse(runs, ...) -> Run`.

A fused topic has every shot that any of the runs returns for it. A shot that a run does not return scores 0 there after
normalisation. The order of the runs makes no difference, not even in the last bit: sums are exact and rounded once.
"""

from avs_cli.core.registry import Registry

methods = Registry("fusion method", __name__, "fuse")
# Those that sum what ranks are worth also have `shares(runs, longest, ...) -> list[float]`.
shares = Registry("fusion method", __name__, "shares")
# The measures that learning to rank can optimise, at the cutoffs that are usual: what completion offers.
MEASURES = ("xinfAP", "AP", "nDCG", "nDCG@10", "nDCG@20", "P@5", "P@10", "P@20")
