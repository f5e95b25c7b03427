"""Speed of LAFF at the sizes of ad-hoc video search, against the same maths written head by head, in the same run.

Seven video features, three text features, D 4096, 8 heads. The naive version is what one writes first: a linear layer
per feature, a loop over heads, cosines per head, torch's RMSprop and clipping. Both give the same numbers.
"""

import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from results import Row
from torch import nn

from avs_cli.core.device import prepare
from avs_cli.core.models.described import describe, rebuild
from avs_cli.core.models.heads import heads
from avs_cli.core.models.layers import Input, linear
from avs_cli.core.models.text.words import Corpus
from avs_cli.core.training.loop import Plateau, RMSprop, fit
from avs_cli.core.training.objectives import objectives
from avs_cli.core.training.objectives.base import Embedded
from avs_cli.core.training.pairs import Batch, Matching, as_vectors
from avs_cli.io.head_file import save_head
from avs_cli.io.store.galleries import Galleries
from avs_cli.io.store.writer import Item, StoreWriter
from avs_cli.stages.head_ranking import join, rank
from avs_cli.stages.heads import load_heads
from avs_cli.stages.topics import all_wordings
from avs_cli.stages.training_data import TrainingData
from avs_cli.types import Topic

VIDEO, TEXT = (2048, 2048, 1024, 512, 256, 256, 768), (512, 256, 256)
DIM, HEADS, BATCH = 4096, 8, 128
VIDEOS = 10_000
# A bag of words: its vocabulary, and the words that a caption has of it.
WORDS, COUNTED = 9000, 8
SHOTS = 2048


