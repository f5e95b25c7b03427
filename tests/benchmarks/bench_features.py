"""Small models through the whole of extract against their two limits, decoding alone and the model alone."""

import importlib.util
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
TINY = Path(__file__).resolve().parents[1] / "data" / "tiny_weights.py"
MODELS = ("wsl", "ircsn", "timm:test_vit.r160_in1k", "clip", "blip", "blip2", "video-llama")
TRIES = 3


def rates(feature: Any, jobs: list[Any]) -> tuple[int, float, float, float]:
    """Pictures, and pictures per second of decoding alone, of the model alone, and of both overlapped."""
    from avs_cli.core.extraction import encode
    from avs_cli.core.sampling import sample_times
    from avs_cli.io.video import decode
    from avs_cli.types import Frames

    def pieces() -> Iterator[Any]:
        times = partial(sample_times, sampling=feature.sampling)
        return decode(jobs, times, feature.pixels, feature.sampling.clip, 1)

    batch = max(1, 32 // feature.sampling.clip)
    kept = list(pieces())
    pictures = sum(len(piece.pixels) for piece in kept if isinstance(piece, Frames))
    list(encode(feature, kept[:1], feature.pooling, batch))
    best = {"decode": float("inf"), "model": float("inf"), "both": float("inf")}
    for _ in range(TRIES):
        for part, work in (
            ("decode", pieces),
            ("model", lambda: encode(feature, kept, feature.pooling, batch)),
            ("both", lambda: encode(feature, pieces(), feature.pooling, batch)),
        ):
            start = time.perf_counter()
            for _ in work():
                pass
            best[part] = min(best[part], time.perf_counter() - start)
    return pictures, *(pictures / best[part] for part in ("decode", "model", "both"))


def rows() -> Iterator[tuple[str, str, str]]:
    from avs_cli.core.device import prepare
    from avs_cli.core.features import Runtime, features
    from avs_cli.io.media import whole_files
    from avs_cli.io.video import Job, find_media
    from avs_cli.types import Shot

    (DATA / "clips").stat()
    spec = importlib.util.spec_from_file_location("tiny_weights", TINY)
    assert spec is not None
    assert spec.loader is not None
    tiny = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tiny)
    place = prepare("cpu", 1)
    found = whole_files(find_media(sorted((DATA / "clips").glob("intel_*.gif"))), place.workers, 60.0)
    jobs = [Job(shot.video, (shot,)) for shot in found if isinstance(shot, Shot)]
    for model in MODELS:
        with tempfile.TemporaryDirectory() as folder:
            weights = tiny.MAKERS[model](Path(folder))
            feature = features.load(model)(Runtime(place.device, place.threads, str(weights)))
            pictures, decoding, alone, both = rates(feature, jobs)
        limit = min(decoding, alone)
        figure = f"{both:.0f} of {limit:.0f}/s = {both / limit:.2f} (decode {decoding:.0f}, model {alone:.0f})"
        yield f"extract, tiny {model}, {pictures} pictures, 1 worker, 1 thread", figure, ">= 0.9"
