"""Bag of words: counts of the words of the vocabulary, without stop words, not normalised."""

from collections.abc import Sequence

import numpy as np
import torch

from avs_cli.core.models.text.words import Corpus, TextEncoder, tokens


class BagOfWords(TextEncoder):
    """(N, V) counts. "not" is a stop word, so negation is ignored."""

    place: torch.Tensor

    def __init__(self, words: list[str], stop_words: bool):
        super().__init__()
        self.words, self.stop_words, self.dim = words, stop_words, len(words)
        self.index = {word: index for index, word in enumerate(words)}
        self.register_buffer("place", torch.empty(0), persistent=False)

    def forward(self, sentences: Sequence[str]) -> torch.Tensor:
        """(N, V) float32."""
        counts = np.zeros((len(sentences), self.dim), np.float32)
        for row, sentence in enumerate(sentences):
            for word in tokens(sentence, self.stop_words):
                if word in self.index:
                    counts[row, self.index[word]] += 1
        return torch.from_numpy(counts).to(self.place.device)


def build(corpus: Corpus, min_count: int = 5, stop_words: bool = False) -> BagOfWords:
    """Counts of words that occur at least `min_count` times in the training captions."""
    return BagOfWords(corpus.vocabulary(min_count, stop_words), stop_words)
