"""Runs and qrels in TREC's text formats.

Run: six columns `topic Q0 shot rank score tag`; ordered by score (`types.ranked`), the rank is ignored.
Qrels: five columns `topic 0 shot stratum relevance` (TRECVID's samples), or TREC's four, which have one stratum. A
relevance is a whole number from -1000 to 1000.
Columns are separated by spaces or tabs; line ends are LF or CRLF; files may be gzip; `-` is a pipe.

The readers are our own because others accept invalid files (a NaN score, a duplicate shot). They read a million lines
in 0.6 s on one core; ir_measures takes 1.5 s, trectools 5.5 s.
"""

import functools
import itertools
import math
import operator
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from avs_cli.errors import FormatError
from avs_cli.io.atomic import writing
from avs_cli.io.pipe import read_text
from avs_cli.types import Judgment, Qrels, Run, ranked

_Value = TypeVar("_Value")

# Maximum relevance in qrels; time and memory of trec_eval grow with it.
GREATEST = 1000
# Characters per piece: its tokens fit the CPU caches, and those of a whole file would take 20 times its size.
_PIECE = 1 << 20
# Characters of a topic, at most, that are compared column by column.
_WIDEST = 64
# Characters of a file that is worth the import of NumPy, where nothing else has imported it.
_LARGE = 4 * _PIECE
# Not white space for `str.split`, and not in text files.
_END = "\0"


class _Rows(NamedTuple):
    """Lines of a file, split into columns.

    lines    the line numbers
    columns  the texts of one column, from `first` to before `last`, or of all from `first` on, joined by white space
    begins   the topic of the first row, and of each that has another than the row before, with the row; None: unknown
    """

    path: str
    width: int
    lines: Sequence[int]
    columns: Callable[[int, int], list[str]]
    begins: Sequence[tuple[str, int]] | None = None

    def column(self, number: int) -> list[str]:
        return self.columns(number, number + 1)

    def topics(self) -> Iterator[tuple[str, int, int]]:
        """Each topic, its first row and the row after its last, for rows that stand together."""
        begins = self.begins
        if begins is None:
            groups = itertools.groupby(enumerate(self.column(0)), key=operator.itemgetter(1))
            begins = [(topic, next(group)[0]) for topic, group in groups]
        ends = [*(start for _, start in begins), len(self.lines)][1:]
        return ((topic, start, end) for (topic, start), end in zip(begins, ends, strict=True))

    def fault(self, row: int, message: str) -> FormatError:
        return FormatError(self.path, message, self.lines[row])


def read_run(path: str) -> Run:
    """The shots and scores of each topic.

    Raises FormatError, with the line, for a line without six columns, a score that is not a finite number, and a
    duplicate shot of a topic.
    """
    return parse_run(path, read_text(path))


def parse_run(path: str, text: str) -> Run:
    """As `read_run`, from the content of the file."""
    run: Run = {}
    for rows in _rows(path, text, (6,), "topic Q0 shot rank score tag"):
        _gather(run, rows, _scores(rows, 4))
    return run


def is_run(text: str) -> bool:
    """Whether a text begins like a run: six columns, the fourth an integer and the fifth a number."""
    columns = text.lstrip().partition("\n")[0].split()
    return len(columns) == 6 and _is_whole(columns[3]) and _is_finite(columns[4])


def qrels_files(path: str) -> list[str]:
    """The path itself, or the files in a folder of qrels, sorted by name.

    Raises FormatError for a folder without files.
    """
    if not os.path.isdir(path):
        return [path]
    files = [entry.path for entry in os.scandir(path) if entry.is_file() and not entry.name.startswith(".")]
    if not files:
        raise FormatError(path, "contains no files; expected one qrels per year")
    return sorted(files)


def read_qrels(path: str) -> Qrels:
    """The judgments of each topic; equal judgments are one object.

    Raises FormatError, with the line, for a line without five columns, or four if the first line has four, a relevance
    that is not an integer or is beyond `GREATEST`, and a duplicate shot of a topic.
    """
    return parse_qrels(path, read_text(path))


