"""What readers of words get of videos and of models; see `core.words.Media`."""

from collections.abc import Iterator, Sequence

from avs_cli.io.hub import digest, folder
from avs_cli.io.video.frames import Times, decode, jobs_of
from avs_cli.io.video.sounds import sounds
from avs_cli.io.video.subtitles import cues
from avs_cli.types import Failure, Frames, Shot, Whole

__all__ = ["cues", "digest", "folder", "frames", "sounds"]


def frames(
    shots: Sequence[Shot], times: Times, pixels: Whole, workers: int, timeout: float
) -> Iterator[Frames | Failure]:
    """The frames of each shot at some times, one in each piece, video by video; see `io.video.frames.decode`."""
    return decode(jobs_of(shots), times, pixels, workers=workers, timeout=timeout, thumbnail=0)
