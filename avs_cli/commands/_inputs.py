"""What videos, folders and shot tables on a command line hold."""

from collections.abc import Sequence
from pathlib import Path

from avs_cli.outputs import spare
from avs_cli.types import Failure, Shot


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


def spare_media(output: str, inputs: Sequence[str]) -> None:
    """Raises SpecError when an output would overwrite one of the videos and pictures in the input folders."""
    if output not in ("", "-") and Path(output).is_file():
        from avs_cli.io.video import find_media

        for folder in filter(Path.is_dir, map(Path, inputs)):
            if Path(output).resolve().is_relative_to(folder.resolve()):
                spare(output, map(str, find_media([folder])))
