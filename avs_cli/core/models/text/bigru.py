"""Bidirectional GRU (Schuster and Paliwal 1997, doi:10.1109/78.650093; see gru)."""

from typing import Literal

from avs_cli.core.models.text.gru import Recurrent, recurrent
from avs_cli.core.models.text.words import Corpus


def build(
    corpus: Corpus, min_count: int = 5, hidden: int = 1024, pooling: Literal["mean", "last", "mean_last"] = "mean"
) -> Recurrent:
    """Bidirectional GRU with `hidden` units per direction."""
    return recurrent(corpus, min_count, hidden, pooling, both_ways=True)
