"""A store composed of items of other stores, under other ids: an index renames, adds and removes rows at once."""

from collections.abc import Collection, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from avs_cli.errors import IncompleteError
from avs_cli.io.atomic import replacing
from avs_cli.io.store.files import FileTable, write_files
from avs_cli.io.store.reader import features
from avs_cli.io.store.schema import (
    copy_items,
    created,
    opened,
    pictures_of,
    write_feature,
    write_pictures,
    write_shots,
)
from avs_cli.io.store.texts import open_feature
from avs_cli.io.store.writer import flush
from avs_cli.io.texts import Lookup
from avs_cli.types import Shot


class Origin(NamedTuple):
    """A store from which items come, the id there of each shot ("" for one that does not), and features not to take."""

    path: Path
    ids: Sequence[str]
    without: Collection[str] = frozenset()


class _Items(NamedTuple):
    """The shots that some origin has: their numbers, and of each the origin, and its first row (or byte) and length."""

    shots: np.ndarray
    origin: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray


def has_rows(origins: Sequence[Origin], feature: str, count: int) -> np.ndarray:
    """(count,) which of the shots have a row of the feature in one of the origins."""
    found = np.zeros(count, bool)
    for origin in origins:
        if feature in features(origin.path) and feature not in origin.without:
            with open_feature(origin.path, feature) as store:
                found |= store.positions(origin.ids) >= 0
    return found


def compose(
    path: Path, names: Iterable[str], shots: Sequence[Shot], origins: Sequence[Origin], table: FileTable
) -> None:
    """Write a store of the shots, with their rows and thumbnails in the first origin that has them, atomically.

    names  of the features; the provenance of each is that of the last origin that gives rows

    Shots without a row of any feature are left out. Raises IncompleteError if none is left.
    """
    known = np.zeros(len(shots), bool)
    with ExitStack() as stack, replacing(path) as temporary:
        sources = [stack.enter_context(opened(origin.path, str(origin.path))) for origin in origins]
        with created(temporary) as file:
            for name in sorted(names):
                known[_compose_feature(file, name, shots, origins, sources)] = True
            held = [shots[number] for number in np.flatnonzero(known).tolist()]
            if not held:
                raise IncompleteError(f"{path}: no shots in any video; nothing written")
            write_shots(file, held)
            _compose_pictures(file, shots, known, origins, sources)
            write_files(file, table)
        flush(temporary)


def _compose_feature(
    file: Any, name: str, shots: Sequence[Shot], origins: Sequence[Origin], sources: Sequence[Any]
) -> np.ndarray:
    """Write a feature, and return the numbers of the shots that have a row of it."""
    with ExitStack() as stack:
        holding = {
            number: stack.enter_context(open_feature(origin.path, name))
            for number, origin in enumerate(origins)
            if name in sources[number] and name not in origin.without
        }
        places = {number: store.positions(origins[number].ids) for number, store in holding.items()}
        spans = {number: store.spans for number, store in holding.items()}
        last = holding[max(holding)]
        every = [
            _chosen(len(shots), places, {number: own[column] for number, own in spans.items()})
            for column in range(len(last.layout.names))
        ]
        items = every[0]
        last = holding[max(items.origin, default=max(holding))]
        ids = [shots[number].id for number in items.shots]
        lengths = [own.lengths for own in every]
        datasets = write_feature(file, name, last.provenance, ids, lengths, last.layout, str(last.path))
        for own, column, dataset in zip(every, last.layout.names, datasets, strict=True):
            for number in holding:
                _copy(sources[number][name][column], dataset, own, number)
    return items.shots


def _compose_pictures(
    file: Any, shots: Sequence[Shot], known: np.ndarray, origins: Sequence[Origin], sources: Sequence[Any]
) -> None:
    places, offsets = {}, {}
    for number, (origin, source) in enumerate(zip(origins, sources, strict=True)):
        ids, offsets[number] = pictures_of(source, str(origin.path))
        places[number] = np.where(known, Lookup([ids])(origin.ids), -1)
    items = _chosen(len(shots), places, offsets)
    jpeg = write_pictures(file, [shots[number].id for number in items.shots], items.lengths)
    for number in np.unique(items.origin).tolist():
        _copy(sources[number]["thumbnails/jpeg"], jpeg, items, number)


def _chosen(count: int, places: dict[int, np.ndarray], offsets: dict[int, np.ndarray]) -> _Items:
    """Each shot from the first origin that has it.

    places   by the number of the origin, (count,) positions of the shots there; -1 for those that it lacks
    offsets  of the origin's items
    """
    origin, starts, lengths = (np.full(count, -1, np.int64) for _ in range(3))
    for number, found in places.items():
        ours = (found >= 0) & (origin < 0)
        origin[ours] = number
        starts[ours], lengths[ours] = offsets[number][found[ours]], np.diff(offsets[number])[found[ours]]
    held = np.flatnonzero(origin >= 0)
    return _Items(held, origin[held], starts[held], lengths[held])


def _copy(source: Any, target: Any, items: _Items, number: int) -> None:
    """Copy the items of one origin to their places in the target, where all follow each other."""
    ours = items.origin == number
    goals = np.cumsum(items.lengths) - items.lengths
    copy_items(source, target, items.starts[ours], items.lengths[ours], goals[ours])
