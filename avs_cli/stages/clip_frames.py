"""Frames of clips for training: videos are decoded once, into a cache."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shutil import disk_usage
from typing import NamedTuple

import numpy as np

from avs_cli.core.extraction.sampling import sample_times
from avs_cli.core.models.clip.sampling import counted
from avs_cli.errors import SpecError
from avs_cli.io.frame_cache import SHARE, FrameCache
from avs_cli.io.video.frames import decode, jobs_of
from avs_cli.reporting import LOGGED, Reporter
from avs_cli.stages.inputs import find_shots
from avs_cli.stages.team import Team
from avs_cli.stages.vector_cache import key_of
from avs_cli.types import Failure, Pixels, Sampling, Shot

# Seconds without a decoded packet after which a video counts as unreadable.
TIMEOUT = 60.0


class CacheSettings(NamedTuple):
    """The cache of decoded frames: its folder, whether frames are JPEG, and its maximum size in bytes."""

    folder: Path
    jpeg: bool = False
    limit: float = float("inf")


class DecodedClips(NamedTuple):
    """The decoded shots (id -> name in the cache) and the ids of those that failed."""

    cache: FrameCache
    names: dict[str, str]
    failed: set[str]


def decode_clips(
    team: Team,
    inputs: Sequence[str],
    wanted: set[str],
    settings: CacheSettings,
    sampling: Sampling,
    pixels: Pixels,
    workers: int,
    report: Reporter = LOGGED,
) -> DecodedClips:
    """Decode the wanted shots among the inputs, except those that are already cached.

    inputs  videos, folders of them, shot tables
    A video that cannot be read is noted and skipped. Of several processes, the first decodes. Raises SpecError if the
    frames would exceed the limit or the free space of the disk.
    """
    found = [shot for shot in find_shots(inputs, "", workers, TIMEOUT) if shot.id in wanted]
    kind = [repr(sampling), repr(pixels), *["jpeg"] * settings.jpeg]
    cache = FrameCache(settings.folder / f"frames-{key_of(kind)}", settings.jpeg)
    failures = [item for item in found if isinstance(item, Failure)]
    shots = [item for item in found if isinstance(item, Shot) and _is_there(item, failures)]
    names = {shot.id: cache.name(shot) for shot in shots}
    todo = [shot for shot in shots if not cache.path(names[shot.id]).exists()]
    if team.rank == 0 and todo:
        space = CacheSpace(cache, settings.limit, sum(map(cache.bytes, names.values())), report)
        space.expect(len(todo), sampling.clip * pixels.size**2 * 3)
        failures += _decode(todo, space, names, sampling, pixels, workers, report)
    if team.rank == 0:
        report.note_each(failure.message for failure in failures)
    team.wait()
    whole = {id: name for id, name in names.items() if cache.path(name).exists()}
    return DecodedClips(cache, whole, {item.id for item in found} - whole.keys())


def _is_there(shot: Shot, failures: list[Failure]) -> bool:
    """Whether the file of a shot exists; if not, the shot is added to the failures."""
    if Path(shot.video).is_file():
        return True
    failures.append(Failure(shot.id, "decode", f"{shot.video}: no such file"))
    return False


@dataclass
class CacheSpace:
    """The space for frames in a cache: at most `limit` bytes, of which `used` are used."""

    cache: FrameCache
    limit: float
    used: int
    report: Reporter = LOGGED

    def expect(self, clips: int, raw: int) -> None:
        """Note the space that clips of `raw` bytes (before JPEG) will need. Raises SpecError if it is too much."""
        jpeg = self.cache.jpeg
        more = clips * raw * (SHARE if jpeg else 1)
        what = f"frames of {clips} clips need {'about ' * jpeg}{gigabytes(more)} as {'JPEG' if jpeg else 'raw pixels'}"
        if not jpeg and self.used + more > self.limit:
            raise SpecError(f"{what} in {self.cache.folder}, {self._over()}")
        disk = next(folder for folder in (self.cache.folder, *self.cache.folder.parents) if folder.exists())
        if more > (free := disk_usage(disk).free):
            raise SpecError(f"{what}, but {disk} has only {gigabytes(free)} free; give --cache FOLDER on a larger disk")
        self.report.note(f"{what}, cached in {self.cache.folder}")

    def add(self, name: str, frames: np.ndarray) -> None:
        """Cache the frames of a clip. Raises SpecError once the limit is exceeded; cached frames remain."""
        self.cache.write(name, frames, int(counted(frames).sum()))
        self.used += self.cache.bytes(name)
        if self.used > self.limit:
            raise SpecError(f"frames in {self.cache.folder} take {gigabytes(self.used)}, {self._over()}")

    def _over(self) -> str:
        smaller = "" if self.cache.jpeg else "--cache-frames jpeg needs about a seventh; or "
        return f"more than --cache-limit allows ({gigabytes(self.limit)}); {smaller}give a larger --cache-limit"


def gigabytes(count: float) -> str:
    """A number of bytes as text, in GB."""
    return f"{count / 1e9:.3g} GB"


def _decode(
    shots: Sequence[Shot],
    space: CacheSpace,
    names: dict[str, str],
    sampling: Sampling,
    pixels: Pixels,
    workers: int,
    report: Reporter,
) -> list[Failure]:
    """Decode shots into the cache; returns those that failed."""
    times = partial(sample_times, sampling=sampling)
    failures: list[Failure] = []
    pieces: dict[str, list[np.ndarray]] = {}
    with report.progress("decoding", len(shots)) as advance:
        for piece in decode(jobs_of(shots), times, pixels, sampling.clip, workers, TIMEOUT):
            if isinstance(piece, Failure):
                failures.append(piece)
                advance()
                continue
            pieces.setdefault(piece.shot, []).append(piece.pixels)
            if piece.last:
                space.add(names[piece.shot], np.concatenate(pieces.pop(piece.shot)))
                advance()
    return failures
