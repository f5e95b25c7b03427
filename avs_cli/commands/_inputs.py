"""What videos, folders and shot tables on a command line hold, and which topics of runs are asked for."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from avs_cli.console import note
from avs_cli.types import Failure, Shot

_Value = TypeVar("_Value")


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


def find_shots(inputs: Sequence[str], table: str, workers: int, timeout: float) -> list[Shot | Failure]:
    """The shots of the tables, else every file as one; a file that is no video is a Failure.

    table  a shot table beside those among the inputs, or ""
    """
    from avs_cli.io.media import whole_files
    from avs_cli.io.shots import is_shot_table, located, read_shots
    from avs_cli.io.video import STAGE, find_media

    tables = [*([table] if table else []), *filter(is_shot_table, inputs)]
    media = [name for name in inputs if not is_shot_table(name)]
    files = find_media(media) if media else []
    if not tables:
        return list(whole_files(files, workers, timeout))
    listed = [shot for name in tables for shot in read_shots(name)]
    if not media:
        return list(listed)
    found, _ = located(listed, files)
    at = {shot.id: shot for shot in found}
    return [at.get(s.id) or Failure(s.id, STAGE, f"{s.video}: in the shot table, not among the inputs") for s in listed]
