"""A head computed once: topics over its stored vectors against the head over the features, in the same run.

LAFF over seven features, D 4096, 8 heads. Stored vectors are searched in a gallery of 100,000 shots; the head over the
features in a part of it, since that takes as long for each shot. Both are extrapolated to V3C1's 1.4 million shots in
proportion to the shots, which holds for a store that fits the memory; beyond that, reading 8 KB per shot limits.
"""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from results import Row

from avs_cli.core.device import prepare
from avs_cli.core.models.described import describe, rebuild
from avs_cli.core.models.layers import Input
from avs_cli.core.models.text.words import Corpus
from avs_cli.io.head_file import save_head
from avs_cli.io.store.galleries import Galleries
from avs_cli.io.store.reader import open_gallery
from avs_cli.io.store.writer import Item, StoreWriter
from avs_cli.stages.head_ranking import join, rank, rank_stored
from avs_cli.stages.heads import load_heads
from avs_cli.stages.topics import all_wordings
from avs_cli.types import Topic

VIDEO, TEXT = (2048, 2048, 1024, 512, 256, 256, 768), (512, 256, 256)
DIM, HEADS, TOPICS = 4096, 8, 30
STORED, COMPUTED, WHOLE = 100_000, 2048, 1_400_000
ROUNDS = 3


def build(path: Path, feature: str, dim: int, shots: int, length: float) -> None:
    """A store of random vectors of a length, written part by part."""
    draw = np.random.default_rng(0)
    with StoreWriter(path, feature, dim, {}) as writer:
        for first in range(0, shots, 5000):
            count = min(5000, shots - first)
            rows = draw.standard_normal((count, dim), dtype=np.float32)
            rows *= length / np.linalg.norm(rows, axis=1, keepdims=True)
            writer.add([Item(None, f"s{first + k:07d}", row) for k, row in enumerate(rows)])
        writer.finish([f"s{k:07d}" for k in range(shots)])


def rows() -> Iterator[Row | tuple[str, str, str]]:
    threads = prepare("cpu", 0).threads
    ends = [[Input(f"{end}{k}", dim) for k, dim in enumerate(dims)] for end, dims in (("v", VIDEO), ("t", TEXT))]
    made = {feature.name: {} for side in ends for feature in side}
    with tempfile.TemporaryDirectory(prefix="avs-bench-") as name:
        folder = Path(name)
        described = describe(f"laff:dim={DIM},heads={HEADS}", *ends, [], Corpus(), made)
        save_head(folder / "laff.safetensors", described, rebuild(described).state_dict())
        (head,) = load_heads([str(folder / "laff.safetensors")], "cpu")
        for k, dim in enumerate(VIDEO):
            build(folder / f"v{k}.h5", f"v{k}", dim, COMPUTED, dim**0.5)
        build(folder / "laff.h5", "laff", DIM, STORED, HEADS**0.5)
        wordings = all_wordings([Topic(str(k), "") for k in range(TOPICS)])
        texts = [torch.randn(TOPICS, dim) for dim in TEXT]
        computed = stored = float("inf")
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            with open_gallery([str(folder / "laff.h5")]) as gallery:
                rank_stored(head, texts, wordings, gallery, 1000, threads)
            stored = min(stored, time.perf_counter() - begun)
            begun = time.perf_counter()
            with Galleries([str(folder / f"v{k}.h5") for k in range(len(VIDEO))]) as galleries:
                rank([head], [texts], wordings, join(galleries, [head]), 1000, threads)
            computed = min(computed, time.perf_counter() - begun)
    quick, slow = stored * WHOLE / STORED, computed * WHOLE / COMPUTED
    what = f"heads: search stored vectors of {DIM}, {TOPICS} topics, {threads} threads, {WHOLE / 1e6:.1f} M shots"
    yield Row(what, quick, "s", "the same head over its features", slow, "≥ 20")
    measured = f"{stored:.2f} s of {STORED:,} stored vectors, {computed:.1f} s over the features of {COMPUTED:,} shots"
    yield "heads: these are extrapolated from", measured, ""
