"""Reranking: new scores for the shots of a run, one module per method, with `rerank(candidates, ...) -> scores`."""

from avs_cli.core.registry import Registry

# Modules that are not entries.
SHARED = ("candidates",)
rerankers = Registry("reranking method", "avs_cli.core.search.rerankers", "rerank")
