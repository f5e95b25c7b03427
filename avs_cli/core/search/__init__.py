"""Exact search over galleries, by vectors and by heads, and reranking."""
