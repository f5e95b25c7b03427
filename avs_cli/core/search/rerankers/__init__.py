"""Reranking: new scores for the shots of a run, one module per method, with `rerank(candidates, ...) -> scores`.

A module may have `WEIGHT`, that of its scores beside those of the run, where users give none.
"""

from avs_cli.core.registry import Registry

# Modules that are not entries.
SHARED = ("candidates",)
rerankers = Registry("reranking method", "avs_cli.core.search.rerankers", "rerank")
# The weight of methods without one of their own.
WEIGHT = 0.5


def weight_of(method: str) -> float:
    """The weight of the scores of a method, as NAME or NAME:KEY=VALUE, where users give none."""
    return float(getattr(rerankers.module(method), "WEIGHT", WEIGHT))
