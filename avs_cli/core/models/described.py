"""Descriptions of heads in their files: kind, settings, features, vocabularies.

    {"kind": "laff", "settings": {"dim": 4096, …},
     "videos": [{"name": "clip", "dim": 512, "frames": false, "provenance": {…}}], "texts": […],
     "encoders": [{"name": "bow", "settings": {…}, "words": […], "word_dim": 500}]}

All settings are written, including defaults: a later change of a default must not change old heads.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from avs_cli.core.models.heads import heads
from avs_cli.core.models.layers import Head, Input
from avs_cli.core.models.settings import settings_for, settings_of
from avs_cli.core.models.text import text_encoders
from avs_cli.core.models.text.words import Corpus
from avs_cli.core.weights import misfits, shapes_of
from avs_cli.errors import MismatchError, SpecError

Description = dict[str, Any]


def describe(
    spec: str,
    videos: Sequence[Input],
    texts: Sequence[Input],
    encoder_specs: Sequence[str],
    corpus: Corpus,
    provenances: Mapping[str, Mapping[str, Mapping[str, Any]]],
) -> Description:
    """The description of a new head, with the vocabularies of its encoders.

    provenances  "videos" or "texts" -> feature -> provenance; features of both ends may have the same name
    """
    seen, written = (provenances.get(end, {}) for end in ("videos", "texts"))
    return {
        "kind": spec.partition(":")[0],
        "settings": settings_of(heads.load(spec)),
        "videos": [{**video._asdict(), "provenance": seen.get(video.name, {})} for video in videos],
        "texts": [{**text._asdict(), "provenance": written.get(text.name, {})} for text in texts],
        "encoders": [described_encoder(one, corpus) for one in encoder_specs],
    }


def rebuild(description: Description, corpus: Corpus | None = None) -> Head:
    """The head of a description, with new weights; pretrained word vectors are those of `corpus`.

    Raises MismatchError for an incomplete description, and for one that this version does not support.
    """
    try:
        videos, texts = (
            [Input(one["name"], int(one["dim"]), bool(one["frames"])) for one in description[end]]
            for end in ("videos", "texts")
        )
        built = [(str(one["name"]), _built(one, corpus)) for one in description["encoders"]]
        if not videos or not (texts or built):
            raise MismatchError(f"the head takes no feature of {'texts' if videos else 'videos'}")
        settings = settings_for("head", description["kind"], heads, description["settings"])
        head: Head = heads.load(description["kind"])(videos, texts, built, **settings)
    except (LookupError, TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        said = " ".join(str(error).split())
        raise MismatchError(f"the description of the head does not build one ({said})") from None
    return head


def rebuilt(description: Description, weights: Mapping[str, torch.Tensor], name: str) -> Head:
    """The head of a description, with its weights. Raises MismatchError if they do not match.

    name  of the file, for messages
    """
    try:
        # On the meta device first: sizes in an invalid description may exceed the memory.
        with torch.device("meta"):
            check_weights(rebuild(description), weights, name)
        head = rebuild(description)
    except (MismatchError, SpecError) as error:
        raise MismatchError(str(error) if str(error).startswith(name) else f"{name}: {error}") from None
    head.load_state_dict(dict(weights))
    return head


def load_weights(head: nn.Module, weights: Mapping[str, torch.Tensor], name: str) -> None:
    """Load the weights of a head. Raises MismatchError with the first one that is missing, unknown or different."""
    check_weights(head, weights, name)
    head.load_state_dict(dict(weights))


def check_weights(head: nn.Module, weights: Mapping[str, torch.Tensor], name: str) -> None:
    """Raises MismatchError with the first weight that is missing, unknown, or has another shape or type."""
    state = head.state_dict()
    for key, own, given in misfits(shapes_of(state), shapes_of(weights)):
        if own is None or given is None:
            raise MismatchError(
                f"{name}: its weights {'lack' if given is None else 'have'} {key!r}, unlike its description"
            )
        raise MismatchError(f"{name}: {key!r} is {given}, and its description says {own}")
    for key, value in weights.items():
        if (value.is_floating_point(), value.is_complex()) != (state[key].is_floating_point(), False):
            raise MismatchError(f"{name}: {key!r} is {value.dtype}, and its description says {state[key].dtype}")


def described_encoder(spec: str, corpus: Corpus) -> dict[str, Any]:
    """The description of a text encoder, with its vocabulary for a corpus."""
    build = text_encoders.load(spec)
    return {
        "name": spec.partition(":")[0],
        "settings": settings_of(build),
        "words": build(corpus).words,
        "word_dim": corpus.dim,
    }


def _built(described: Mapping[str, Any], corpus: Corpus | None) -> Any:
    known = Corpus(words=described["words"], vectors=corpus.vectors if corpus else None, dim=described["word_dim"])
    settings = settings_for("text encoder", described["name"], text_encoders, described["settings"])
    if len({*described["words"]}) < len(described["words"]):
        raise MismatchError(f"a word occurs twice in the vocabulary of {described['name']}")
    return text_encoders.load(described["name"])(known, **settings)