class NaiveSide(nn.Module):
    """One end, feature by feature and head by head."""

    def __init__(self, dims: tuple[int, ...]):
        super().__init__()
        self.fc = nn.ModuleList(nn.Linear(dim, DIM) for dim in dims)
        self.a = nn.ModuleList(nn.Linear(DIM // HEADS, 1) for _ in range(HEADS))
        self.drop = nn.Dropout(0.2)

    def forward(self, xs: list[torch.Tensor]) -> torch.Tensor:
        x = torch.stack([self.drop(torch.tanh(fc(x))) for fc, x in zip(self.fc, xs, strict=True)], dim=1)
        out = []
        for head in range(HEADS):
            part = x[:, :, head * (DIM // HEADS) : (head + 1) * (DIM // HEADS)]
            weights = torch.softmax(self.a[head](part), dim=1)
            pooled = (weights * part).sum(1)
            out.append(pooled / (pooled.norm(dim=1, keepdim=True) + 1e-14))
        return torch.stack(out, dim=1)


def naive_loss(text: torch.Tensor, video: torch.Tensor) -> torch.Tensor:
    total = text.new_zeros(())
    for head in range(HEADS):
        scores = cosine(text[:, head], video[:, head])
        cost = (0.2 + scores - scores.diag()[:, None]).clamp(min=0)
        cost = cost.masked_fill(torch.eye(len(cost), dtype=torch.bool), 0)
        total = total + cost.max(1)[0].sum()
    return total


def cosine(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    a, b = (x / (x.norm(dim=1, keepdim=True) + 1e-13) for x in (a, b))
    return a @ b.T


def copied(naive: NaiveSide, ours: Any) -> None:
    with torch.no_grad():
        for fc, transform in zip(naive.fc, ours.transforms, strict=True):
            fc.load_state_dict(transform.fc.state_dict())
        for head in range(HEADS):
            naive.a[head].weight.copy_(ours.fusion.a[head : head + 1])
            naive.a[head].bias.zero_()


def best(times: int, *jobs: Callable[[], object]) -> list[float]:
    """The least seconds of each job; the jobs take turns, since the machine's load changes."""
    found = [[] for _ in jobs]  # type: list[list[float]]
    for _ in range(times):
        for job, mine in zip(jobs, found, strict=True):
            begun = time.perf_counter()
            job()
            mine.append(time.perf_counter() - begun)
    return [min(mine) for mine in found]


def rows() -> Iterator[Row]:
    draw = torch.Generator().manual_seed(0)
    inputs = [[Input(f"{end}{k}", dim) for k, dim in enumerate(dims)] for end, dims in (("v", VIDEO), ("t", TEXT))]
    for threads in (1, 2):
        prepare("cpu", threads)  # as every command does
        head = heads.load(f"laff:dim={DIM},heads={HEADS}")(*inputs, [])
        naive = nn.ModuleList([NaiveSide(VIDEO), NaiveSide(TEXT)])
        copied(naive[0], head.video)
        copied(naive[1], head.text)
        video, text = ([torch.randn(BATCH, dim, generator=draw) for dim in dims] for dims in (VIDEO, TEXT))
        head.eval()
        naive.eval()
        with torch.inference_mode():
            torch.testing.assert_close(head.embed_videos(video), naive[0](video), atol=1e-5, rtol=0)
        yield from training(head, naive, video, text, threads)
        yield from embedding(head, naive, threads)
    yield bag_of_words(draw)
    yield reading(inputs)
    yield from searching(inputs)


def reading(inputs: list[list[Input]]) -> Row:
    """An epoch from stores whose pages the system has dropped, against the same batches in memory."""
    prepare("cpu", 1)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        videos, texts = [f"s{i:06d}" for i in range(SHOTS)], [f"s{i:06d}#enc#{k}" for i in range(SHOTS) for k in (0, 1)]
        (folder / "captions.txt").write_text("".join(f"{caption} words\n" for caption in texts))
        stores = []
        for side, ids in zip(inputs, (videos, texts), strict=True):
            stores.append([])
            for feature in side:
                path = folder / f"{feature.name}.h5"
                with StoreWriter(path, feature.name, feature.dim, {}) as out:
                    out.add([Item(None, i, rng.normal(size=feature.dim).astype(np.float16)) for i in ids])
                    out.finish(ids)
                stores[-1].append(str(path))
        head = heads.load(f"laff:dim={DIM},heads={HEADS}")(*inputs, [])
        model, optimizer = Matching(head, objectives.load("triplet")()), RMSprop(head.parameters(), 1e-4)
        with TrainingData(*stores) as data:
            pairs = data.pairs([str(folder / "captions.txt")])
            held = list(pairs.epoch(1, BATCH, 0))

            def epoch(batches: Callable[[int], Iterable[Batch]]) -> None:
                for _ in fit(model, batches, optimizer, Plateau(), range(1, 2), len(held)):
                    pass

            def stored() -> None:
                for path in map(Path, itertools.chain(*stores)):
                    with path.open("rb") as file:
                        os.fsync(file.fileno())
                        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                epoch(lambda number: pairs.epoch(number, BATCH, 0))

            took, other = best(3, stored, lambda: epoch(lambda _: held))
    what = f"laff: training, {len(held)} steps from {sum(map(len, stores))} stores, 1 thread"
    return Row(what, took, "s", "arrays in memory", other, "≤ 1.02")


def bag_of_words(draw: torch.Generator) -> Row:
    """One linear map of captions' counted words, forward and back, where words are as frequent as Zipf has it."""
    torch.set_num_threads(1)
    fc = nn.Linear(WORDS, DIM)
    frequent = 1 / torch.arange(1, WORDS + 1)
    counts = torch.zeros(BATCH, WORDS)
    for row in counts:
        row[torch.multinomial(frequent, COUNTED, generator=draw)] = 1
    pull = torch.randn(BATCH, DIM, generator=draw)

    def step(product: Callable[[], torch.Tensor]) -> None:
        fc.zero_grad()
        product().backward(pull)

    ours, other = best(5, lambda: step(lambda: linear(counts, fc)), lambda: step(lambda: fc(counts)))
    what = f"laff: {WORDS} counted words into {DIM} numbers, forward and back, 1 thread"
    return Row(what, 1000 * ours, "ms", "all columns", 1000 * other, "≤ 1")


def training(
    head: Any, naive: nn.ModuleList, video: list[torch.Tensor], text: list[torch.Tensor], threads: int
) -> Iterator[Row]:
    head.train()
    naive.train()
    ours, theirs = RMSprop(head.parameters(), 1e-4), torch.optim.RMSprop(naive.parameters(), 1e-4)
    objective = objectives.load("triplet")()

    def step() -> None:
        loss = objective(Embedded(head.embed_texts(text, []), head.embed_videos(video), head.weight))
        ours.zero_grad()
        loss.backward()
        ours.clip(2.0)
        ours.step()

    def naive_step() -> None:
        loss = naive_loss(naive[1](text), naive[0](video))
        theirs.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(naive.parameters(), 2.0)
        theirs.step()

    pulls = torch.randn(BATCH, DIM)
    ends = [
        (x, transform.fc.weight)
        for xs, side in ((video, head.video), (text, head.text))
        for x, transform in zip(xs, side.transforms, strict=True)
    ]

    def products() -> None:
        """Features by weights, and what comes back by features: features need no gradient."""
        for x, weight in ends:
            _ = x @ weight.T, pulls.T @ x

    took, other, bound = (1000 * one for one in best(6, step, naive_step, torch.inference_mode()(products)))
    what = f"laff: training step, {threads} threads"
    yield Row(what, took, "ms", "head by head", other, "≤ 0.6")
    yield Row(what, took, "ms", "its matrix products", bound, "≤ 1.3")


def embedding(head: Any, naive: nn.ModuleList, threads: int) -> Iterator[Row]:
    head.eval()
    naive.eval()
    part = [torch.randn(256, dim) for dim in VIDEO]
    products = [(x, transform.fc.weight) for x, transform in zip(part, head.video.transforms, strict=True)]
    with torch.inference_mode():
        took, other, bound = best(
            5,
            lambda: head.embed_videos(part),
            lambda: naive[0](part),
            lambda: [x @ weight.T for x, weight in products],
        )
    scale = VIDEOS / 256
    what = f"laff: embed {VIDEOS:,} videos, {threads} threads"
    yield Row(what, scale * took, "s", "head by head", scale * other, "≤ 0.5")
    yield Row(what, scale * took, "s", "its matrix products", scale * bound, "≤ 1.08")


def searching(inputs: list[list[Input]]) -> Iterator[Row]:
    """Eight heads over a gallery in files, against reading it once and the heads' matrix products alone.

    Both do all of their work, and take turns: a short sample of one would catch a moment when the machine is faster.
    """
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    made = {feature.name: {} for side in inputs for feature in side}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for k, dim in enumerate(VIDEO):
            vectors = rng.normal(size=(SHOTS, dim)).astype(np.float16)
            with StoreWriter(folder / f"v{k}.h5", f"v{k}", dim, {}) as out:
                out.add([Item(None, f"s{i:06d}", row) for i, row in enumerate(vectors)])
                out.finish([f"s{i:06d}" for i in range(SHOTS)])
        told = describe(f"laff:dim={DIM},heads={HEADS}", *inputs, [], Corpus(), made)
        for seed in range(8):
            torch.manual_seed(seed)
            save_head(folder / f"h{seed}.safetensors", told, rebuild(told).state_dict())
        loaded = load_heads([str(folder / f"h{seed}.safetensors") for seed in range(8)], "cpu")
        topics = [Topic(str(k), "") for k in range(30)]
        written = [[torch.randn(30, dim) for dim in TEXT]] * 8
        with Galleries([str(folder / f"v{k}.h5") for k in range(7)]) as galleries:
            gallery = join(galleries, loaded)

            def bound() -> None:
                """Each block read once and multiplied by every head's weights, and nothing else."""
                for _, read in gallery.pieces():
                    block = read()
                    part = [as_vectors(block.features[f"v{k}"]) for k in range(len(VIDEO))]
                    for one in loaded:
                        for x, transform in zip(part, one.head.video.transforms, strict=True):
                            _ = x @ transform.fc.weight.T

            with torch.inference_mode():
                whole, limit = best(3, lambda: rank(loaded, written, all_wordings(topics), gallery, 1000, 1), bound)
        what = f"laff: search {SHOTS} shots with 8 heads, 30 topics, 1 thread"
        yield Row(what, whole, "s", "reading and the heads' products", limit, "≤ 1.3")
