"""Rows of the benchmarks, the table of them, and RESULTS.md, which keeps the last ones and tells when one gets worse.

RESULTS.md has a section per benchmark: when, where and with which versions it was measured, and its rows. What is
compared from one time to the next is the ratio to the peer, or the share of the bound where there is no peer: absolute
figures depend on the machine.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

COLUMNS = ("what", "ours", "peer", "ratio", "goal", "bound", "share", "remark")
WORSE = 0.2
# Units of which less is better; of others, such as frames/s, more is.
COSTS = frozenset({"s", "ms", "MB", "GB"})
# What a row has for a figure where there is none.
SKIPPED, FAILED = "skipped", "failed"

HEAD = """\
# Results of the benchmarks

`make bench` measures speed and writes this file; `make bench ONLY=NAME` measures one benchmark and writes its section,
and `make bench ONLY=all` measures quality, faults and memory too. Ours and the peer take turns in the same run.

- ratio: ours to the peer. Where the goal is ≤, of times (less is better); else of speeds (more is better).
- bound: what no version beats on that machine, such as the time to read the bytes; share: how much of it is reached.
- remark: a goal that is missed; a ratio, or the share where there is no peer, that is 20 % worse than in the committed
  file.
"""


@dataclass(frozen=True)
class Row:
    """A figure next to that of a peer, and to the best that the machine allows.

    unit    of `ours`, `theirs` and `bound`; less is better of those in `COSTS`, else more
    theirs  the figure of `peer` for the same work in the same run
    goal    of the ratio: "≤ 0.9" is of times, "≥ 8" of speeds, whichever the unit is
    bound   the figure that no version beats; `limit` says what it is
    """

    what: str
    ours: float
    unit: str
    peer: str = ""
    theirs: float | None = None
    goal: str = ""
    bound: float | None = None
    limit: str = ""

    def cells(self) -> list[str]:
        """The row as texts, by `COLUMNS` without the remark."""
        cost = self.unit in COSTS
        peer = ratio = bound = share = ""
        if self.theirs is not None:
            peer = f"{self.peer}: {_figure(self.theirs, self.unit)}"
            quotient = self.ours / self.theirs
            ratio = f"{_number(quotient if cost == self.goal.startswith('≤') else 1 / quotient)}×"
        if self.bound is not None:
            bound = f"{self.limit}: {_figure(self.bound, self.unit)}"
            share = f"{100 * (self.bound / self.ours if cost else self.ours / self.bound):.0f} %"
        return [self.what, _figure(self.ours, self.unit), peer, ratio, self.goal and f"{self.goal}×", bound, share]


def cells(row: Row | Sequence[str]) -> list[str]:
    """The texts of a row by `COLUMNS` without the remark; a plain row is (what, figure, goal)."""
    if isinstance(row, Row):
        return row.cells()
    what, figure, goal = row
    return [what, figure, "", "", goal, "", ""]


class Section(NamedTuple):
    """The rows of one benchmark, as texts by `COLUMNS`, and a line on when and where they were measured."""

    measured: str
    rows: list[list[str]]

    @property
    def whole(self) -> bool:
        """Whether no row was skipped or failed."""
        return not any(row[1] in (SKIPPED, FAILED) for row in self.rows)


def remarked(rows: Iterable[Sequence[str]], before: Section | None) -> Iterator[list[str]]:
    """The rows with their remarks.

    before  the section to compare with, if there is one
    """
    old = {_compared(row): row for row in before.rows} if before else {}
    for row in rows:
        remarks = ["misses the goal"] if _misses(row) else []
        if (same := old.get(_compared(row))) and (worse := _worse(row, same)):
            remarks.append(worse)
        yield [*row, "; ".join(remarks)]


def _compared(row: Sequence[str]) -> tuple[str, str]:
    """What a row measures, and the peer."""
    return row[0], row[2].rpartition(": ")[0]


def _misses(row: Sequence[str]) -> bool:
    _, _, _, ratio, goal, *_ = row
    if not ratio or not goal:
        return False
    return _value(ratio) > _value(goal) if _of_costs(row) else _value(ratio) < _value(goal)


def _of_costs(row: Sequence[str]) -> bool:
    """Whether the ratio is of what the work costs, not of speeds."""
    return row[4].startswith("≤")


def _worse(row: Sequence[str], old: Sequence[str]) -> str:
    """By how much a row is worse than it was, if that is by `WORSE` or more: in time where time is what it costs."""
    ratio, share = 3, 6
    column = ratio if row[ratio] and old[ratio] else share
    if not row[column] or not old[column] or _of_costs(row) != _of_costs(old):
        return ""
    growth = _value(row[column]) / max(_value(old[column]), 1e-9)
    less_is_better = column == ratio and _of_costs(row)
    grown = growth if less_is_better else 1 / max(growth, 1e-9)
    return f"**{100 * (grown - 1):.0f} % worse** than {old[column]}" if grown >= 1 + WORSE - 1e-9 else ""


def merged(old: Mapping[str, Section], new: Mapping[str, Section]) -> dict[str, Section]:
    """The sections by name; a benchmark of which a part was skipped or failed keeps what it had."""
    taken = {name: section for name, section in new.items() if section.whole or name not in old}
    return dict(sorted({**old, **taken}.items()))


def table(rows: Sequence[Sequence[str]]) -> str:
    """The rows under one another with their heads, and a rule below these; columns without a text are left out."""
    shown = [number for number, name in enumerate(COLUMNS) if any(row[number] for row in rows) or name == "what"]
    lines = [[row[number] for number in shown] for row in [COLUMNS, *rows]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    texts = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([texts[0], "-" * (sum(widths) + 2 * len(widths) - 2), *texts[1:]])


def written(sections: Mapping[str, Section]) -> str:
    """The content of RESULTS.md."""
    parts = [HEAD]
    for name, (measured, rows) in sections.items():
        lines = [COLUMNS, ["---"] * len(COLUMNS), *rows]
        listed = "".join(f"| {' | '.join(cell.replace('|', '¦') for cell in line)} |\n" for line in lines)
        parts.append(f"## {name}\n\n{measured}\n\n{listed}")
    return "\n".join(parts)


def read(text: str) -> dict[str, Section]:
    """The sections of RESULTS.md by the names of their benchmarks."""
    sections = {}
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        name, measured, *lines = [line for line in part.splitlines() if line]
        rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines[2:]]
        sections[name] = Section(measured, rows)
    return sections


def _figure(value: float, unit: str) -> str:
    return f"{_number(value)} {unit}".rstrip()


def _number(value: float) -> str:
    """Three significant digits, with a comma between thousands."""
    return f"{value:,.0f}" if abs(value) >= 99.95 else f"{value:.3g}"


def _value(text: str) -> float:
    """The number in a ratio, a goal or a share."""
    return float(re.sub(r"[^0-9.e-]", "", text))
