"""Reranking: new scores for the shots of a run, one method a module, with `rerank(candidates, ...) -> scores`."""

from avs_cli.core.registry import Registry

rerankers = Registry("reranking method", "avs_cli.core.reranking", "rerank")
