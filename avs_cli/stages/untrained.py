"""The head to train, before training: its description, and the corpus of its text encoders."""

from collections.abc import Mapping, Sequence
from typing import Any

from avs_cli.core.models.described import describe
from avs_cli.core.models.layers import Input
from avs_cli.core.models.text import text_encoders
from avs_cli.core.models.text.words import Corpus
from avs_cli.core.training.pairs import Pairs
from avs_cli.errors import SpecError
from avs_cli.io.bigfile import read_word_vectors
from avs_cli.stages.training_data import TrainingData


def corpus_of(pairs: Pairs, word_vectors: str = "") -> Corpus:
    """The captions from which text encoders take their vocabularies.

    word_vectors  pretrained vectors for encoders that need them: a BigFile folder or a text file; "": none
    """
    vectors = read_word_vectors(word_vectors) if word_vectors else None
    return Corpus(pairs.sentences, vectors=vectors, dim=vectors.vectors.shape[1] if vectors else 500)


def described(spec: str, texts: Sequence[str], data: TrainingData, corpus: Corpus) -> dict[str, Any]:
    """The description of a new head over the features of `data` and the text encoders in `texts`.

    Raises SpecError for a head without text features.
    """
    videos, stored = _inputs(data.videos.features), _inputs(data.texts.features)
    specs = [name for name in texts if text_encoders.knows(name)]
    if not stored and not specs:
        raise SpecError("a head needs --text: a store of caption vectors, or a text encoder such as bow")
    provenances = {
        "videos": {name: gallery.provenance for name, gallery in data.videos.features.items()},
        "texts": {name: gallery.provenance for name, gallery in data.texts.features.items()},
    }
    return describe(spec, videos, stored, specs, corpus, provenances)


def _inputs(features: Mapping[str, Any]) -> list[Input]:
    return [Input(name, gallery.dim, gallery.frame_level) for name, gallery in features.items()]
