"""Inputs of commands: videos and shot tables, selected topics of runs, and the comparison of provenances."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from avs_cli.console import note
from avs_cli.outputs import spare
from avs_cli.types import Failure, Shot

if TYPE_CHECKING:
    from avs_cli.io.store.compatibility import Comparison

_Value = TypeVar("_Value")


def comparison(allow_mismatch: bool) -> "Comparison":
    """The comparison of provenances of stores and heads for a command, with warnings on stderr."""
    from avs_cli.io.store.compatibility import Comparison

    return Comparison(note, allow_mismatch, "use --allow-mismatch to continue with a warning")


def selected(runs: Sequence[Mapping[str, _Value]], topics: str) -> list[dict[str, _Value]]:
    """The runs restricted to the topics of `--topics`; "" selects all.

    Notes topics that are in no run. Raises MismatchError when the runs have none of them.
    """
    if not topics:
        return list(map(dict, runs))
    from avs_cli.io.text.topics import absent_topics, select_topics, topic_ids

    wanted = topic_ids(topics)
    if absent := absent_topics(wanted, runs):
        note(absent)
    return [select_topics(run, wanted) for run in runs]


def find_frames(inputs: Sequence[str], by: str, rate: float) -> dict[Shot, tuple[str, ...]]:
    """The shots whose frames are image files among the inputs; see `io.media.frame_shots`."""
    from avs_cli.io.video.find import frame_shots
    from avs_cli.io.video.frames import find_media

    return frame_shots(find_media(inputs), by, rate)


def named_shots(inputs: Sequence[str], table: str) -> list[Shot | Failure]:
    """The shots of the tables, else each file as one shot; the end of a video is NaN until it is opened.

    table  a shot table in addition to those among the inputs, or ""
    """
    from avs_cli.io.text.shots import is_shot_table, located, read_shots
    from avs_cli.io.video.find import unmeasured
    from avs_cli.io.video.frames import STAGE, find_media

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
    return [
        at.get(s.id) or Failure(s.id, STAGE, f"{s.video}: in the shot table, but not among the inputs") for s in listed
    ]


def find_shots(inputs: Sequence[str], table: str, workers: int, timeout: float) -> list[Shot | Failure]:
    """As `named_shots`, with the ends of all shots; a file that is not a video is a Failure."""
    from avs_cli.io.video.find import measured

    return list(measured(named_shots(inputs, table), workers, timeout))


def spare_media(output: str, inputs: Sequence[str]) -> None:
    """Raises SpecError when an output would overwrite a video or image in the input folders."""
    if output not in ("", "-") and Path(output).is_file():
        from avs_cli.io.video.frames import find_media

        for folder in filter(Path.is_dir, map(Path, inputs)):
            if Path(output).resolve().is_relative_to(folder.resolve()):
                spare(output, map(str, find_media([folder])))
