"""`avs convert` for heads trained with the published code of LAFF, W2VV++ or SEA."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from avs_cli.console import note
from avs_cli.errors import SpecError
from avs_cli.types import feature_name

if TYPE_CHECKING:
    import torch

    from avs_cli.core.models.published import Known

# Keys of the vocabularies in the published configuration.
KEPT = {"bow": "t2v_bow", "gru": "t2v_idx"}
TITLES = {"laff": "LAFF", "w2vvpp": "W2VV++", "sea": "SEA"}
# Settings that change the output of a head and cannot be inferred from its weights.
UNTOLD = ("ave", "mul", "unit_first")


def write_head(
    source: str,
    weights: "Mapping[str, torch.Tensor]",
    beside: Mapping[str, Any],
    target: str,
    spec: str,
    features: Sequence[str],
    vocabularies: Sequence[str],
    word_vectors: str,
) -> None:
    """Write a head file from a published checkpoint, and note the head that was recognised.

    weights  the checkpoint's
    beside   what its trainer kept with them
    """
    from avs_cli.core.models.published import adopt
    from avs_cli.io.head_file import save_head

    settings = _mapping(beside.get("config"))
    attentions = [str(settings[key]) for key in ("vis_attention", "txt_attention") if settings.get(key)]
    known = _known(settings, _pairs("--feature", features), _pairs("--vocabulary", vocabularies), word_vectors)
    description, ours = adopt(weights, known, spec, attentions)
    training = {key: beside[key] for key in ("epoch", "best_perf") if isinstance(beside.get(key), int | float)}
    save_head(target, description | {"training": {"published": source.rpartition("/")[2]} | training}, ours)
    note(f"{source}: {_told(description)}")
    untold = [key for key in UNTOLD if key in description["settings"]]
    if untold and spec.partition(":")[2] == "":
        chosen = ", ".join(f"{key}={str(description['settings'][key]).lower()}" for key in untold)
        note(f"assuming {chosen}, which cannot be inferred from the weights; change it as in --head laff:ave=true")


def _known(
    settings: Mapping[str, Any], names: Mapping[str, str], vocabularies: Mapping[str, str], word_vectors: str
) -> "Known":
    """Facts from the files of the user, then from the configuration in the checkpoint."""
    from avs_cli.core.models.published import Known
    from avs_cli.io.bigfile import read_word_vectors
    from avs_cli.io.text.vocabularies import read_vocabulary

    if unknown := vocabularies.keys() - KEPT.keys():
        raise SpecError(f"--vocabulary {min(unknown)}=: vocabularies exist for {' and '.join(KEPT)}")
    words = {encoder: _kept(settings, name) for encoder, name in KEPT.items()}
    words |= {encoder: read_vocabulary(path) for encoder, path in vocabularies.items()}
    vectors = read_word_vectors(word_vectors) if word_vectors else None
    return Known(words, vectors, names, feature_name, str(settings.get("pooling") or "mean"))


def _kept(settings: Mapping[str, Any], name: str) -> list[str]:
    """The words of a vocabulary in the configuration, in index order; empty if missing."""
    numbers = _mapping(_mapping(_mapping(settings.get(name)).get("vocab")).get("word2idx"))
    return sorted(numbers, key=lambda word: int(numbers[word]))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    """NAME=VALUE options as a mapping."""
    pairs = dict[str, str]()
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise SpecError(f"{option} {text}: expected NAME=VALUE")
        pairs[name] = value
    return pairs


def _told(description: Mapping[str, Any]) -> str:
    """A one-line description of the head."""
    encoders = [one["name"] for one in description["encoders"]]
    inside = f", encoded by {', '.join(encoders)}" if encoders else ""
    stored = [text["name"] for text in description["texts"]]
    texts = f", with stored text features {', '.join(stored)}" if stored else ""
    videos = ", ".join(f"{video['name']} of {video['dim']}" for video in description["videos"])
    return f"a {TITLES[description['kind']]} head over {videos}{texts}{inside}"
