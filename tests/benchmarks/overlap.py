"""Decoding and a model at once, as `extract` has them, against each alone."""

import threading
import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from results import Row

TRIES = 2


def rates(feature: Any, jobs: list[Any], pooling: str, batch: int) -> tuple[int, dict[str, float]]:
    """Pictures, and pictures per second: decoding, the model, both at once but unconnected, and all of extract."""
    from avs_cli.core.extraction.batches import encode
    from avs_cli.core.extraction.sampling import sample_times
    from avs_cli.io.video.frames import decode
    from avs_cli.types import Frames

    def pieces() -> Iterator[Any]:
        times = partial(sample_times, sampling=feature.sampling)
        return decode(jobs, times, feature.pixels, feature.sampling.clip, 1)

    kept = list(pieces())
    pictures = sum(len(piece.pixels) for piece in kept if isinstance(piece, Frames))
    list(encode(feature, kept[:1], pooling, batch))

    def decoding() -> None:
        list(pieces())

    def encoding() -> None:
        list(encode(feature, kept, pooling, batch))

    def unconnected() -> None:
        decoder = threading.Thread(target=decoding)
        decoder.start()
        encoding()
        decoder.join()

    works = {
        "decode": decoding,
        "model": encoding,
        "unconnected": unconnected,
        "extract": lambda: list(encode(feature, pieces(), pooling, batch)),
    }
    best = dict.fromkeys(works, float("inf"))
    for _ in range(TRIES):
        for part, work in works.items():
            start = time.perf_counter()
            work()
            best[part] = min(best[part], time.perf_counter() - start)
    return pictures, {part: pictures / seconds for part, seconds in best.items()}


def row(what: str, unit: str, rate: Mapping[str, float], goal: str) -> Row:
    """The row of one model, of what `rates` returns."""
    return Row(
        f"extract{what}, 1 worker, 1 thread",
        rate["extract"],
        unit,
        "decoding or the model alone",
        min(rate["decode"], rate["model"]),
        goal,
        rate["unconnected"],
        "both at once, unconnected",
    )
