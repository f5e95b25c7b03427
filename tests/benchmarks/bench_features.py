"""Small models through the whole of extract against their two limits, decoding alone and the model alone.

On two CPUs that share one core neither limit is reached while the other half runs; so a third one is given: both at the
same time on the same pictures, neither waiting for the other. Each clip is there several times: what it costs to start
the decoder, and to fill the first batch, counts once per job, which in a collection is long.
"""

import importlib.util
import tempfile
from collections.abc import Iterator
from pathlib import Path

from overlap import rates, row
from results import Row

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
TINY = Path(__file__).resolve().parents[1] / "data" / "tiny_weights.py"
MODELS = ("wsl", "ircsn", "timm:test_vit.r160_in1k", "clip", "blip", "blip2", "video-llama")
TIMES = {"wsl": 12, "ircsn": 12, "timm:test_vit.r160_in1k": 12}  # else 4


def rows() -> Iterator[Row]:
    from avs_cli.core.device import prepare
    from avs_cli.core.encoders import Runtime, encoders
    from avs_cli.io import weights as reader
    from avs_cli.io.video.find import measured, unmeasured
    from avs_cli.io.video.frames import Job, find_media
    from avs_cli.types import Shot

    (DATA / "clips").stat()
    spec = importlib.util.spec_from_file_location("tiny_weights", TINY)
    assert spec is not None
    assert spec.loader is not None
    tiny = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tiny)
    place = prepare("cpu", 1)
    found = measured(unmeasured(find_media(sorted((DATA / "clips").glob("intel_*.gif")))), place.workers, 60.0)
    shots = [shot for shot in found if isinstance(shot, Shot)]
    for model in MODELS:
        copies = [shot._replace(id=f"{shot.id}-{time}") for time in range(TIMES.get(model, 4)) for shot in shots]
        jobs = [Job(shot.video, (shot,)) for shot in copies]
        with tempfile.TemporaryDirectory() as folder:
            weights = tiny.MAKERS[model](Path(folder))
            feature = encoders.load(model)(Runtime(reader, place.device, place.threads, str(weights)))
            pictures, rate = rates(feature, jobs, feature.pooling, max(1, 32 // feature.sampling.clip))
        goal = "≥ 0.95" if model in TIMES else "≥ 0.9"
        yield row(f", tiny {model}, {pictures} pictures", "pictures/s", rate, goal)
