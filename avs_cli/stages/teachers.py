"""The teachers of `avs distill`: their vectors of each item, computed once and cached.

A store in the cache has one row per caption or video; its name identifies the teacher and the inputs. Like every
store, it can be resumed.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from avs_cli.console import progress
from avs_cli.stages.training import Data, Team

if TYPE_CHECKING:
    import numpy as np
    import torch

    from avs_cli.core.training.pairs import Column, Pairs
    from avs_cli.core.training.teaching import HeadTutor
    from avs_cli.io.store.reader import Gallery

Compute = Callable[["np.ndarray"], Mapping[str, "torch.Tensor"]]
# At most the work on this many items is lost when the process is killed.
PART = 512


def key_of(told: Any) -> str:
    """A short digest of everything that determines some vectors."""
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


class Kept(NamedTuple):
    """Rows in the order of the items, and the shapes of the arrays in each row."""

    gallery: "Gallery"
    shapes: dict[str, tuple[int, ...]]

    def column(self) -> "Column":
        """The rows as a column for batches."""
        import numpy as np

        from avs_cli.core.training.pairs import Column

        return Column(self.gallery, np.arange(len(self.gallery)))

    def take(self, which: "np.ndarray") -> "dict[str, torch.Tensor]":
        """The arrays of these items."""
        from avs_cli.core.training.pairs import plain
        from avs_cli.core.training.teaching import unpacked

        return unpacked(plain(self.gallery.take(which)), self.shapes)


def kept(stack: ExitStack, team: Team, path: Path, ids: Sequence[str], compute: Compute) -> Kept:
    """The rows of these ids, from `compute` or from the cache.

    compute  from positions among `ids` to arrays whose rows are those items
    path     identifies everything that determines the values, including the ids
    Of several processes, the first computes and the others wait.
    """
    from avs_cli.io.store.reader import Gallery, Store
    from avs_cli.io.store.writer import is_finished

    if team.rank == 0 and not is_finished(path):
        _write(path, ids, compute)
    team.wait()
    store = stack.enter_context(Store(path))
    return Kept(Gallery([store]), {name: tuple(shape) for name, shape in store.provenance["shapes"].items()})


def _write(path: Path, ids: Sequence[str], compute: Compute) -> None:
    import numpy as np

    from avs_cli.core.training.teaching import packed
    from avs_cli.io.store.writer import Item, StoreWriter

    path.parent.mkdir(parents=True, exist_ok=True)
    first = compute(np.arange(1))
    told = {"model": path.stem, "shapes": {name: list(array.shape[1:]) for name, array in first.items()}}
    width = packed(first).shape[1]
    with StoreWriter(path, "kept", width, told) as writer, progress(path.stem, len(ids)) as advance:
        todo = np.array([place for place, id in enumerate(ids) if id not in writer.done], np.int64)
        advance(len(ids) - len(todo))
        for low in range(0, len(todo), PART):
            part = todo[low : low + PART]
            rows = packed(compute(part)).cpu().numpy()
            writer.add([Item(None, ids[place], row) for place, row in zip(part.tolist(), rows, strict=True)])
            advance(len(part))
        writer.finish(ids)


class HeadTeacher:
    """A trained head as a teacher on stored features."""

    def __init__(self, path: str, data: Data, device: str):
        """Raises MismatchError where the stores lack one of its features or have a different one."""
        from avs_cli.stages.heads import load_heads

        (loaded,) = load_heads([path], device)
        self.path, self.head, self.told = path, loaded.head, loaded.description
        self.data = data
        for galleries, end in ((data.videos, "videos"), (data.texts, "texts")):
            galleries.check(path, self.told[end])

    def pairs(self, pairs: "Pairs") -> "Pairs":
        """The same captions and videos, with the features of this head."""
        data = self.data.only(
            [feature["name"] for feature in self.told["videos"]], [feature["name"] for feature in self.told["texts"]]
        )
        return data.same(pairs)

    def tutor(
        self, stack: ExitStack, team: Team, folder: Path, pairs: "Pairs", temperature: float
    ) -> "tuple[HeadTutor, tuple[Column, Column]]":
        """The tutor, and its columns of captions and videos."""
        from avs_cli.core.training.pairs import embed_captions, embed_items
        from avs_cli.core.training.teaching import HeadTutor
        from avs_cli.provenance import digest

        own = self.pairs(pairs)
        name = f"{Path(self.path).stem}-{key_of([digest(self.path), content(own)])}"
        texts = kept(
            stack, team, folder / f"{name}-texts.h5", own.captions,
            lambda which: {"embedded": embed_captions(self.head, own, which)},
        )  # fmt: skip
        videos = kept(
            stack, team, folder / f"{name}-videos.h5", own.items,
            lambda which: {"embedded": embed_items(self.head, own, which)},
        )  # fmt: skip
        return HeadTutor(self.head, temperature, texts.shapes, videos.shapes), (texts.column(), videos.column())


def content(pairs: "Pairs") -> str:
    """A digest of all vectors and sentences, since equal names do not imply equal inputs."""
    import numpy as np

    told = hashlib.sha256(json.dumps([list(pairs.captions), list(pairs.sentences), list(pairs.items)]).encode())
    for columns in (pairs.videos, pairs.texts):
        for column in columns:
            for low in range(0, len(column.place), PART):
                block = column.rows.take(column.place[low : low + PART])
                told.update(block.vectors.tobytes())
                if block.offsets is not None:
                    told.update(np.ascontiguousarray(block.offsets).tobytes())
    return told.hexdigest()
