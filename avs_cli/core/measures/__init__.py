"""Evaluation measures: one module per measure, each with `score(ranking, judgments, ...) -> float`."""
