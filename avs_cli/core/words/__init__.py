"""Readers of words, one module each, with `load(setting, ...) -> WordReader`: what is written or said in a video.

Adding a reader is adding a file here. `USES` of its module names the options of `avs extract` that it heeds, `REMARK`
says what it reads and downloads, for --list-models, `DOWNLOADS` whether models come from a hub, and `PACKAGES` are
those whose versions its stores record.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from avs_cli.core.registry import Registry
from avs_cli.types import Cues, Failure, Frames, Piece, Shot, Sound, Source, Whole

if TYPE_CHECKING:
    import numpy as np

# Modules that are not entries.
SHARED = ("devices", "spans")
readers = Registry("reader of words", __name__, "load")


class ShotWords(NamedTuple):
    """The pieces of text of a shot, in the order in which they are read; none where nothing is written or said."""

    shot: Shot
    pieces: Sequence[Piece]


Remember = Callable[[str, Callable[[], "np.ndarray"]], "np.ndarray"]


def _forget(name: str, compute: "Callable[[], np.ndarray]") -> "np.ndarray":
    return compute()


class Media(Protocol):
    """What a reader gets of videos and of models, which it cannot open itself: the module `avs_cli.io.video.media`."""

    def cues(
        self, videos: Sequence[str], languages: Sequence[str], workers: int, timeout: float
    ) -> Iterator[tuple[str, Cues | Failure]]:
        """The subtitles of each video, in these languages or in all; a Failure for a video that cannot be read."""
        ...

    def frames(
        self, shots: Sequence[Shot], times: Callable[..., list[float]], pixels: Whole, workers: int, timeout: float
    ) -> Iterator[Frames | Failure]:
        """The frames of each shot at some times, one in each piece, video by video; see `io.video.frames.decode`."""
        ...

    def sounds(self, videos: Sequence[str], workers: int, timeout: float) -> Iterator[tuple[str, Sound | Failure]]:
        """The sound of each video, piece by piece; a Failure ends a video."""
        ...

    def digest(self, path: Path, remember: Remember) -> str:
        """The SHA-256 of a file in hex."""
        ...

    def folder(self, source: Source, path: str | None, model: str) -> dict[str, Path]:
        """The files of a model by their names: those in the folder `path`, else the published ones."""
        ...


@dataclass(frozen=True)
class ReadingSetting:
    """How a reader runs, and the choices of the user that more than one reader has.

    media       opens videos, and finds the files of models
    workers     processes that read files
    timeout     seconds without a sign of life before a file is given up
    device      auto, cpu, cuda or cuda:1
    threads     CPU threads
    weights     a local model instead of the reader's own
    fps         frames per second that are read; None: the reader's own choice
    max_frames  of a shot, at most; None: no limit
    remember    a cache of arrays by name, which computes missing ones (default: no cache)
    """

    media: Media
    workers: int = 1
    timeout: float = 60.0
    device: str = "auto"
    threads: int = 1
    weights: str | None = None
    fps: float | None = None
    max_frames: int | None = None
    remember: Remember = _forget


class WordReader(Protocol):
    """Reads the words of videos.

    provenance  everything that determines what it reads
    """

    provenance: Mapping[str, Any]

    def read(self, videos: Mapping[str, Sequence[Shot]]) -> Iterator[ShotWords | Failure | str]:
        """The words of each shot, or its failure; and notes, as texts, at any time.

        videos  video -> its shots
        """
        ...
