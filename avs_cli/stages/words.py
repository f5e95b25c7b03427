"""Words of shots: what readers of words find in videos, written as features of texts."""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from avs_cli import __version__, machine
from avs_cli.core.words import ReadingSetting, WordReader, readers
from avs_cli.io.store.texts import TextItem
from avs_cli.io.store.writer import TextWriter
from avs_cli.provenance import versions
from avs_cli.reporting import Reporter
from avs_cli.stages.encoding import PART_SECONDS, PART_SHOTS, remaining_shots
from avs_cli.stages.extraction import failures_of
from avs_cli.stages.inputs import FilePath
from avs_cli.types import Failure, Shot

# Default of the processes that read files: subtitles are soon read.
WORKERS = 4
# Packages whose versions are recorded in a store of words.
PACKAGES = ("av", "numpy")


class WordExtraction(NamedTuple):
    """What is asked of the reader `spec`, and of its feature in a store; None is the reader's own choice."""

    spec: str
    path: str
    feature: str
    weights: FilePath | None = None
    device: str = "auto"
    threads: int = 0
    fps: float | None = None
    max_frames: int | None = None

    def reader(self, workers: int = 1, timeout: float = 60.0) -> WordReader:
        """The reader, which loads its models when it reads. Raises UnavailableError where they are missing."""
        from avs_cli.io.cache import remembered
        from avs_cli.io.video import media

        setting = ReadingSetting(
            media,
            workers,
            timeout,
            self.device,
            self.threads or machine.cores(),
            str(self.weights) if self.weights else None,
            self.fps,
            self.max_frames,
            remembered,
        )
        reader: WordReader = readers.load(self.spec)(setting)
        return reader

    def check(self) -> None:
        """Raise for a reader whose package or model is missing, before a video is opened."""
        _ = self.reader().provenance

    @property
    def is_here(self) -> bool:
        """Whether the reader needs no model that may have to be downloaded."""
        return bool(self.weights) or not getattr(readers.module(self.spec), "DOWNLOADS", False)

    def writer(self, reader: WordReader) -> TextWriter:
        """The writer of the feature, which compares everything that determines what is read with what the store has."""
        described = {**reader.provenance, "spec": self.spec}
        packages = versions(*PACKAGES, *getattr(readers.module(self.spec), "PACKAGES", ()))
        provenance = {key: described[key] for key in sorted(described)} | {"versions": {"avs": __version__, **packages}}
        return TextWriter(self.path, self.feature, provenance)


def read_words(
    wanted: WordExtraction,
    found: Sequence[Shot | Failure],
    workers: int,
    timeout: float,
    retry_failed: bool,
    report: Reporter,
    check: Callable[[TextWriter], None] = lambda writer: None,
) -> list[Failure]:
    """Read the words of the shots that the feature lacks, part by part; returns the failures of all shots.

    check  called with the writer, not yet open, before a video is; may raise
    """
    from avs_cli.io.video.find import measured

    workers = workers or min(WORKERS, machine.cores())
    reader = wanted.reader(workers, timeout)
    check(wanted.writer(reader))
    with wanted.writer(reader) as writer:
        left = remaining_shots(writer, found, retry_failed)
        videos: dict[str, list[Shot]] = {}
        for item in measured(left, workers, timeout) if left else ():
            if isinstance(item, Shot):
                videos.setdefault(item.video, []).append(item)
            else:
                writer.fail(item)
        part: list[TextItem] = []
        started = time.monotonic()
        with report.progress("reading", sum(map(len, videos.values()))) as advance:
            for one in reader.read(videos) if videos else ():
                if isinstance(one, str):
                    report.note(one)
                    continue
                advance(1)
                if isinstance(one, Failure):
                    writer.fail(one)
                    continue
                part.append(TextItem(one.shot, one.shot.id, one.pieces))
                if len(part) >= PART_SHOTS or time.monotonic() - started >= PART_SECONDS:
                    writer.add(part)
                    part, started = [], time.monotonic()
        writer.add(part)
        writer.finish([item.id for item in found])
        return failures_of(writer, found)
