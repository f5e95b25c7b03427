"""Shot tables: the TSV format of avs, and the master shot boundaries of V3C.

    shot<TAB>video<TAB>start<TAB>end                       with this header line; times in seconds
    startframe<TAB>starttime<TAB>endframe<TAB>endtime      V3C: row n of 00042.tsv is shot00042_n of video 00042

Times are written with full precision.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from avs_cli.errors import FormatError
from avs_cli.io.atomic import writing
from avs_cli.io.pipe import read_text
from avs_cli.types import Shot

HEADER = ["shot", "video", "start", "end"]
V3C_HEADER = ["startframe", "starttime", "endframe", "endtime"]


def read_shots(path: str | Path) -> list[Shot]:
    """The shots of a table (`-` is stdin), or of all V3C tables in a folder, in the order of the rows.

    The `video` of a V3C table is the stem of its file. Raises FormatError, also for a duplicate shot.
    """
    tables = [path]
    if str(path) != "-" and Path(path).is_dir():
        tables = sorted(Path(path).glob("*.tsv"))
        if not tables:
            raise FormatError(path, "contains no .tsv tables")
    seen: dict[str, str] = {}
    shots = []
    for table in tables:
        for line, shot in _read_table(table):
            if shot.id in seen:
                raise FormatError(table, f"duplicate shot {shot.id!r} (also {seen[shot.id]})", line)
            seen[shot.id] = f"{table}:{line}"
            shots.append(shot)
    return shots


def write_shots(path: str | Path, shots: Iterable[Shot]) -> None:
    """Write a table in the format of avs; `-` is stdout."""
    with writing(path) as out:
        out.write("\t".join(HEADER) + "\n")
        for shot in shots:
            if any(character in shot.id + shot.video for character in "\t\n\r"):
                raise FormatError(path, f"a tab or line break in {shot.id + ' ' + shot.video!r}; rename the video")
            out.write(f"{shot.id}\t{shot.video}\t{float(shot.start)!r}\t{float(shot.end)!r}\n")


def is_shot_table(path: str | Path) -> bool:
    """Whether a file begins with the header of a shot table, or a folder contains V3C tables."""
    path = Path(path)
    if path.is_dir():
        return any(is_shot_table(table) for table in sorted(path.glob("*.tsv"))[:1])
    if not path.is_file():
        return False
    with path.open("rb") as file:
        first = file.readline(200).decode("utf-8-sig", errors="replace").split()
    return first in (HEADER, V3C_HEADER)


def located(shots: Sequence[Shot], files: Iterable[Path]) -> tuple[list[Shot], list[str]]:
    """The shots whose `video` is the path, name or stem of a file, with that path; and the videos without a file.

    If several files match, the first is used.
    """
    known: dict[str, str] = {}
    for file in files:
        for name in (str(file), file.name, file.stem):
            known.setdefault(name, str(file))
    found = [shot._replace(video=known[shot.video]) for shot in shots if shot.video in known]
    return found, sorted({shot.video for shot in shots} - known.keys())


def video_names(files: Sequence[Path]) -> list[str]:
    """A short unique name per file, for the ids of its shots: its stem, if it is unique.

    Files with the same stem are distinguished by parent folders (`a/clip`, `b/clip`), else by their suffix. White
    space, which is not allowed in runs, is replaced by `_`. Raises FormatError for names that are still equal.
    """
    parts = [("_".join(part.split()) for part in file.with_suffix("").parts) for file in files]
    paths = [tuple(part.strip("/") for part in path) for path in parts]
    suffixed = Counter(paths)
    paths = [
        (*path[:-1], "_".join(file.name.split())) if suffixed[path] > 1 else path
        for path, file in zip(paths, files, strict=True)
    ]
    names = [""] * len(files)
    waiting, depth = list(range(len(files))), 1
    while waiting:
        tails = {index: "/".join(paths[index][-depth:]) for index in waiting}
        shared = Counter(tails.values())
        for index, tail in tails.items():
            if shared[tail] == 1 or depth >= len(paths[index]):
                names[index] = tail
        waiting = [index for index in waiting if not names[index]]
        depth += 1
    for name, count in Counter(names).items():
        if count > 1:
            twins = [str(file) for file, own in zip(files, names, strict=True) if own == name]
            raise FormatError(twins[0], f"has the same name as {twins[1]} ({name}); rename one of them")
    return names


def _read_table(path: str | Path) -> Iterator[tuple[int, Shot]]:
    """(line, shot) of every row."""
    rows = [(line, row.split("\t")) for line, row in enumerate(read_text(path).splitlines(), start=1) if row.strip()]
    if not rows:
        raise FormatError(path, "empty; expected a shot table with the header: shot<TAB>video<TAB>start<TAB>end")
    header = [cell.strip() for cell in rows[0][1]]
    if header == HEADER:
        yield from ((line, _own_row(cells, path, line)) for line, cells in rows[1:])
    elif header == V3C_HEADER:
        stem = Path(path).stem
        yield from ((line, _v3c_row(cells, stem, n, path, line)) for n, (line, cells) in enumerate(rows[1:], start=1))
    else:
        raise FormatError(path, f"no shot table: the first line should be {' '.join(HEADER)} (tabs between)", 1)


def _own_row(cells: list[str], path: str | Path, line: int) -> Shot:
    if len(cells) != 4:
        raise FormatError(path, f"{len(cells)} columns, not 4: shot, video, start, end", line)
    name, video = cells[0].strip(), cells[1]
    if not name or name.split() != [name]:
        raise FormatError(path, f"shot id {name!r} is empty or has white space, which runs do not allow", line)
    return Shot(name, video, *_span(cells[2], cells[3], path, line))


def _v3c_row(cells: list[str], video: str, n: int, path: str | Path, line: int) -> Shot:
    if len(cells) != 4:
        raise FormatError(path, f"{len(cells)} columns, not 4: {', '.join(V3C_HEADER)}", line)
    # TRECVID writes shot00042_7 for row 7 of 00042.tsv.
    return Shot(f"shot{video.zfill(5)}_{n}", video, *_span(cells[1], cells[3], path, line))


def _span(start: str, end: str, path: str | Path, line: int) -> tuple[float, float]:
    first, last = _seconds(start, path, line), _seconds(end, path, line)
    if last < first:
        raise FormatError(path, f"the shot ends ({end.strip()}) before it starts ({start.strip()})", line)
    return first, last


def _seconds(text: str, path: str | Path, line: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise FormatError(path, f"{text.strip()!r} is not a time in seconds", line)
    return value
