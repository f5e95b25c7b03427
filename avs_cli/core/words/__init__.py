"""Readers of words, one module each, with `load(setting, ...) -> WordReader`: what is written or said in a video.

Adding a reader is adding a file here. `USES` of its module names the options of `avs extract` that it heeds, and
`REMARK` says what it reads and downloads, for --list-models.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from avs_cli.core.registry import Registry
from avs_cli.types import Cues, Failure, Piece, Shot

readers = Registry("reader of words", __name__, "load")


class ShotWords(NamedTuple):
    """The pieces of text of a shot, in the order in which they are read; none where nothing is written or said."""

    shot: Shot
    pieces: Sequence[Piece]


class Media(Protocol):
    """What a reader gets of videos, which it cannot open itself: the module `avs_cli.io.video.media`."""

    def cues(
        self, videos: Sequence[str], languages: Sequence[str], workers: int, timeout: float
    ) -> Iterator[tuple[str, Cues | Failure]]:
        """The subtitles of each video, in these languages or in all; a Failure for a video that cannot be read."""
        ...


@dataclass(frozen=True)
class ReadingSetting:
    """How a reader runs; nothing here changes what it reads.

    media    opens videos
    workers  processes that read files
    timeout  seconds without a sign of life before a file is given up
    """

    media: Media
    workers: int = 1
    timeout: float = 60.0


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