def parse_qrels(path: str, text: str) -> Qrels:
    """As `read_qrels`, from the content of the file."""
    qrels: Qrels = {}
    known = _Judgments()
    for rows in _rows(path, text, (5, 4), "topic 0 shot stratum relevance, or topic 0 shot relevance"):
        try:
            judgments = list(map(known.__getitem__, rows.columns(3, rows.width)))
        except ValueError:
            row, text = next(pair for pair in enumerate(rows.column(rows.width - 1)) if not _is_grade(pair[1]))
            what = f"not between -{GREATEST} and {GREATEST}" if _is_whole(text) else "not a whole number"
            raise rows.fault(row, f"relevance {text!r} is {what}") from None
        _gather(qrels, rows, judgments)
    return qrels


class _Judgments(dict[str, Judgment]):
    """The last columns of a row -> their judgment; equal rows share one object."""

    def __missing__(self, text: str) -> Judgment:
        *stratum, relevance = columns = text.split()
        if not _is_grade(relevance):
            raise ValueError
        plain = " ".join(columns)
        self[text] = self[plain] = self.get(plain) or Judgment(int(relevance), *stratum)
        return self[text]


def write_run(path: str, run: Run, tag: str = "avs", depth: int = 1000) -> None:
    """Write the top `depth` shots of each topic, best first; scores are read back exactly, and so is their order.

    Raises FormatError, and writes nothing, for an id or tag with white space and for a score that is not finite.
    """
    _check_names(path, "tag", [tag])
    _check_names(path, "topic", list(run))
    with writing(path) as out:
        for topic, scores in run.items():
            shots = ranked(scores)[:depth]
            _check_names(path, "shot", shots)
            for rank, shot in enumerate(shots, start=1):
                score = float(scores[shot])
                if not math.isfinite(score):
                    raise FormatError(path, f"not written: shot {shot} of topic {topic} has the score {score}")
                out.write(f"{topic} Q0 {shot} {rank} {score!r} {tag}\n")


def _rows(path: str, text: str, widths: tuple[int, ...], columns: str) -> Iterator[_Rows]:
    """The columns of a text, piece by piece; blank lines are skipped."""
    if not text.strip():
        raise FormatError(path, f"contains no lines ({columns})")
    if _END in text:
        raise FormatError(path, "not a text file", text.count("\n", 0, text.index(_END)) + 1)
    if not text.endswith("\n"):
        text += "\n"
    first = next(filter(None, map(str.split, itertools.islice(text.split("\n", 1000), 1000))), [])
    width = len(first) if len(first) in widths else widths[0]
    start, line = 0, 1
    while start < len(text):
        end = text.find("\n", start + _PIECE) + 1 or len(text)
        piece = text[start:end]
        count = piece.count("\n")
        numbers: Sequence[int] = range(line, line + count)
        cut = _cut(path, piece, numbers, width) if "numpy" in sys.modules or len(text) > _LARGE else None
        if cut is None:
            tokens = piece.replace("\n", f" {_END} ").split()
            # All lines have `width` columns if each line end is preceded by as many.
            if len(tokens) != count * (width + 1) or tokens[width :: width + 1].count(_END) != count:
                tokens, numbers = _line_by_line(path, piece, line, width, columns)
            cut = _Rows(path, width, numbers, functools.partial(_of_tokens, tokens, width + 1))
        yield cut
        start, line = end, line + count


def _of_tokens(tokens: list[str], step: int, first: int, last: int) -> list[str]:
    """Columns from `first` to before `last`, of tokens of which a line has as many as `step`."""
    columns = [tokens[number::step] for number in range(first, last)]
    return columns[0] if len(columns) == 1 else list(map(" ".join, zip(*columns, strict=True)))


