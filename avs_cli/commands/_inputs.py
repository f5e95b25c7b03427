"""What a command line gives: videos and shot tables, topics of runs, and how the stores among them are compared."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from avs_cli.console import note
from avs_cli.outputs import spare
from avs_cli.types import Failure, Shot

if TYPE_CHECKING:
    from avs_cli.io.compatibility import Comparison

_Value = TypeVar("_Value")


def comparison(allow_mismatch: bool) -> "Comparison":
    """How a command compares the provenances of its stores and heads: its warnings go to stderr."""
    from avs_cli.io.compatibility import Comparison

    return Comparison(note, allow_mismatch, "use --allow-mismatch to continue with a warning")


def selected(runs: Sequence[Mapping[str, _Value]], topics: str) -> list[dict[str, _Value]]:
    """The runs with the topics that `--topics` gives, or with all of theirs where it is "".

    Notes which of the topics are in no run. Raises MismatchError when the runs have none of them.
    """
    if not topics:
        return list(map(dict, runs))
    from avs_cli.io.topics import absent_topics, select_topics, topic_ids

    wanted = topic_ids(topics)
    if absent := absent_topics(wanted, runs):
        note(absent)
    return [select_topics(run, wanted) for run in runs]


def named_shots(inputs: Sequence[str], table: str) -> list[Shot | Failure]:
    """The shots of the tables, else every file as one, whose end is NaN where only its video can tell.

    table  a shot table beside those among the inputs, or ""
    """
    from avs_cli.io.media import unmeasured
    from avs_cli.io.shots import is_shot_table, located, read_shots
    from avs_cli.io.video import STAGE, find_media

    tables = [*([table] if table else []), *filter(is_shot_table, inputs)]
    media = [name for name in inputs if not is_shot_table(name)]
    files = find_media(media) if media else []
    if not tables:
        return list(unmeasured(files))
    listed = [shot for name in tables for shot in read_shots(name)]
    if not media:
        return list(listed)
    found, _ = located(listed, files)
    at = {shot.id: shot for shot in found}
    return [at.get(s.id) or Failure(s.id, STAGE, f"{s.video}: in the shot table, not among the inputs") for s in listed]


def find_shots(inputs: Sequence[str], table: str, workers: int, timeout: float) -> list[Shot | Failure]:
    """The same with the ends of all shots; a file that is no video is a Failure."""
    from avs_cli.io.media import measured

    return list(measured(named_shots(inputs, table), workers, timeout))


def spare_media(output: str, inputs: Sequence[str]) -> None:
    """Raises SpecError when an output would overwrite one of the videos and pictures in the input folders."""
    if output not in ("", "-") and Path(output).is_file():
        from avs_cli.io.video import find_media

        for folder in filter(Path.is_dir, map(Path, inputs)):
            if Path(output).resolve().is_relative_to(folder.resolve()):
                spare(output, map(str, find_media([folder])))
