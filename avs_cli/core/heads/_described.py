"""A head in words, as its file keeps them, and back: kind, settings, features, vocabularies.

    {"kind": "laff", "settings": {"dim": 4096, …},
     "videos": [{"name": "clip", "dim": 512, "frames": false, "provenance": {…}}], "texts": […],
     "encoders": [{"name": "bow", "settings": {…}, "words": […], "word_dim": 500}]}

All settings are written, those left at their defaults too: a default that changes later must not change old heads.
"""

import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from avs_cli.core.heads import heads
from avs_cli.core.heads._blocks import Head, Input
from avs_cli.core.text import encoders
from avs_cli.core.text._words import Corpus
from avs_cli.errors import MismatchError

Description = dict[str, Any]


def describe(
    spec: str,
    videos: Sequence[Input],
    texts: Sequence[Input],
    encoder_specs: Sequence[str],
    corpus: Corpus,
    provenances: Mapping[str, Mapping[str, Mapping[str, Any]]],
) -> Description:
    """The description of a head that is to be trained; counts the encoders' vocabularies.

    provenances  "videos" or "texts" -> feature -> where its vectors come from; both ends may name a feature alike
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
    """The head that a description is of, with fresh weights; pretrained word vectors come from `corpus`.

    Raises MismatchError for a description that lacks something, SpecError or UnknownName for one that this version
    cannot build.
    """
    try:
        videos, texts = (
            [Input(one["name"], int(one["dim"]), bool(one["frames"])) for one in description[end]]
            for end in ("videos", "texts")
        )
        built = [(str(one["name"]), _built(one, corpus)) for one in description["encoders"]]
        head: Head = heads.load(description["kind"])(videos, texts, built, **description["settings"])
    except (KeyError, TypeError, ValueError) as error:
        raise MismatchError(f"the description of the head does not build one ({error})") from None
    return head


def load_weights(head: nn.Module, weights: Mapping[str, torch.Tensor], name: str) -> None:
    """Put weights into a head, all and no others; raises MismatchError that names the first that does not fit."""
    state = head.state_dict()
    for key in sorted(state.keys() ^ weights.keys()):
        raise MismatchError(
            f"{name}: its weights {'have' if key in weights else 'lack'} {key!r}, unlike its description"
        )
    for key, value in weights.items():
        if value.shape != state[key].shape:
            raise MismatchError(
                f"{name}: {key!r} is {tuple(value.shape)}, and its description says {tuple(state[key].shape)}"
            )
    head.load_state_dict(dict(weights))


def settings_of(build: Any) -> dict[str, Any]:
    """Every keyword parameter of a registry entry, bound or default."""
    bound = chosen_in(build)
    function = build.func if isinstance(build, partial) else build
    return {
        parameter.name: bound.get(parameter.name, parameter.default)
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is not inspect.Parameter.empty
    }


def chosen_in(build: Any) -> dict[str, Any]:
    """The parameters of a registry entry that its spec chose."""
    return dict(build.keywords) if isinstance(build, partial) else {}


def described_encoder(spec: str, corpus: Corpus) -> dict[str, Any]:
    """The description of a text encoder, with the vocabulary that it has over a corpus."""
    build = encoders.load(spec)
    return {
        "name": spec.partition(":")[0],
        "settings": settings_of(build),
        "words": build(corpus).words,
        "word_dim": corpus.dim,
    }


def _built(described: Mapping[str, Any], corpus: Corpus | None) -> Any:
    known = Corpus(words=described["words"], vectors=corpus.vectors if corpus else None, dim=described["word_dim"])
    return encoders.load(described["name"])(known, **described["settings"])
