"""Convert checkpoints of the published code of LAFF, W2VV++ or SEA to heads."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch

from avs_cli.core.models.published import Known, adopt
from avs_cli.errors import SpecError
from avs_cli.io.bigfile import read_word_vectors
from avs_cli.io.head_file import save_head
from avs_cli.io.text.vocabularies import read_vocabulary
from avs_cli.reporting import LOGGED, Reporter
from avs_cli.types import feature_name

# Text encoder -> key of its vocabulary in the published configuration.
VOCABULARIES = {"bow": "t2v_bow", "gru": "t2v_idx"}
TITLES = {"laff": "LAFF", "w2vvpp": "W2VV++", "sea": "SEA"}
# Settings that change the output of a head and cannot be inferred from its weights.
ASSUMED = ("ave", "mul", "unit_first")


def convert_head(
    source: str,
    weights: Mapping[str, torch.Tensor],
    beside: Mapping[str, Any],
    output: str,
    spec: str = "",
    features: Mapping[str, str] = MappingProxyType({}),
    vocabularies: Mapping[str, str] = MappingProxyType({}),
    word_vectors: str = "",
    report: Reporter = LOGGED,
) -> None:
    """Write a head file from a published checkpoint, and note the head that was recognised.

    source        name of the checkpoint
    weights       what it holds, and what its trainer kept `beside` them
    spec          settings that cannot be inferred from the weights, such as laff:ave=true
    features      published name of a feature -> its name in our stores
    vocabularies  bow or gru -> file of its vocabulary, where the checkpoint lacks it
    word_vectors  pretrained word vectors: a BigFile folder or a text file
    Raises MismatchError for weights of no head that is known, or where a vocabulary is missing.
    """
    settings = _mapping(beside.get("config"))
    attentions = [str(settings[key]) for key in ("vis_attention", "txt_attention") if settings.get(key)]
    description, renamed = adopt(weights, _known(settings, features, vocabularies, word_vectors), spec, attentions)
    training = {key: beside[key] for key in ("epoch", "best_perf") if isinstance(beside.get(key), int | float)}
    save_head(output, description | {"training": {"published": source.rpartition("/")[2]} | training}, renamed)
    report.note(f"{source}: {_summary(description)}")
    assumed = [key for key in ASSUMED if key in description["settings"]]
    if assumed and spec.partition(":")[2] == "":
        chosen = ", ".join(f"{key}={str(description['settings'][key]).lower()}" for key in assumed)
        report.note(
            f"assuming {chosen}, which cannot be inferred from the weights; change it as in --head laff:ave=true"
        )


def _known(
    settings: Mapping[str, Any], features: Mapping[str, str], vocabularies: Mapping[str, str], word_vectors: str
) -> Known:
    """Facts from the files of the user, then from the configuration in the checkpoint."""
    if unknown := vocabularies.keys() - VOCABULARIES.keys():
        raise SpecError(f"--vocabulary {min(unknown)}=: vocabularies exist for {' and '.join(VOCABULARIES)}")
    words = {encoder: _words(settings, name) for encoder, name in VOCABULARIES.items()}
    words |= {encoder: read_vocabulary(path) for encoder, path in vocabularies.items()}
    vectors = read_word_vectors(word_vectors) if word_vectors else None
    return Known(words, vectors, features, feature_name, str(settings.get("pooling") or "mean"))


def _words(settings: Mapping[str, Any], name: str) -> list[str]:
    """The words of a vocabulary in the configuration, in index order; empty if missing."""
    numbers = _mapping(_mapping(_mapping(settings.get(name)).get("vocab")).get("word2idx"))
    return sorted(numbers, key=lambda word: int(numbers[word]))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _summary(description: Mapping[str, Any]) -> str:
    """A one-line description of the head."""
    encoders = [one["name"] for one in description["encoders"]]
    inside = f", encoded by {', '.join(encoders)}" if encoders else ""
    stored = [text["name"] for text in description["texts"]]
    texts = f", with stored text features {', '.join(stored)}" if stored else ""
    videos = ", ".join(f"{video['name']} of {video['dim']}" for video in description["videos"])
    return f"a {TITLES[description['kind']]} head over {videos}{texts}{inside}"
