"""Training the weights of lite, the offline default, from a folder of photos and their captions.

    train_lite("photos", ["photos.caption.txt"], "lite.safetensors")

Takes some twenty minutes on two cores for 6,000 photos. On one machine the same inputs give the same bytes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn.functional import interpolate

from avs_cli.core.device import prepare
from avs_cli.core.encoders import minilm
from avs_cli.core.encoders.lite import HEADER, SIZE
from avs_cli.core.extraction.batches import encode
from avs_cli.core.extraction.sampling import sample_times
from avs_cli.core.models import efficientnet_lite0
from avs_cli.core.models.efficientnet_lite0 import CLASSES
from avs_cli.core.models.lite import FEATURES, quantised
from avs_cli.core.training.lite import (
    CaptionStates,
    LiteRecipe,
    LiteTraining,
    PhotoVersions,
    joined,
    prototypes,
)
from avs_cli.errors import MismatchError, few
from avs_cli.io.tensors import save
from avs_cli.io.text.captions import item_of, read_all
from avs_cli.io.video.frames import Job, decode, is_picture
from avs_cli.provenance import versions
from avs_cli.reporting import LOGGED, Reporter
from avs_cli.stages.inputs import FilePath, Paths, path_names
from avs_cli.stages.runtime import runtime
from avs_cli.types import Failure, Pixels, Sampling, Shot

# Parts of a photo that the network sees too: top, left and side as shares of the photo, and whether it is mirrored.
CROPS = ((0.0, 0.0, 1.0, True), (0.0, 0.0, 0.8, False), (0.2, 0.2, 0.8, True), (0.15, 0.15, 0.7, False))
BATCH = 16


class TrainedLite(NamedTuple):
    """What a training wrote: the number of photos and captions that it learnt from, and the last mean loss."""

    photos: int
    captions: int
    loss: float


def train_lite(
    photos: FilePath,
    captions: Paths,
    output: FilePath,
    *,
    recipe: LiteRecipe | None = None,
    date: str = "",
    threads: int = 0,
    report: Reporter = LOGGED,
) -> TrainedLite:
    """Train both sides of lite and write them to a safetensors file.

    photos    a folder of pictures; the id of a picture is its name without the ending
    captions  files of captions of these pictures
    recipe    other settings than the usual ones
    date      the day of the training, for its provenance
    threads   CPU threads; 0: all cores. Results depend on their number in the last digits
    Raises MismatchError for captions of pictures that are not there or cannot be read.
    """
    recipe = recipe or LiteRecipe()
    files = path_names(captions)
    sentences = read_all(files)
    pictures = {path.stem: path for path in sorted(Path(photos).iterdir()) if is_picture(path.name)}
    owners = [item_of(caption) for caption in sentences]
    if absent := [id for id in dict.fromkeys(owners) if id not in pictures]:
        raise MismatchError(f"{photos}: no picture of {few(absent, 3)}, which {', '.join(files)} describes")
    machine = prepare("cpu", threads)
    ids = list(dict.fromkeys(owners))
    eyes = _PhotoEncoder(machine.threads)
    seen = _features(eyes, [pictures[id] for id in ids], report)
    index = {id: place for place, id in enumerate(ids)}
    reader = minilm.MiniLM(runtime(threads=machine.threads))
    spoken = _states(reader, list(sentences.values()), [index[owner] for owner in owners], report)
    with torch.no_grad():
        layer = eyes.network.classifier
        own = prototypes(seen.pooled[0].float().mean(0), layer.weight, layer.bias)
    wordings = class_wordings()
    named = _states(reader, [text for texts in wordings for text in texts], [*range(CLASSES)] * len(wordings), report)
    everything = PhotoVersions(*(_with_prototypes(part, extra) for part, extra in zip(seen, own, strict=True)))
    training = LiteTraining(everything, joined(spoken, named, len(ids)), recipe)
    loss = float("nan")
    with report.progress("training", recipe.epochs) as advance:
        for epoch in training:
            loss = epoch.loss
            advance(1, f"loss {loss:.3f}")
    facts = {
        "data": {"photos": len(ids), "captions": len(sentences), "classes": CLASSES},
        "recipe": asdict(recipe),
        "crops": CROPS,
        "date": date,
        "packages": versions("numpy", "torch"),
    }
    save(output, quantised(training.state()), {"avs": HEADER + json.dumps(facts)[1:]})
    return TrainedLite(len(ids), len(sentences), loss)


def class_wordings() -> list[list[str]]:
    """Five texts of each of ImageNet's classes, as captions of its prototype: (5, 1000)."""
    from timm.data import ImageNetInfo

    names = efficientnet_lite0.class_names()
    synonyms = [ImageNetInfo().index_to_description(index) for index in range(CLASSES)]
    framed = [[f"{before} {name}" for name in names] for before in ("a photo of a", "a video showing a")]
    return [framed[0], names, synonyms, efficientnet_lite0.class_texts(False), framed[1]]


