"""Published scores of runs: `run score` lines, or a column of a CSV file with a header."""

import csv
import math

from avs_cli.errors import FormatError, UnknownName
from avs_cli.io.pipe import read_text


def read_leaderboard(path: str, column: str = "") -> dict[str, float]:
    """Run -> score.

    column  a column of a CSV file whose first column is the run; "": lines are `run score`

    Raises FormatError, with the line, for a score that is not a finite number and for a duplicate run, UnknownName for
    an unknown column.
    """
    text = read_text(path)
    lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    place = 1
    cells = [(number, line.split()) for number, line in lines]
    if column:
        cells = [(number, next(csv.reader([line]))) for number, line in lines]
        header = cells.pop(0)[1] if cells else []
        if column not in header:
            raise UnknownName("column", column, header)
        place = header.index(column)
    scores: dict[str, float] = {}
    for number, row in cells:
        if len(row) <= place:
            raise FormatError(path, "contains no scores; expected lines of run score", number)
        if row[0] in scores:
            raise FormatError(path, f"duplicate run {row[0]!r}", number)
        scores[row[0]] = _score(path, number, row[place])
    return scores


def _score(path: str, line: int, text: str) -> float:
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise FormatError(path, f"score {text!r} is not a finite number", line)
    return score
