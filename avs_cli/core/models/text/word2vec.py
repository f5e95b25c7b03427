"""Mean of pretrained word vectors over the distinct words of a sentence (word2vec: Mikolov et al., arXiv:1301.3781)."""

from collections.abc import Sequence

import torch

from avs_cli.core.models.text.words import Corpus, TextEncoder, tokens


class MeanWordVector(TextEncoder):
    """(N, D) means of frozen vectors; repeated words count once; zeros without known words."""

    table: torch.Tensor

    def __init__(self, words: list[str], table: torch.Tensor, stop_words: bool):
        super().__init__()
        self.words, self.stop_words, self.dim = words, stop_words, table.shape[1]
        self.index = {word: index for index, word in enumerate(words)}
        self.register_buffer("table", table)

    def forward(self, sentences: Sequence[str]) -> torch.Tensor:
        """(N, D) float32."""
        vectors = self.table.new_zeros(len(sentences), self.dim)
        for row, sentence in enumerate(sentences):
            # In the order of the table, so that equal sets of words give equal sums.
            known = sorted({self.index[word] for word in tokens(sentence, self.stop_words) if word in self.index})
            if known:
                vectors[row] = self.table[known].mean(0)
        return vectors


def build(corpus: Corpus, stop_words: bool = False) -> MeanWordVector:
    """The mean vector; the head stores all word vectors of the file, since topics use words that captions lack."""
    words = corpus.known("word2vec")
    return MeanWordVector(words, corpus.table(words), stop_words)
