"""What videos, folders and shot tables on a command line hold."""

from collections.abc import Sequence

from avs_cli.types import Failure, Shot


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
