"""Several features of the same items, from any number of stores: the inputs of a trained head."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from copy import copy
from functools import partial
from typing import Any, NamedTuple, Self

import numpy as np

from avs_cli.errors import FEW, MismatchError, few
from avs_cli.io.resource import Resource
from avs_cli.io.store.compatibility import Comparison, is_imported
from avs_cli.io.store.joining import join_ids
from avs_cli.io.store.reader import Gallery, open_store
from avs_cli.io.store.schema import Ids
from avs_cli.types import Block, Joined, Shot

# Shots that are looked at together.
PIECE = 1 << 16


class Galleries(Resource):
    """One gallery per feature; the stores of a feature form one gallery."""

    def __init__(self, names: Sequence[str], comparison: Comparison | None = None):
        """Raises MismatchError for incompatible stores of one feature."""
        self.comparison = comparison or Comparison()
        with ExitStack() as stack:
            by_feature: dict[str, list[Any]] = {}
            for name in names:
                store = stack.enter_context(open_store(name))
                by_feature.setdefault(store.feature, []).append(store)
            self.features = {feature: Gallery(stores, self.comparison) for feature, stores in by_feature.items()}
            self._resources = stack.pop_all()

    def check(self, who: str, wanted: Sequence[Mapping[str, Any]]) -> None:
        """Raises MismatchError unless the galleries have the features with which `who` was trained.

        wanted  name, dim, frames and provenance of each
        """
        for feature in wanted:
            name = feature["name"]
            if name not in self.features:
                have = ", ".join(self.features) or "none"
                raise MismatchError(f"{who} was trained with the feature {name!r}; the stores have {have}")
            held = self.features[name]
            ours, theirs = _kind(held.dim, held.frame_level), _kind(feature["dim"], feature["frames"])
            if ours != theirs:
                raise MismatchError(f"{who} takes {name!r} as {theirs}, but {held.stores[0].path} has {ours}")
            where = f"{held.stores[0].path}::{name}"
            self._compare(who, name, feature["provenance"], where, held.provenance)

    def _compare(self, who: str, name: str, theirs: Mapping[str, Any], where: str, ours: Mapping[str, Any]) -> None:
        """Raises MismatchError if a head was trained with vectors of another meaning."""
        if not theirs:
            return  # heads from published checkpoints have no provenance
        refusal = f"{who} was trained with a different {name!r} than that of {where}"
        trained = f"the {name!r} of {who}"
        # Whether topics of another field are allowed is decided by the command.
        theirs, ours = ({key: value for key, value in one.items() if key != "field"} for one in (theirs, ours))
        if "sampling" in ours and "sampling" not in theirs and not is_imported(theirs):
            # avs 0.1.0 wrote the provenance of the text feature for a video feature of the same name.
            self.comparison.ends(trained, theirs, where, ours, refusal)
        else:
            self.comparison.alike(trained, theirs, where, ours, refusal)

    def only(self, features: Sequence[str]) -> Self:
        """The same open stores, restricted to these features, in this order."""
        part = copy(self)
        part.features = {feature: self.features[feature] for feature in features}
        return part

    def places(self, feature: str, ids: Sequence[str]) -> np.ndarray:
        """(N,) positions of ids in the gallery of a feature; -1 for missing ids."""
        return self.features[feature].places(ids)

    def stores_of(self, feature: str) -> str:
        """The stores of a feature, for messages."""
        return ", ".join(f"{store.path}::{feature}" for store in self.features[feature].stores)


class Gap(NamedTuple):
    """Shots that a feature lacks and another one has: how many, the first of them, and a feature that has that one."""

    shots: int
    first: list[str]
    rich: str


class JoinedGallery:
    """The shots of several features as one gallery: blocks of shots with all their features.

    Shots are sorted by id, independently of how they are distributed over stores. A shot that a feature lacks has zeros
    there, and is marked in the block.
    """

    def __init__(self, galleries: Galleries, features: Sequence[str], rows: int):
        self._named = galleries
        self.galleries = [galleries.features[feature] for feature in features]
        self.features, self.rows = tuple(features), rows
        raw, self._places = join_ids(self.galleries)
        self.ids = Ids(raw)

    def places(self, ids: Sequence[str]) -> np.ndarray:
        """(N,) positions of shots that are in the gallery."""
        return self.ids.raw.searchsorted(np.array([id.encode() for id in ids] or [b""], "S")[: len(ids)])

    def __len__(self) -> int:
        return len(self.ids)

    def pieces(self) -> Iterator[tuple[int, Callable[[], Joined]]]:
        """The position of the first shot of each block, and what reads the block, in any thread.

        Blocks have `rows` shots; only the last one is shorter.
        """
        for low in range(0, len(self.ids), self.rows):
            yield low, partial(self.take, np.arange(low, min(low + self.rows, len(self.ids))))

    def take(self, positions: np.ndarray) -> Joined:
        """The shots at these positions, in this order."""
        ids = Ids(self.ids.raw[positions])
        blocks, lacking = {}, {}
        for name, gallery, places in zip(self.features, self.galleries, self._places, strict=True):
            place = places[positions]
            if (place < 0).any():
                lacking[name] = place < 0
                blocks[name] = _with_zeros(gallery, place, ids)
            else:
                blocks[name] = gallery.take(place)
        return Joined(ids, blocks, lacking or None)

    def count(self, features: Sequence[str], every: bool) -> int:
        """Number of shots that have all of these features, or any of them."""
        together = np.logical_and if every else np.logical_or
        return sum(int(together.reduce([*there.values()]).sum()) for _, there in self._there(features))

    def complete(self, low: int, high: int) -> list[str]:
        """The shots from `low` to before `high` that have all features."""
        there = [np.asarray(places[low:high]) >= 0 for places in self._places]
        return list(Ids(np.asarray(self.ids.raw[low:high])[np.logical_and.reduce(there)]))

    def _there(self, features: Sequence[str]) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """Of some shots at a time, the position of the first, and for each feature whether it has them."""
        places = {name: self._places[self.features.index(name)] for name in features}
        for low in range(0, len(self), PIECE):
            yield low, {name: np.asarray(column[low : low + PIECE]) >= 0 for name, column in places.items()}

    def gaps(self, features: Sequence[str]) -> dict[str, Gap]:
        """The shots that a feature lacks and another of these features has, by feature; without complete features."""
        found: dict[str, Gap] = {}
        for low, there in self._there(features):
            some = np.logical_or.reduce([*there.values()])
            for name, held in there.items():
                lost = np.flatnonzero(some & ~held)
                if len(lost):
                    rich = next(other for other in features if there[other][lost[0]])
                    count, first, rich = found.get(name, Gap(0, [], rich))
                    first += [self.ids[low + place] for place in lost[: max(0, FEW + 1 - len(first))].tolist()]
                    found[name] = Gap(count + len(lost), first, rich)
        return {name: found[name] for name in features if name in found}

    def described_gap(self, poor: str, gap: Gap) -> str:
        """A message: `poor` lacks these shots."""
        count = f"{gap.shots} shot{'s' * (gap.shots > 1)}"
        return (
            f"{self._named.stores_of(poor)} lacks {count} that {self._named.stores_of(gap.rich)} has: {few(gap.first)}"
        )

    def shots(self) -> dict[str, Shot]:
        """The shots described in the files, by id."""
        return {id: shot for gallery in self.galleries for id, shot in gallery.shots().items()}

    def some_shots(self, ids: Sequence[str]) -> dict[str, Shot]:
        """Those of these shots that are described in the files, by id."""
        return {id: shot for gallery in self.galleries for id, shot in gallery.some_shots(ids).items()}


def _with_zeros(gallery: Gallery, places: np.ndarray, ids: Sequence[str]) -> Block:
    """The items at these positions; a row of zeros for each -1."""
    there = places >= 0
    counts = there.astype(np.int64)
    found = gallery.take(places[there]) if there.any() else None
    if found is not None and found.offsets is not None:
        counts[there] = np.diff(found.offsets)
    counts[~there] = 1
    vectors = np.zeros((int(counts.sum()), gallery.dim), found.vectors.dtype if found else gallery.dtype)
    if found:
        vectors[np.repeat(there, counts)] = found.vectors
    return Block(ids, vectors, np.concatenate([[0], np.cumsum(counts)]) if gallery.frame_level else None)


def _kind(dim: int, frames: bool) -> str:
    return f"{'several vectors' if frames else 'a vector'} of {dim} per item"
