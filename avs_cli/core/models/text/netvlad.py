"""NetVLAD over pretrained word vectors (Arandjelovic et al. 2016, arXiv:1511.07247).

The distinct words' unit vectors are softly assigned to clusters by a linear map without bias, and their residuals
from the cluster centres are summed; the result is normalised per cluster, then as a whole.
"""

from collections.abc import Sequence

import torch
from torch import nn

from avs_cli.core.models.layers import unit
from avs_cli.core.models.text.words import Corpus, TextEncoder, tokens


class NetVLAD(TextEncoder):
    """(N, clusters * D), unit length; zeros without known words."""

    table: torch.Tensor

    def __init__(self, words: list[str], table: torch.Tensor, clusters: int, stop_words: bool):
        super().__init__()
        self.words, self.stop_words = words, stop_words
        self.index = {word: index for index, word in enumerate(words)}
        self.dim = clusters * table.shape[1]
        self.register_buffer("table", table)
        self.centres = nn.Parameter(torch.rand(clusters, table.shape[1]))
        self.assign = nn.Linear(table.shape[1], clusters, bias=False)

    def forward(self, sentences: Sequence[str]) -> torch.Tensor:
        """(N, dim) float32."""
        rows = [
            sorted({self.index[word] for word in tokens(sentence, self.stop_words) if word in self.index})
            for sentence in sentences
        ]
        counts = torch.tensor([len(row) for row in rows], device=self.table.device)
        return self.encode(self.table[[index for row in rows for index in row]], counts)

    def encode(self, vectors: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        """(M, D) vectors of the words of N sentences and (N,) words per sentence to (N, dim)."""
        vectors = unit(vectors)
        shares = self.assign(vectors).softmax(1)
        owner = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
        differences = shares[:, :, None] * (vectors[:, None, :] - self.centres)
        sums = differences.new_zeros(len(counts), *self.centres.shape).index_add(0, owner, differences)
        return unit(unit(sums).flatten(1))


def build(corpus: Corpus, clusters: int = 32, stop_words: bool = False) -> NetVLAD:
    """NetVLAD over the words in the file of word vectors."""
    words = corpus.known("netvlad")
    return NetVLAD(words, corpus.table(words), clusters, stop_words)
