"""Tokenisation, vocabularies, and the base class of text encoders."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from avs_cli.errors import SpecError
from avs_cli.types import WordVectors

# The former English list of NLTK, which contains "no", "nor" and "not"; published heads were trained with it.
STOP_WORDS = frozenset(
    """
    i me my myself we our ours ourselves you your yours yourself yourselves he him his himself she her hers herself it
    its itself they them their theirs themselves what which who whom this that these those am is are was were be been
    being have has had having do does did doing a an the and but if or because as until while of at by for with about
    against between into through during before after above below to from up down in out on off over under again further
    then once here there when where why how all any both each few more most other some such no nor not only own same so
    than too very s t can will just don should now d ll m o re ve y ain aren couldn didn doesn hadn hasn haven isn ma
    mightn mustn needn shan shouldn wasn weren won wouldn
    """.split()  # noqa: SIM905
)


def tokens(sentence: str, stop_words: bool = True) -> list[str]:
    """The words of a sentence in lower case: runs of letters A to Z and digits; on request without stop words."""
    found = re.findall(r"[a-z0-9]+", re.sub(r"[^A-Za-z0-9]", " ", sentence).lower())
    return found if stop_words else [word for word in found if word not in STOP_WORDS]


def vocabulary(sentences: Iterable[str], least: int, stop_words: bool = True) -> list[str]:
    """The words that occur `least` times or more: most frequent first, equally frequent ones as they first occur."""
    counts: Counter[str] = Counter()
    for sentence in sentences:
        counts.update(tokens(sentence, stop_words))
    return [word for word, count in counts.most_common() if count >= least]


@dataclass(frozen=True)
class Corpus:
    """Data to build a text encoder.

    sentences  training sentences, for the vocabulary
    words      the vocabulary of a head that is loaded
    vectors    pretrained word vectors, if any
    dim        dimension of word vectors
    """

    sentences: Sequence[str] = ()
    words: Sequence[str] | None = None
    vectors: WordVectors | None = None
    dim: int = 500
    _counted: dict[tuple[int, bool], list[str]] = field(default_factory=dict)

    def vocabulary(self, least: int, stop_words: bool) -> list[str]:
        """The vocabulary of an encoder."""
        if self.words is not None:
            return list(self.words)
        key = least, stop_words
        if key not in self._counted:
            self._counted[key] = vocabulary(self.sentences, least, stop_words)
        if not self._counted[key]:
            raise SpecError(f"no word occurs {least} times in the captions; use a smaller min_count")
        return self._counted[key]

    def known(self, name: str) -> list[str]:
        """The words with a pretrained vector, for encoders that require it."""
        if self.words is not None:
            return list(self.words)
        if self.vectors is None:
            raise SpecError(f"{name} needs word vectors; give them with --word-vectors")
        return list(self.vectors.rows)

    def table(self, words: Sequence[str]) -> torch.Tensor:
        """(V, dim) pretrained vectors of words; zeros if they are loaded later."""
        if self.vectors is None:
            return torch.zeros(len(words), self.dim)
        return torch.from_numpy(self.vectors.vectors[[self.vectors.rows[word] for word in words]].astype(np.float32))


class TextEncoder(nn.Module):
    """Sentences to vectors.

    dim    length of the vectors
    words  the vocabulary, in the order of its indices
    """

    dim: int
    words: list[str]

    def forward(self, sentences: Sequence[str]) -> torch.Tensor:
        """(N, dim) float32, on the device of the encoder."""
        raise NotImplementedError

    def __call__(self, sentences: Sequence[str]) -> torch.Tensor:
        result: torch.Tensor = super().__call__(sentences)
        return result
