"""Several features of the same items, from any number of stores: what a trained head reads."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from copy import copy
from typing import Any, Self

import numpy as np

from avs_cli.errors import MismatchError, few
from avs_cli.io.resource import Resource
from avs_cli.io.store import Gallery, difference, open_store
from avs_cli.types import Joined, Shot


class Galleries(Resource):
    """Galleries by the name of their feature; the stores of one feature are searched as one."""

    def __init__(self, names: Sequence[str]):
        """Raises MismatchError for stores of one feature that do not fit together."""
        with ExitStack() as stack:
            by_feature: dict[str, list[Any]] = {}
            for name in names:
                store = stack.enter_context(open_store(name))
                by_feature.setdefault(store.feature, []).append(store)
            self.features = {feature: Gallery(stores) for feature, stores in by_feature.items()}
            self._resources = stack.pop_all()
        self._places: dict[str, dict[str, int]] = {}

    def check(self, who: str, wanted: Sequence[Mapping[str, Any]]) -> None:
        """Raises MismatchError unless these are the features `who` was trained with.

        wanted  name, dim, frames and provenance of each
        """
        for feature in wanted:
            name = feature["name"]
            if name not in self.features:
                have = ", ".join(self.features) or "none"
                raise MismatchError(f"{who} was trained with the feature {name!r}; the stores hold {have}")
            held = self.features[name]
            ours, theirs = _kind(held.dim, held.frame_level), _kind(feature["dim"], feature["frames"])
            if ours != theirs:
                raise MismatchError(f"{who} takes {name!r} as {theirs}, and {held.stores[0].path} holds {ours}")
            # A head that was imported from a published checkpoint does not know where its features came from.
            if feature["provenance"] and (what := difference(feature["provenance"], held.provenance)):
                where = f"{held.stores[0].path}::{name}"
                raise MismatchError(f"{who} was trained with another {name!r} than {where} holds: {what}")

    def only(self, features: Sequence[str]) -> Self:
        """The same open stores with some of the features, in this order."""
        part = copy(self)
        part.features = {feature: self.features[feature] for feature in features}
        return part

    def places(self, feature: str, ids: Sequence[str]) -> np.ndarray:
        """(N,) where each id is in a feature's gallery, -1 where it is not."""
        if feature not in self._places:
            self._places[feature] = {id: place for place, id in enumerate(self.features[feature].ids)}
        return np.array([self._places[feature].get(id, -1) for id in ids], dtype=np.int64)

    def stores_of(self, feature: str) -> str:
        """A feature's stores, for a message."""
        return ", ".join(f"{store.path}::{feature}" for store in self.features[feature].stores)


class JoinedGallery:
    """The shots of several features as one gallery: a shot comes with all its features, in blocks of equal length.

    They come in the order of their ids, so that it does not matter how they are spread over stores.
    """

    def __init__(self, galleries: Galleries, features: Sequence[str], rows: int):
        """Raises MismatchError that says which stores lack which shots when not all of them hold the same."""
        self.galleries = [galleries.features[feature] for feature in features]
        self.features, self.rows = tuple(features), rows
        first = self.galleries[0]
        self.ids: list[str] = sorted(first.ids)
        self._places = [galleries.places(feature, self.ids) for feature in features]
        for feature, gallery, places in zip(features, self.galleries, self._places, strict=True):
            lost = [self.ids[i] for i in np.flatnonzero(places < 0).tolist()]
            if lost:
                raise MismatchError(_lacking(galleries, feature, features[0], lost))
            if len(gallery) != len(self.ids):
                known = set(self.ids)
                extra = [id for id in gallery.ids if id not in known]
                raise MismatchError(_lacking(galleries, features[0], feature, extra))

    def __len__(self) -> int:
        return len(self.ids)

    def blocks(self) -> Iterator[Joined]:
        """All shots, `rows` at a time; only the last block is shorter."""
        for low in range(0, len(self.ids), self.rows):
            yield self.take(np.arange(low, min(low + self.rows, len(self.ids))))

    def take(self, positions: np.ndarray) -> Joined:
        """The shots at these positions, in this order."""
        blocks = [gallery.take(places[positions]) for gallery, places in zip(self.galleries, self._places, strict=True)]
        return Joined([self.ids[i] for i in positions.tolist()], dict(zip(self.features, blocks, strict=True)))

    def shots(self) -> dict[str, Shot]:
        """The shots that the files describe, by id."""
        return {id: shot for gallery in self.galleries for id, shot in gallery.shots().items()}


def _lacking(galleries: Galleries, poor: str, rich: str, lost: Sequence[str]) -> str:
    shots = "shot" if len(lost) == 1 else "shots"
    return f"{galleries.stores_of(poor)} lacks {len(lost)} {shots} that {galleries.stores_of(rich)} has: {few(lost)}"


def _kind(dim: int, frames: bool) -> str:
    return f"{'several vectors' if frames else 'a vector'} of {dim} per item"
