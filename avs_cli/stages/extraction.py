"""The features to extract: what is asked of each encoder and of its feature in a store, and the encoders themselves."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from avs_cli import __version__
from avs_cli.core.encoders import ADVICE, PACKAGED, Encoder, encoders
from avs_cli.errors import IncompleteError, SpecError
from avs_cli.io.facts import keep, recall
from avs_cli.io.store.writer import FeatureWriter, StoreWriter
from avs_cli.provenance import describe, versions
from avs_cli.reporting import Reporter
from avs_cli.stages.inputs import FilePath
from avs_cli.types import Facts, Failure, Sampling, Shot, feature_name

# Packages whose versions are recorded in a store of frames.
PACKAGES = ("av", "numpy", "timm", "torch", "transformers")

Precision = Literal["auto", "fp32", "bf16", "fp16"]
Dtype = Literal["float16", "float32"]
Pooling = Literal["mean", "max", "none"]


Weights = FilePath | Mapping[str, FilePath]
"""A local checkpoint of the one model, or of each of several models by its spec."""


@dataclass(frozen=True)
class Extraction:
    """What is asked of the encoder `spec` and of its feature in a store; None is the encoder's own choice."""

    spec: str
    path: str
    feature: str
    weights: FilePath | None
    device: str
    precision: Precision
    fps: float | None
    max_frames: int | None
    pool: Pooling | None
    frame_norm: Literal["none", "l2"]
    dtype: Dtype
    hwaccel: str = ""

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that determines the encoder, apart from the content of its weight files."""
        return {
            "spec": self.spec,
            "weights": str(Path(self.weights).absolute()) if self.weights else self.weights,
            "device": self.device,
            "precision": self.precision,
            "packages": {"avs": __version__, **versions(*PACKAGES, "open_clip_torch")},
            "places": {name: os.environ.get(name, "") for name in ("HF_HOME", "HF_HUB_CACHE", "TORCH_HOME")},
        }

    @property
    def name(self) -> str:
        """The feature as other stages take it."""
        return f"{self.path}::{self.feature}"

    def sampling(self, encoder: Encoder | Facts) -> Sampling:
        """The encoder's sampling with the user's changes."""
        sampling = encoder.sampling
        if self.fps is not None:
            if sampling.fps is None or sampling.clip > 1:
                raise SpecError(f"{self.spec} has a fixed number of frames; --fps does not apply")
            sampling = replace(sampling, fps=self.fps)
        return sampling if self.max_frames is None else replace(sampling, max_frames=self.max_frames)

    def pooling(self, encoder: Encoder | Facts) -> str:
        return self.pool or encoder.pooling

    def writer(self, encoder: Encoder | Facts) -> StoreWriter:
        """The writer of the store, which compares the provenance with what the store has."""
        pooling = self.pooling(encoder)
        # Recorded only where used: what another decoder gives is not pinned.
        decoded = {"hwaccel": self.hwaccel} if self.hwaccel else {}
        provenance = describe(
            {**encoder.provenance, "frame_norm": self.frame_norm, **decoded},
            spec=self.spec,
            pooling=pooling,
            dtype=self.dtype,
            packages=versions(*PACKAGES),
            pixels=encoder.pixels,
            sampling=self.sampling(encoder),
        )
        return StoreWriter(self.path, self.feature, encoder.dim, provenance, self.dtype, frame_level=pooling == "none")


def targets(output: str, models: Sequence[str]) -> list[tuple[str, str]]:
    """The store's path and the name of each model's feature in it: `file.h5::name`, else the model's own name.

    Raises SpecError without models, and where two of them would write one feature.
    """
    path, _, name = output.partition("::")
    if not models:
        raise SpecError("no model to encode with")
    if len(models) == 1:
        return [(path, name or _own_name(models[0]))]
    if name:
        raise SpecError(f"{output} names one feature, and {len(models)} models give one each; write to {path}")
    given: dict[str, str] = {}
    for model in models:
        own = _own_name(model)
        if own in given:
            what = f"{model} is given twice" if given[own] == model else f"{given[own]} and {model} are both {own!r}"
            raise SpecError(f"{what}; a store has one feature of a name")
        given[own] = model
    return [(path, own) for own in given]


def _own_name(model: str) -> str:
    first, _, rest = model.partition(":")
    values = [piece.partition("=")[2] or piece for piece in rest.split(",") if piece]
    return feature_name("-".join([first, *values]))


def weights_of_each(weights: Weights | None, models: Sequence[str]) -> list[FilePath | None]:
    """The checkpoint of each model. Raises SpecError for one that is not said to be of a model."""
    if not isinstance(weights, Mapping):
        if weights and len(models) > 1:
            raise SpecError(f"{weights}: weights of which of the {len(models)} models? write {models[0]}=PATH")
        return [weights] * len(models)
    if other := next((name for name in weights if name not in models), ""):
        raise SpecError(f"weights of {other}, which is none of the models: {', '.join(models)}")
    return [weights.get(model) for model in models]


def load_encoders(wanted: Sequence[Extraction], threads: int) -> tuple[dict[str, Encoder], int]:
    """As `load_encoder`, the encoder of each feature."""
    loaded, decoders = {}, 1
    for one in wanted:
        loaded[one.feature], decoders = load_encoder(one.spec, one.device, threads, one.weights, one.precision)
    return loaded, decoders


def load_encoder(
    model: str, device: str, threads: int, weights: FilePath | None, precision: str
) -> tuple[Encoder, int]:
    """The encoder, and the number of decoding processes beside it; raises for missing or wrong weights."""
    load = encoders.load(model)
    from avs_cli.core.device import prepare
    from avs_cli.stages.runtime import runtime

    chosen = prepare(device, threads)
    encoder: Encoder = load(runtime(chosen.device, chosen.threads, str(weights) if weights else None, precision))
    _ = encoder.provenance  # reads the weights, so that missing or wrong ones are reported before any video is opened
    return encoder, chosen.workers


def check_models(wanted: Sequence[Extraction], threads: int) -> None:
    """Raise for a model that is unknown, has no images, or whose weights are missing or wrong; decodes nothing."""
    for one in wanted:
        encoder, _ = load_encoder(one.spec, one.device, threads, one.weights, one.precision)
        _check_images(one.spec, encoder)


def _check_images(spec: str, encoder: Encoder | Facts) -> None:
    if encoder.pixels is None:
        raise SpecError(f"{spec} encodes text only; give --text FILE")


def check_each(loaded: Mapping[str, Encoder | Facts], report: Reporter) -> None:
    """Raise SpecError for an encoder without images, and note what one is weak at; they come by their specs."""
    for spec, encoder in loaded.items():
        _check_images(spec, encoder)
        if spec in ADVICE:
            report.note(ADVICE[spec])


def keep_facts(identity: Mapping[str, Any], encoder: Encoder) -> None:
    """Save the encoder's facts, so that the next call need not load it to find a store finished."""
    if sources := getattr(encoder, "sources", ()):
        facts = Facts(encoder.dim, encoder.pixels, encoder.sampling, encoder.pooling, encoder.provenance)
        keep(identity, facts, sources)


