"""Extraction by a head: the vectors of shots in the head's spaces, computed once, from stores of its features.

    name = extract_heads(["clip.h5", "blip2.h5"], "laff.h5", "laff.safetensors")
    runs = search_heads(name, "tv22.txt", "laff.safetensors")

A shot has one vector, of all spaces one after the other. Its dot product with that of a text, times the head's weight,
is the score, so a search embeds the texts only.
"""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np
import torch

from avs_cli.core.device import prepare
from avs_cli.core.search.heads import embedded, probe
from avs_cli.errors import SpecError
from avs_cli.io.store.galleries import Galleries, JoinedGallery
from avs_cli.io.store.writer import Item, StoreWriter
from avs_cli.provenance import HEAD, describe, digest, versions
from avs_cli.reporting import LOGGED, Reporter
from avs_cli.stages.encoding import PART_SHOTS
from avs_cli.stages.extraction import Dtype
from avs_cli.stages.head_ranking import ROWS, Missing, join
from avs_cli.stages.heads import TrainedHead, load_heads
from avs_cli.stages.inputs import FilePath, Paths, check_shard, comparison, path_names
from avs_cli.types import Joined, feature_name

PACKAGES = ("numpy", "torch")


def extract_heads(
    gallery: Paths,
    output: FilePath,
    head: FilePath,
    *,
    missing: Missing = "error",
    dtype: Dtype = "float16",
    allow_mismatch: bool = False,
    device: str = "auto",
    threads: int = 0,
    shard: tuple[int, int] = (1, 1),
    report: Reporter = LOGGED,
) -> str:
    """Compute a head's vectors of shots into a store, and return its name as other stages take it.

    gallery         feature stores of the head's features, FILE or FILE::FEATURE
    output          FILE or FILE::FEATURE; the feature is named by the head's file if not by the output
    head            the file of a trained head
    missing         shots that lack some of the head's features: "error", "skip", or "zero" for vectors of zeros
    dtype           of the vectors; float16 changes a cosine by less than 0.0005, float32 by less than 0.000001
    allow_mismatch  note where vectors come from different models, instead of raising MismatchError
    shard           (i, n) processes part i, from 1, of n equal parts of the shots, in the order of their ids

    The same call resumes an interrupted extraction. A shot has the same vector in a part as in the whole. Raises
    SpecError for a head whose score is not made of cosines of two vectors.
    """
    check_shard(shard)
    machine = prepare(device, threads)
    (loaded,) = load_heads([str(head)], machine.device)
    _check(loaded)
    path, _, name = str(output).partition("::")
    name = name or feature_name(loaded.name)
    with Galleries(path_names(gallery), comparison(allow_mismatch, report)) as stores:
        joined = join(stores, [loaded], missing, report)
        low, high = _part(len(joined), *shard)
        order = joined.complete(low, high) if missing == "skip" else list(joined.ids[low:high])
        shots = joined.shots()
        with StoreWriter(path, name, _dim(loaded), _provenance(loaded, stores, missing, dtype), dtype) as writer:
            left = set(order) - writer.done
            part: list[Item] = []
            with (
                report.progress("encoding", len(left)) as advance,
                closing(embedded(loaded.head, _blocks(joined, low, high, left), ROWS, machine.threads)) as blocks,
            ):
                for block, vectors in blocks:
                    part += [
                        Item(shots.get(id), id, vector)
                        for id, vector in zip(block.ids, vectors, strict=True)
                        if id in left
                    ]
                    if len(part) >= PART_SHOTS:
                        writer.add(part)
                        advance(len(part))
                        part = []
                writer.add(part)
                advance(len(part))
            writer.finish(order)
    return f"{path}::{name}"


def _check(head: TrainedHead) -> None:
    """Raises SpecError for a head without a vector of a shot, whatever the text."""
    kind = head.description["kind"]
    if not head.head.one_product:
        raise SpecError(
            f"{head.path}: {kind} looks at the frames of a shot for each query, so no vector per shot can be stored; "
            "search with this head over its features"
        )
    if not head.head.unit_length:
        raise SpecError(
            f"{head.path}: vectors of {kind}:fusion=mean are not of unit length, so they cannot be stored; search with "
            "this head over its features"
        )


def _part(shots: int, number: int, parts: int) -> tuple[int, int]:
    """The first position of part `number`, and that after its last; whole blocks, as they are in the whole gallery."""
    blocks = -(-shots // ROWS)
    low, high = (min(shots, blocks * end // parts * ROWS) for end in (number - 1, number))
    return low, high


def _blocks(gallery: JoinedGallery, low: int, high: int, left: set[str]) -> Iterator[Joined]:
    """The blocks that have shots to compute."""
    for first in range(low, high, ROWS):
        last = min(first + ROWS, high)
        if not left.isdisjoint(gallery.ids[first:last]):
            yield gallery.take(np.arange(first, last))


@torch.inference_mode()
def _dim(head: TrainedHead) -> int:
    """The number of dimensions of a shot's vector."""
    _, videos = probe(head.head, 1)
    return head.head.embed_videos(videos).numel()


def _provenance(head: TrainedHead, stores: Galleries, missing: Missing, dtype: Dtype) -> dict[str, Any]:
    """The head's file and the provenances of its features; versions are those of this extraction."""
    features = {
        video.name: {key: value for key, value in stores.features[video.name].provenance.items() if key != "versions"}
        for video in head.head.videos
    }
    gaps = {"missing": missing} if missing == "zero" else {}
    described = {HEAD: digest(head.path), "features": features, **gaps}
    return describe(
        described, spec=f"head:{head.description['kind']}", pooling="none", dtype=dtype, packages=versions(*PACKAGES)
    )