def _cut(path: str, piece: str, lines: Sequence[int], width: int) -> _Rows | None:
    """Lines as tools write them, with one space or tab between two columns; None for any other lines.

    Only the columns that are asked for become objects of Python: half the time of splitting all of them.
    """
    import numpy as np

    data, count = np.frombuffer(piece.encode(), np.uint8), len(lines)
    white = np.flatnonzero(data <= ord(" "))
    lengths = np.diff(white, prepend=-1)  # of the columns, with the space behind each
    if not piece.isascii() or len(white) != count * width or not (lengths > 1).all():
        return None
    signs = data[white].reshape(count, width)
    between = signs[:, :-1]
    if not (signs[:, -1] == ord("\n")).all() or not ((between == ord(" ")) | (between == ord("\t"))).all():
        return None

    def columns(first: int, last: int) -> list[str]:
        wanted = np.zeros((count, width), bool)
        wanted[:, first:last] = True
        text: str = data[np.repeat(wanted.ravel(), lengths)].tobytes().decode()
        return text.split() if last - first == 1 else text.rstrip("\n").split("\n")

    # Most rows have the topic of the row before: as long, and with the same characters.
    firsts, widths = np.append(0, white[width - 1 : -1 : width] + 1), lengths[::width] - 1
    if widths.max() > _WIDEST:
        return _Rows(path, width, lines, columns)
    other = np.append(True, widths[1:] != widths[:-1])
    for place in range(int(widths.max())):
        characters = data.take(firsts + place, mode="clip")
        other[1:] |= (characters[1:] != characters[:-1]) & (place < widths[1:])
    rows = np.flatnonzero(other).tolist()
    return _Rows(path, width, lines, columns, [(piece[firsts[n] : firsts[n] + widths[n]], n) for n in rows])


def _line_by_line(path: str, piece: str, line: int, width: int, columns: str) -> tuple[list[str], list[int]]:
    """Line-by-line parsing of a piece with blank or invalid lines. Raises FormatError for the first invalid one."""
    tokens, numbers = [], []
    for number, content in enumerate(piece.split("\n"), start=line):
        found = content.split()
        if not found:
            continue
        if len(found) != width:
            raise FormatError(
                path, f"{len(found)} column{'s' * (len(found) > 1)} instead of {width} ({columns})", number
            )
        tokens += [*found, _END]
        numbers.append(number)
    return tokens, numbers


def _scores(rows: _Rows, number: int) -> list[float]:
    """A column of finite numbers."""
    texts = rows.column(number)
    try:
        scores = list(map(float, texts))
    except ValueError:
        scores = []
    # `float` also accepts "1_000" and non-ASCII digits, which other tools do not. A finite sum implies finite terms;
    # otherwise the loop looks for one that is not.
    joined = "".join(texts)
    if not scores or "_" in joined or not joined.isascii() or not math.isfinite(sum(scores)):
        for row, text in enumerate(texts):
            if not _is_finite(text):
                raise rows.fault(row, f"score {text!r} is not a finite number")
    return scores


def _gather(by_topic: dict[str, dict[str, _Value]], rows: _Rows, values: list[_Value]) -> None:
    """Add `values`, one per row, to `by_topic` under the rows' topics and shots."""
    shots = rows.column(2)
    for topic, start, end in rows.topics():
        part = dict(zip(shots[start:end], values[start:end], strict=True))
        have = by_topic.setdefault(topic, part)
        if len(part) < end - start or (have is not part and not part.keys().isdisjoint(have)):
            raise _duplicate(rows, {} if have is part else have, topic, shots, start)
        have.update(part if have is not part else ())


def _duplicate(rows: _Rows, have: dict[str, _Value], topic: str, shots: list[str], start: int) -> FormatError:
    seen = set(have)
    for row in itertools.count(start):
        if shots[row] in seen:
            return rows.fault(row, f"duplicate shot {shots[row]!r} in topic {topic}")
        seen.add(shots[row])
    raise AssertionError("no duplicate")


def _is_finite(text: str) -> bool:
    try:
        return "_" not in text and text.isascii() and math.isfinite(float(text))
    except ValueError:
        return False


def _is_grade(text: str) -> bool:
    # int() raises for thousands of digits.
    return _is_whole(text) and len(text) < 10 and abs(int(text)) <= GREATEST


def _is_whole(text: str) -> bool:
    digits = text[1:] if text[:1] in ("-", "+") else text
    return digits.isascii() and digits.isdigit()


def _check_names(path: str, kind: str, names: list[str]) -> None:
    for name in names if len("_".join(names).split()) != 1 or "" in names else ():
        if len(name.split()) != 1 or name != name.strip():
            raise FormatError(
                path, f"not written: {kind} {name!r} is empty or has white space, which runs do not allow"
            )
