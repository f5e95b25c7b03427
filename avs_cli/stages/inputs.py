"""Inputs of stages: runs and topics of them, videos and shot tables, and the comparison of provenances."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeGuard, TypeVar, cast

from avs_cli.errors import SpecError, few
from avs_cli.io.store.compatibility import Comparison
from avs_cli.io.text.shots import is_shot_table, located, read_shots
from avs_cli.io.text.topics import absent_topics, select_topics, topic_ids
from avs_cli.io.text.trec import read_run
from avs_cli.reporting import LOGGED, Reporter
from avs_cli.types import Failure, Run, Shot

FilePath = str | Path
Runs = FilePath | Run | Sequence[FilePath | Run] | Mapping[str, FilePath | Run]
"""A path or a value; several of them; or these by name."""

Paths = FilePath | Sequence[FilePath]

_Value = TypeVar("_Value")

# Files that a note names.
NAMED = 5


def path_names(paths: Paths) -> list[str]:
    """One path or several, as texts."""
    return [str(paths)] if isinstance(paths, FilePath) else list(map(str, paths))


def check_shard(shard: tuple[int, int]) -> None:
    """Raises SpecError unless this is part i, from 1, of n."""
    if not 1 <= shard[0] <= shard[1]:
        raise SpecError(f"part {shard[0]} of {shard[1]}: parts count from 1")


class GivenRun(NamedTuple):
    """A run that a stage was given.

    where  its path, or what errors call it
    value  None for a path
    """

    name: str
    where: str
    value: Run | None

    def read(self) -> Run:
        """The run itself."""
        return read_run(self.where) if self.value is None else self.value


def given_runs(runs: Runs) -> list[GivenRun]:
    """The runs with their names: those given, else those of the files, else run 1, run 2, …"""
    if _is_run(runs):
        runs = [runs]
    if isinstance(runs, Mapping):
        by_name = cast("Mapping[str, FilePath | Run]", runs)
        named, values = list(by_name), list(by_name.values())
    else:
        from avs_cli.core.evaluation.reports import names  # with all measures, which a search does without

        values = [runs] if isinstance(runs, FilePath) else list(runs)
        named = names([f"run {n}" if isinstance(run, dict) else str(run) for n, run in enumerate(values, start=1)])
    return [
        GivenRun(name, name, run) if isinstance(run, dict) else GivenRun(name, str(run), None)
        for name, run in zip(named, values, strict=True)
    ]


def _is_run(runs: Runs) -> TypeGuard[Run]:
    """Whether this is one run, not several by name: then its values hold scores."""
    if not isinstance(runs, Mapping):
        return False
    held = (value for own in runs.values() if isinstance(own, dict) for value in own.values())
    return any(isinstance(value, int | float) for value in held)


def comparison(allow_mismatch: bool = False, report: Reporter = LOGGED) -> Comparison:
    """The comparison of provenances of stores and heads: an error, or a note where mismatches are allowed."""
    return Comparison(report.note, allow_mismatch, "use --allow-mismatch to continue with a warning")


def selected(
    runs: Sequence[Mapping[str, _Value]], topics: str = "", report: Reporter = LOGGED
) -> list[dict[str, _Value]]:
    """The runs restricted to some topics.

    topics  a topics file, or ids and ranges such as 731-750,761; "" selects all

    Notes topics that are in no run. Raises MismatchError when the runs have none of them.
    """
    if not topics:
        return list(map(dict, runs))
    wanted = topic_ids(topics)
    if absent := absent_topics(wanted, runs):
        report.note(absent)
    return [select_topics(run, wanted) for run in runs]


def find_frames(inputs: Sequence[str], by: str, rate: float) -> dict[Shot, tuple[str, ...]]:
    """The shots whose frames are image files among the inputs; see `io.video.find.frame_shots`."""
    from avs_cli.io.video.find import frame_shots
    from avs_cli.io.video.frames import find_media

    return frame_shots(find_media(inputs), by, rate)


def named_shots(inputs: Sequence[str], table: str, report: Reporter = LOGGED) -> list[Shot | Failure]:
    """The shots of the tables, else each file as one shot; the end of a video is NaN until it is opened.

    table  a shot table in addition to those among the inputs, or ""

    Notes videos that no table lists.
    """
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
    note_unlisted(" and ".join(tables), files, found, report)
    at = {shot.id: shot for shot in found}
    return [
        at.get(s.id) or Failure(s.id, STAGE, f"{s.video}: in the shot table, but not among the inputs") for s in listed
    ]


def missing_videos(lost: Sequence[str], count: int, folders: Sequence[str], stores: Sequence[str]) -> str:
    """A message on videos, some of `count`, that were looked for in vain: among these folders, or where stores say."""
    where = f"among {few(folders)}" if folders else f"where {few(stores)} says"
    return f"{len(lost)} of {count} videos are not {where} ({few(lost)})"


def note_unlisted(table: str, files: Sequence[Path], found: Sequence[Shot], report: Reporter) -> None:
    """Note the videos of which a shot table lists none of the shots that were found."""
    from avs_cli.io.video.frames import is_picture

    listed = {shot.video for shot in found}
    if lacking := [name for name in map(str, files) if name not in listed and not is_picture(name)]:
        named = ", ".join(lacking[:NAMED]) + (f" and {len(lacking) - NAMED:,} more" if len(lacking) > NAMED else "")
        report.note(f"{table} lacks {len(lacking):,} of {len(files):,} videos, which are left out: {named}")


def find_shots(inputs: Sequence[str], table: str, workers: int, timeout: float) -> list[Shot | Failure]:
    """As `named_shots`, with the ends of all shots; a file that is not a video is a Failure."""
    from avs_cli.io.video.find import measured

    return list(measured(named_shots(inputs, table), workers, timeout))


def media_around(output: str, inputs: Sequence[str]) -> list[str]:
    """The videos and images of the input folders that hold an existing output, which would overwrite one of them."""
    if output in ("", "-") or not Path(output).is_file():
        return []
    from avs_cli.io.video.frames import find_media

    target = Path(output).resolve()
    folders = [folder for folder in map(Path, inputs) if folder.is_dir() and target.is_relative_to(folder.resolve())]
    return [str(path) for folder in folders for path in find_media([folder])]
