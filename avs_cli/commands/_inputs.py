"""What videos, folders and shot tables on a command line hold."""

from collections.abc import Sequence

from avs_cli.types import Failure, Shot


def find_frames(inputs: Sequence[str], by: str, rate: float) -> dict[Shot, tuple[str, ...]]:
    """The shots whose frames are the pictures among the inputs, as `io.media.frame_shots` has them."""
    from avs_cli.io.media import frame_shots
    from avs_cli.io.video import find_media

    return frame_shots(find_media(inputs), by, rate)


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
