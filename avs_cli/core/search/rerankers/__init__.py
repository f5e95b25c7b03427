"""Reranking: new scores for the shots of a run, one module per method, with `rerank(candidates, ...) -> scores`.

A module may have `weight(queries)`, that of its scores beside those of the run where users give none; `queries` is
whether it was given the topics' vectors.
"""

from avs_cli.core.registry import Registry

# Modules that are not entries.
SHARED = ("candidates",)
rerankers = Registry("reranking method", "avs_cli.core.search.rerankers", "rerank")
# The weight of methods that have no function for it.
WEIGHT = 0.5
# The shots per topic that methods without a number of their own rerank.
DEPTH = 1000


def weight_of(method: str, queries: bool) -> float:
    """The weight of the scores of a method, as NAME or NAME:KEY=VALUE, where users give none."""
    own = getattr(rerankers.module(method), "weight", None)
    return float(own(queries)) if own else WEIGHT


def depth_of(method: str) -> int:
    """The shots per topic that a method reranks where users give no number."""
    return int(getattr(rerankers.module(method), "DEPTH", DEPTH))
