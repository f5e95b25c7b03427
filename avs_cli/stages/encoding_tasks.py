"""As `encoding`, on the workers of a cluster: tasks write stores of their own, which become parts of the whole."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from avs_cli.core.encoders import Encoder
from avs_cli.errors import UnavailableError
from avs_cli.io.store.writer import StoreWriter
from avs_cli.reporting import LOGGED, Reporter
from avs_cli.stages.encoding import EncodingJob, FeatureInProgress, encode_shots, remaining_shots
from avs_cli.stages.engine import Engine
from avs_cli.stages.extraction import load_encoders
from avs_cli.stages.inputs import FilePath
from avs_cli.stages.resident import resident
from avs_cli.types import Facts, Failure, Shot

# Of a task on a cluster: as much is lost with a worker. There are several per worker, so that all end together; small
# ones would encode more padding than frames.
SLICE_SHOTS = 64
LEAST_SHOTS = 8
SLICES_PER_WORKER = 4
# After as many shots in a row that killed workers by themselves, it is not the shots.
DEATHS = 8


class _Slice(NamedTuple):
    """Some shots for one task.

    room      the folder for its stores
    features  those of the job that lack all these shots
    images    the files of shots that are given as extracted frames
    """

    job: EncodingJob
    room: str
    features: tuple[str, ...]
    shots: tuple[Shot, ...]
    images: Mapping[Shot, tuple[str, ...]]


class _EncodedSlice(NamedTuple):
    """The store that a task has written of each feature, if any, and the shots that a feature lacks."""

    stores: dict[str, str]
    failures: list[tuple[str, Failure]]


def encode_elsewhere(
    engine: Engine,
    writers: Mapping[str, StoreWriter],
    found: Sequence[Shot | Failure],
    images: Mapping[Shot, tuple[str, ...]],
    job: EncodingJob,
    report: Reporter,
) -> None:
    """As `encode_shots`, in tasks that write stores of their own, of some shots each; these become parts."""
    lacking: dict[Shot, list[str]] = {}
    for name, writer in writers.items():
        for item in remaining_shots(writer, found, job.retry_failed):
            if isinstance(item, Failure):
                writer.fail(item)
            else:
                lacking.setdefault(item, []).append(name)
    # Features -> video -> shots: a video is opened by few tasks.
    groups: dict[tuple[str, ...], dict[str, list[Shot]]] = {}
    for shot, names in lacking.items():
        groups.setdefault(tuple(names), {}).setdefault(shot.video, []).append(shot)
    room = str(next(iter(writers.values())).room())

    def sliced(names: tuple[str, ...], shots: Sequence[Shot], size: int) -> Iterator[_Slice]:
        for low in range(0, len(shots), size):
            some = tuple(shots[low : low + size])
            yield _Slice(job, room, names, some, {shot: images[shot] for shot in some if images})

    with report.progress("encoding", len(lacking)) as advance:

        def encoded(slices: Iterable[_Slice]) -> Iterator[_Slice]:
            """Encode slices, and return those that lost all their workers."""
            for task, result in engine.map(_encode_slice, list(slices), starts_processes=True):
                if result is None:
                    yield task
                    continue
                for name, store in result.stores.items():
                    writers[name].adopt(store)
                for name, failure in result.failures:
                    writers[name].fail(failure)
                advance(len(task.shots))

        fair = len(lacking) // (SLICES_PER_WORKER * engine.workers)
        size = min(SLICE_SHOTS, max(LEAST_SHOTS, fair))
        slices = (sliced(names, [*chain(*videos.values())], size) for names, videos in groups.items())
        lost = list(encoded(chain.from_iterable(slices)))
        # A worker that dies takes the other shots of its task with it, and tasks that wait for it: now each shot has a
        # task of its own, and then those that are left run alone.
        lost = list(encoded(chain.from_iterable(sliced(task.features, task.shots, 1) for task in lost)))
        deaths = 0
        for task in lost:
            alone = list(encoded([task])) if len(lost) > 1 and deaths < DEATHS else [task]
            deaths = deaths + 1 if alone else 0
            for shot in chain.from_iterable(one.shots for one in alone):
                for name in task.features:
                    message = f"{shot.video}: the workers that encoded it died (out of memory?)"
                    writers[name].fail(Failure(shot.id, "encode", message))
                advance()


def _encode_slice(task: _Slice) -> _EncodedSlice:
    """In a worker: write a store of some shots for each feature."""
    job, encoders = _resident(task.job)
    folder = Path(tempfile.mkdtemp(dir=task.room))  # another attempt at this task may still run
    with ExitStack() as stack:
        features: list[FeatureInProgress] = []
        for one, encoder in zip(job.wanted, encoders, strict=True):
            if one.feature in task.features:
                own = replace(one, path=str(folder / f"{len(features)}.h5"))
                features.append(FeatureInProgress(own, encoder, stack.enter_context(own.writer(encoder))))
        encode_shots(features, task.shots, task.images, job._replace(retry_failed=False), LOGGED)
        whole = [each for each in features if each.writer.done]
        for each in whole:
            each.writer.finish([shot.id for shot in task.shots])
        failures = [(each.wanted.feature, failure) for each in features for failure in each.writer.failed.values()]
        return _EncodedSlice({each.wanted.feature: each.wanted.path for each in whole}, failures)


def facts_elsewhere(engine: Engine, job: EncodingJob) -> dict[str, Facts]:
    """The facts on the encoder of each feature, from a worker."""
    ((_, facts),) = engine.map(_facts_of, [job], starts_processes=True)
    names = [one.feature for one in job.wanted]
    if facts is None:
        raise UnavailableError(f"{', '.join(names)}: the workers that loaded the model died (out of memory?)")
    return dict(zip(names, facts, strict=True))


def _facts_of(job: EncodingJob) -> list[Facts]:
    """In a worker: the facts on the encoders."""
    _, encoders = _resident(job)
    return [Facts(one.dim, one.pixels, one.sampling, one.pooling, dict(one.provenance)) for one in encoders]


def _resident(job: EncodingJob) -> tuple[EncodingJob, list[Encoder]]:
    """The job with its number of decoding processes, and its encoders, which a worker loads once."""
    from avs_cli.core.device import prepare

    key = (job.threads, [(one.identity, _state(one.weights)) for one in job.wanted])
    encoders, decoders = resident(key, lambda: load_encoders(job.wanted, job.threads))
    prepare(job.wanted[0].device, job.threads)  # each thread has its own number of torch's threads
    return job._replace(workers=job.workers or decoders), [*encoders.values()]


def _state(weights: FilePath | None) -> tuple[int, int] | None:
    """Of a file that may change while a worker lives."""
    status = Path(weights).stat() if weights else None
    return status and (status.st_mtime_ns, status.st_size)
