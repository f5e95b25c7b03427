"""Shots to the vectors of several encoders, in one decoding of the videos, written part by part."""

import time
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from avs_cli.core.encoders import Encoder
from avs_cli.io.store.writer import FeatureWriter, Item, StoreWriter
from avs_cli.reporting import Reporter
from avs_cli.stages.engine import Engine
from avs_cli.stages.extraction import Extraction
from avs_cli.types import Failure, Frames, Pixels, Sampling, Shot

if TYPE_CHECKING:
    from avs_cli.core.extraction.batches import Encoded, ShotEncoder

# At most this much work is lost when the process is killed: a part is closed when either limit is reached.
PART_SHOTS = 1024
PART_SECONDS = 5.0


class EncodingJob(NamedTuple):
    """The features to write, and how: the parameters of `extract`."""

    wanted: tuple[Extraction, ...]
    threads: int
    batch_size: int
    workers: int
    timeout: float
    thumbnail: int
    retry_failed: bool

    def shared(self, engine: Engine) -> "EncodingJob":
        """The job for each of the workers, which may share this machine."""
        decoders = max(1, engine.cores // 2) if engine.cores else 0
        return self._replace(threads=self.threads or engine.cores, workers=self.workers or decoders)


@dataclass
class FeatureInProgress:
    """A feature that is being written: its encoder, its writer, and the shots of its next part."""

    wanted: Extraction
    encoder: Encoder
    writer: StoreWriter
    part: list[Item] = field(default_factory=list)

    def save(self) -> None:
        """Write the part."""
        self.writer.add(self.part)
        self.part = []


def remaining_shots(
    writer: FeatureWriter[Any], found: Sequence[Shot | Failure], retry_failed: bool
) -> list[Shot | Failure]:
    """The shots to process: new ones or, to retry, those that failed before."""
    if retry_failed:
        return [item for item in found if item.id in writer.failed and item.id not in writer.done]
    return [item for item in found if item.id not in writer.done and item.id not in writer.failed]


def encode_shots(
    features: Sequence[FeatureInProgress],
    found: Sequence[Shot | Failure],
    images: Mapping[Shot, tuple[str, ...]],
    job: EncodingJob,
    report: Reporter,
) -> None:
    """Encode the remaining shots of each feature, and save them part by part.

    images  the files of shots that are given as extracted frames
    """
    from avs_cli.core.extraction.batches import ShotEncoder
    from avs_cli.core.extraction.sampling import sample_times
    from avs_cli.io.video.find import measured
    from avs_cli.io.video.frames import Job, View, decode_views, jobs_of

    # Encoders that see the same frames in the same size share a view.
    seen: dict[tuple[Sampling, Pixels], list[int]] = {}
    encoders = []
    for number, one in enumerate(features):
        assert one.encoder.pixels is not None
        seen.setdefault((one.wanted.sampling(one.encoder), one.encoder.pixels), []).append(number)
        unit = one.wanted.frame_norm == "l2"
        encoders.append(ShotEncoder(one.encoder, one.wanted.pooling(one.encoder), job.batch_size, unit))
    # One call asks the same for all its features.
    hwaccel = features[0].wanted.hwaccel
    views = [View(partial(sample_times, sampling=sampling), pixels, sampling.clip) for sampling, pixels in seen]
    viewers = list(seen.values())

    missing = [{item.id for item in remaining_shots(one.writer, found, job.retry_failed)} for one in features]
    remaining = [item for item in found if any(item.id in ids for ids in missing)]
    shots: dict[str, Shot] = {}
    for item in measured(remaining, job.workers, job.timeout):
        if isinstance(item, Shot):
            shots[item.id] = item
            continue
        for one, ids in zip(features, missing, strict=True):
            if item.id in ids:
                one.writer.fail(item)
    jobs = [Job(shot.video, (shot,), images[shot]) for shot in shots.values()] if images else jobs_of(shots.values())
    wanted_by = {
        id: tuple(view for view, numbers in enumerate(viewers) if any(id in missing[number] for number in numbers))
        for id in shots
    }
    pieces = decode_views(jobs, views, wanted_by, job.workers, job.timeout, job.thumbnail, hwaccel)
    started = time.monotonic()
    with report.progress("encoding", len(shots)) as advance:
        for number, result in _encoded(encoders, viewers, missing, pieces):
            one = features[number]
            id = result.id if isinstance(result, Failure) else result.shot
            advance(1 / sum(id in ids for ids in missing))
            if isinstance(result, Failure):
                one.writer.fail(result)
                continue
            one.part.append(Item(shots[id], id, result.vectors, result.thumbnail))
            if len(one.part) >= PART_SHOTS or time.monotonic() - started >= PART_SECONDS:
                for each in features:
                    each.save()
                started = time.monotonic()
    for each in features:
        each.save()


def _encoded(
    encoders: Sequence["ShotEncoder"],
    viewers: Sequence[Sequence[int]],
    missing: Sequence[Container[str]],
    pieces: Iterable[tuple[int, Frames | Failure]],
) -> "Iterator[tuple[int, Encoded | Failure]]":
    """The vectors of each shot from each encoder, with the encoder's number.

    viewers  the encoders of each view
    missing  the shots that each encoder is to encode
    """
    for view, piece in pieces:
        shot = piece.id if isinstance(piece, Failure) else piece.shot
        for number in viewers[view]:
            if shot in missing[number]:
                for result in encoders[number].add(piece):
                    yield number, result
    for number, encoder in enumerate(encoders):
        for result in encoder.rest():
            yield number, result
