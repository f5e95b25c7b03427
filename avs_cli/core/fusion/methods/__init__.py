"""Late fusion: one module per method, each with `fuse(runs, ...) -> Run`.

A method that learns from judgments also has `fit(judged, ...)`, which gives the model of `fuse(runs, model)`; its
parameters are those of `fit`. A method with `weights` may take them from judgments (weights=measure).

The result has all shots of all runs. A shot that a run does not return has score 0 there after normalisation. A run
that returns nothing for a topic does not count for it. The result does not depend on the order of the runs, even in the
last bit: sums are exact and rounded once. trectools
(0.0.50) sums in the order of the runs, fails for three of them with pandas 3, and has no Borda count.
"""

from avs_cli.core.registry import Registry

methods = Registry("fusion method", __name__, "fuse")
fits = Registry("fusion method", __name__, "fit")
# Rank-based methods also have `rank_scores(runs, longest, ...) -> list[float]`.
rank_scores = Registry("fusion method", __name__, "rank_scores")
# The measures that learning to rank can optimise, at common cutoffs, for completion.
MEASURES = ("xinfAP", "AP", "nDCG", "nDCG@10", "nDCG@20", "P@5", "P@10", "P@20")