def recalled(wanted: Extraction) -> Facts | None:
    """The facts on an encoder of images as it was last loaded; None where it was not, or has changed since."""
    facts = recall(wanted.identity)
    return facts if facts and facts.pixels else None


def present(wanted: Extraction, threads: int) -> Facts | Encoder | None:
    """What is known of the encoder as it is now: recalled, or loaded if its weights are packaged; else None."""
    if facts := recalled(wanted):
        return facts
    if wanted.spec.partition(":")[0] not in PACKAGED:
        return None
    encoder, _ = load_encoder(wanted.spec, wanted.device, threads, wanted.weights, wanted.precision)
    keep_facts(wanted.identity, encoder)
    return encoder


def shard_of(found: Sequence[Shot | Failure], number: int, parts: int) -> list[Shot | Failure]:
    """Part `number` of `parts`; a video's shots stay together."""
    groups: dict[str, int] = {}
    return [
        item
        for item in found
        if groups.setdefault(item.video if isinstance(item, Shot) else item.id, len(groups)) % parts == number - 1
    ]


def failures_of(writer: FeatureWriter[Any], found: Sequence[Shot | Failure]) -> list[Failure]:
    """The shots that a feature lacks, in order."""
    return [writer.failed[item.id] for item in found if item.id in writer.failed]


def check_complete(path: str, failed: Mapping[str, int], total: int) -> None:
    """Raises IncompleteError for a finished store that lacks shots; `failed` has their number per feature."""
    if not any(failed.values()):
        return
    if len(failed) == 1:
        (count,) = failed.values()
        raise IncompleteError(f"{path}: {count} of {total} shots are missing; see {path}.errors.jsonl")
    lacking = ", ".join(f"{count} of {feature}" for feature, count in failed.items() if count)
    raise IncompleteError(f"{path}: of {total} shots, {lacking} are missing; see {path}.errors.jsonl")
