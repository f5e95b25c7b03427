"""On a GPU: how much of its speed extraction reaches, a training step of LAFF, and a head over features.

Where there is none, one row says so. Models have random weights of their size, which take the same time as trained
ones. The peak is that of a large product of bfloat16 on the same GPU, not that of a data sheet; multiply-adds of a
picture are those of the model cards.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from results import SKIPPED, Row

from avs_cli.core.device import copied, prepare
from avs_cli.core.encoders import Runtime, encoders
from avs_cli.core.encoders.catalogue import facts
from avs_cli.core.models.heads import heads
from avs_cli.core.models.layers import Input
from avs_cli.core.search.heads import HeadScorer
from avs_cli.core.training.loop import RMSprop
from avs_cli.core.training.objectives import objectives
from avs_cli.core.training.pairs import Batch, Matching
from avs_cli.io import weights as reader
from avs_cli.types import Block, Joined

MODELS = ("clip:vit-b32", "clip:vit-l14-336", "siglip2:so400m-384")
VIDEO, TEXT = (2048, 2048, 1024, 512, 256, 256, 768), (512, 256, 256)
DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "clips"
PICTURES, SIDE, SHOTS, TOPICS = 64, 8192, 16_384, 30


def seconds(work: Callable[[], object], device: str, rounds: int = 10) -> float:
    """The least seconds of some work, until the device has done it; the first times do not count."""
    found = []
    for number in range(rounds + 2):
        begun = time.perf_counter()
        work()
        if device != "cpu":
            torch.accelerator.synchronize()
        if number > 1:
            found.append(time.perf_counter() - begun)
    return min(found)


def rows() -> Iterator[Any]:
    if not torch.cuda.is_available():
        yield "gpu", SKIPPED, "needs a GPU"
        return
    device = prepare("cuda", 0).device
    for model in MODELS:
        yield from extracting(model, device)
    yield training(device)
    yield searching(device)


def peak(device: str, side: int = SIDE) -> float:
    """Multiply-adds per second of a product of bfloat16."""
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    return side**3 / seconds(lambda: a @ b, device)


def extracting(model: str, device: str, count: int = PICTURES, side: int = SIDE) -> Iterator[Row]:
    """Pictures per second of a model from the CPU's memory, against the peak, and those that its decoders give it."""
    place = prepare(device, 0)
    encoder: Any = encoders.load(model)(Runtime(reader, device, place.threads, precision="bf16"))
    encoder.__dict__["image_tower"] = encoder.build().eval().to(device)
    size = encoder.pixels.size
    frames = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    (card,) = (card for card in facts(encoders.names(), lambda *_: False) if card["model"] == model)
    bound = peak(device, side) / (card["gmacs"] * 1e9)
    rate = count / seconds(lambda: encoder.encode_frames(frames), device)
    yield Row(f"gpu: {model}, bf16, batch {count}", rate, "pictures/s", bound=bound, limit="peak of bf16")
    if DATA.exists():
        given = decoded(encoder, place.workers)
        yield Row(
            f"gpu: {model}, {place.workers} decoding processes", given, "pictures/s", bound=rate, limit="the model"
        )


def decoded(encoder: Any, workers: int) -> float:
    """Pictures per second of decoding alone, as `avs extract` decodes for this encoder."""
    from functools import partial

    from avs_cli.core.extraction.sampling import sample_times
    from avs_cli.io.video.find import measured, unmeasured
    from avs_cli.io.video.frames import Job, decode, find_media
    from avs_cli.types import Frames, Shot

    shots = [shot for shot in measured(unmeasured(find_media([DATA])), workers, 60.0) if isinstance(shot, Shot)]
    jobs = [Job(shot.video, (shot._replace(id=f"{shot.id}-{k}"),)) for k in range(8) for shot in shots]
    sampled = partial(sample_times, sampling=encoder.sampling)
    begun = time.perf_counter()
    pieces = decode(jobs, sampled, encoder.pixels, encoder.sampling.clip, workers)
    count = sum(len(piece.pixels) for piece in pieces if isinstance(piece, Frames))
    return count / (time.perf_counter() - begun)


def laff(device: str, dim: int = 4096) -> Any:
    ends = [[Input(f"{end}{k}", n) for k, n in enumerate(dims)] for end, dims in (("v", VIDEO), ("t", TEXT))]
    return heads.load(f"laff:dim={dim},heads=8")(*ends, []).to(device)


def training(device: str, size: int = 128, dim: int = 4096) -> Row:
    """A step of LAFF from a batch on the CPU, with bf16, against the matrix products alone."""
    head = laff(device, dim)
    model, optimizer = Matching(head, objectives.load("triplet")()), RMSprop(head.parameters(), 1e-4)
    videos, texts = ([torch.randn(size, n) for n in dims] for dims in (VIDEO, TEXT))
    batch = Batch(videos, texts, [""] * size, torch.arange(size), [], [], torch.zeros(0, dtype=torch.int64))

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            loss = model(batch)
        loss.backward()
        optimizer.clip(2.0)
        optimizer.step()

    pull = torch.randn(size, dim, device=device, dtype=torch.bfloat16)
    pairs = [
        (copied(x, device).bfloat16(), transform.fc.weight.detach().bfloat16())
        for xs, side in ((videos, head.video), (texts, head.text))
        for x, transform in zip(xs, side.transforms, strict=True)
    ]

    def products() -> None:
        for x, weight in pairs:
            _ = x @ weight.T, pull.T @ x

    ours, bound = (1000 * seconds(work, device) for work in (step, products))
    return Row(f"gpu: LAFF training step, bf16, batch {size}", ours, "ms", bound=bound, limit="products alone")


@torch.inference_mode()
def searching(device: str, shots: int = SHOTS, dim: int = 4096) -> Row:
    """Topics over shots by a head over seven features in the CPU's memory, against copying the features alone."""
    head = laff(device, dim).eval()
    texts = head.embed_texts([torch.randn(TOPICS, n, device=device) for n in TEXT], [])
    draw = np.random.default_rng(0)
    ids = [f"s{k}" for k in range(shots)]
    features = {f"v{k}": Block(ids, draw.standard_normal((shots, n), np.float32)) for k, n in enumerate(VIDEO)}
    scorer = HeadScorer(head, texts, 1024)
    block = Joined(ids, features)

    def scan() -> None:
        for low in range(0, shots, 1024):
            scorer.scan(block.part(low, low + 1024))

    def copies() -> None:
        for low in range(0, shots, 1024):
            for feature in features.values():
                copied(torch.from_numpy(feature.vectors[low : low + 1024]), device)

    ours, bound = (shots / seconds(work, device, 2) for work in (scan, copies))
    return Row(
        f"gpu: search by a head over 7 features, {TOPICS} topics", ours, "shots/s", bound=bound, limit="copying alone"
    )
