"""Reranking: new scores for the shots of a run, one method a module, with `rerank(candidates, ...) -> scores`."""

from avs_cli.core.registry import Registry

# Modules that the entries share.
SHARED = ("candidates",)
rerankers = Registry("reranking method", "avs_cli.core.search.rerankers", "rerank")