class _PhotoEncoder:
    """An encoder of pictures with one row of pooled features and class scores for each version."""

    dim = FEATURES + CLASSES
    pixels: Pixels | None = Pixels(size=SIZE, resize=None)
    sampling = Sampling()
    rows = 1 + len(CROPS)
    pooling = "none"
    has_text = word_level = False
    provenance: Mapping[str, Any] = {}

    def __init__(self, threads: int):
        chosen = runtime(threads=threads)
        self.network = efficientnet_lite0.load(chosen.reader, Path(efficientnet_lite0.packaged_weights()), "cpu")

    @torch.inference_mode()
    def encode_frames(self, frames: np.ndarray) -> np.ndarray:
        """(B, 256, 256, 3) uint8 to (B * rows, 2280) float32."""
        whole = efficientnet_lite0.scaled(frames, "cpu")
        found = [self._features(whole)]
        for top, left, side, mirrored in CROPS:
            first, last = round(top * SIZE), round((top + side) * SIZE)
            columns = slice(round(left * SIZE), round((left + side) * SIZE))
            part = whole[:, :, first:last, columns]
            if side < 1:
                part = interpolate(part, (SIZE, SIZE), mode="bicubic", antialias=True)
            found.append(self._features(part.flip(3) if mirrored else part))
        return torch.stack(found, 1).flatten(0, 1).numpy()

    def _features(self, batch: torch.Tensor) -> torch.Tensor:
        pooled = self.network.pooled(batch.contiguous(memory_format=torch.channels_last))
        return torch.cat([pooled, self.network.classifier(pooled)], 1)

    def encode_text(self, texts: list[str]) -> np.ndarray:
        """Not supported."""
        raise NotImplementedError("pictures only")


def _features(eyes: _PhotoEncoder, pictures: Sequence[Path], report: Reporter) -> PhotoVersions:
    """Features of every version of every picture, as float16; raises MismatchError for one that cannot be read."""
    jobs = [Job(str(path), (Shot(str(path), str(path), 0.0, 0.0),)) for path in pictures]
    pieces = decode(jobs, partial(sample_times, sampling=eyes.sampling), eyes.pixels, workers=1)
    found = torch.empty(eyes.rows, len(pictures), eyes.dim, dtype=torch.float16)
    with report.progress("photos", len(pictures)) as advance:
        for place, result in enumerate(encode(eyes, pieces, "none", BATCH)):
            if isinstance(result, Failure):
                raise MismatchError(result.message)
            found[:, place] = torch.from_numpy(result.vectors).half()
            advance()
    return PhotoVersions(found[:, :, :FEATURES], found[:, :, FEATURES:])


def _with_prototypes(photos: torch.Tensor, extra: torch.Tensor) -> torch.Tensor:
    """(V, N, F) features of photos and (C, F) of prototypes, which are the same in all versions, as (V, N + C, F)."""
    return torch.cat([photos, extra.half().expand(len(photos), -1, -1)], 1)


def _states(reader: minilm.MiniLM, texts: list[str], owners: Sequence[int], report: Reporter) -> CaptionStates:
    """The captions as MiniLM encodes them; states as float16."""
    means = torch.empty(len(texts), reader.dim)
    states: list[np.ndarray] = [np.empty(0)] * len(texts)
    pieces: list[np.ndarray] = [np.empty(0)] * len(texts)
    with torch.inference_mode(), report.progress("captions", len(texts)) as advance:
        for chosen, tokens, hidden in reader.read(texts):
            means[chosen] = minilm.means(tokens, hidden)
            words = tokens.there & ~tokens.framing
            for place, own, ids, there in zip(chosen, hidden, tokens.ids, words, strict=True):
                states[place], pieces[place] = own[there].half().numpy(), ids[there].numpy()
            advance(len(chosen))
    offsets = np.cumsum([0, *map(len, pieces)])
    return CaptionStates(np.array(owners), means, np.concatenate(states), np.concatenate(pieces), offsets)
