"""GRU over the words of a sentence (Cho et al. 2014, arXiv:1406.1078), trained with the head."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from avs_cli.core.models.text.words import Corpus, TextEncoder, tokens

SPECIAL = ("<pad>", "<start>", "<end>", "<unk>")
PAD, START, END, UNKNOWN = range(4)


class Recurrent(TextEncoder):
    """A recurrent layer over word vectors, in one or both directions; the mean of its outputs, or the last ones.

    Stop words such as "not" are included. The mean includes the start and end marks.
    """

    def __init__(self, words: list[str], dim: int, hidden: int, pooling: str, both_ways: bool):
        super().__init__()
        self.words, self.pooling, self.hidden = words, pooling, hidden
        self.index = {word: index for index, word in enumerate([*SPECIAL, *words])}
        self.we = nn.Embedding(len(SPECIAL) + len(words), dim)
        self.rnn = nn.GRU(dim, hidden, batch_first=True, bidirectional=both_ways)
        self.dim = hidden * (1 + both_ways) * (2 if pooling == "mean_last" else 1)
        nn.init.uniform_(self.we.weight, -1, 1)

    def ids(self, sentence: str) -> list[int]:
        """The words' indices between the marks."""
        return [START, *(self.index.get(word, UNKNOWN) for word in tokens(sentence)), END]

    def forward(self, sentences: Sequence[str]) -> torch.Tensor:
        """(N, dim) float32."""
        ids = [self.ids(sentence) for sentence in sentences]
        lengths = torch.tensor([len(one) for one in ids])
        padded = torch.full((len(ids), int(lengths.max())), PAD)
        for row, one in enumerate(ids):
            padded[row, : len(one)] = torch.tensor(one)
        return self.encode(padded, lengths)

    def encode(self, padded: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """(N, T) indices and their (N,) true lengths to (N, dim)."""
        vectors = self.we(padded.to(self.we.weight.device))
        packed = nn.utils.rnn.pack_padded_sequence(vectors, lengths, batch_first=True, enforce_sorted=False)
        outputs, last = self.rnn(packed)
        states, _ = nn.utils.rnn.pad_packed_sequence(outputs, batch_first=True)
        mean = states.sum(1) / lengths.to(states.device)[:, None]
        ends = torch.cat(list(last), dim=1)
        return {"mean": lambda: mean, "last": lambda: ends, "mean_last": lambda: torch.cat([mean, ends], 1)}[
            self.pooling
        ]()


def recurrent(corpus: Corpus, min_count: int, hidden: int, pooling: str, both_ways: bool) -> Recurrent:
    """The encoder, with word vectors initialised from pretrained ones if there are any."""
    words = corpus.vocabulary(min_count, stop_words=True)
    encoder = Recurrent(words, corpus.dim, hidden, pooling, both_ways)
    if corpus.vectors is not None:
        known = [word for word in words if word in corpus.vectors.rows]
        with torch.no_grad():
            encoder.we.weight[[encoder.index[word] for word in known]] = corpus.table(known)
    return encoder


def build(
    corpus: Corpus, min_count: int = 5, hidden: int = 1024, pooling: Literal["mean", "last", "mean_last"] = "mean"
) -> Recurrent:
    """Unidirectional GRU with `hidden` units."""
    return recurrent(corpus, min_count, hidden, pooling, both_ways=False)
