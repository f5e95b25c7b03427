"""The part of `avs distill` that is the teachers': what they make of each item, computed once and kept in a folder.

A store there holds a row per caption or video; its name says which teacher made it, and of which inputs. Like every
store it may be interrupted, and goes on.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avs_cli.commands._training import Data, Team
from avs_cli.console import progress

if TYPE_CHECKING:
    import numpy as np

    from avs_cli.core.pairs import Column, Pairs
    from avs_cli.core.teaching import HeadTutor
    from avs_cli.io.store import Gallery

# A kill loses at most the work on so many items.
PART = 512


def key_of(told: Any) -> str:
    """A short name of what decides some vectors."""
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def kept(
    stack: ExitStack,
    team: Team,
    path: Path,
    ids: Sequence[str],
    provenance: Mapping[str, Any],
    compute: "Callable[[np.ndarray], np.ndarray]",
) -> "Gallery":
    """The rows of these ids, in their order; those that an earlier run has not left are computed.

    compute  from positions among `ids` to (N, n)
    Of several processes the first computes, the others wait.
    """
    from avs_cli.io.store import Gallery, Store

    if team.rank == 0:
        _complete(path, ids, provenance, compute)
    team.wait()
    store = stack.enter_context(Store(path))
    return Gallery([store])


def _complete(
    path: Path, ids: Sequence[str], provenance: Mapping[str, Any], compute: "Callable[[np.ndarray], np.ndarray]"
) -> None:
    import numpy as np

    from avs_cli.io.store import Item, StoreWriter, features

    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and len(features(path)) == 1:
        return
    width = compute(np.arange(1)).shape[1]
    with StoreWriter(path, "kept", width, provenance) as writer, progress(path.stem, len(ids)) as advance:
        todo = np.array([place for place, id in enumerate(ids) if id not in writer.done], np.int64)
        advance(len(ids) - len(todo))
        for low in range(0, len(todo), PART):
            part = todo[low : low + PART]
            rows = compute(part)
            writer.add([Item(None, ids[place], row) for place, row in zip(part.tolist(), rows, strict=True)])
            advance(len(part))
        writer.finish(ids)


class HeadTeacher:
    """A trained head as a teacher of captions and videos in stores."""

    def __init__(self, path: str, data: Data, device: str):
        """Raises MismatchError where the stores lack one of its features, or hold another."""
        from avs_cli.commands import _heads

        (loaded,) = _heads.load([path], device)
        self.path, self.head, self.told = path, loaded.head, loaded.told
        self.data = data
        for galleries, end in ((data.videos, "videos"), (data.texts, "texts")):
            galleries.check(path, self.told[end])

    def pairs(self, pairs: "Pairs") -> "Pairs":
        """The same captions and videos, as this head takes them."""
        data = self.data.only(
            [feature["name"] for feature in self.told["videos"]], [feature["name"] for feature in self.told["texts"]]
        )
        return data.same(pairs)

    def tutor(
        self, stack: ExitStack, team: Team, folder: Path, pairs: "Pairs", temperature: float
    ) -> "tuple[HeadTutor, tuple[Column, Column]]":
        """What teaches, and where its rows of the captions and videos are."""
        import numpy as np

        from avs_cli.core.pairs import Column, embed_captions, embed_items
        from avs_cli.core.teaching import HeadTutor
        from avs_cli.provenance import digest

        own = self.pairs(pairs)
        made = {"teacher": digest(self.path), "input": _content(own)}
        name = f"{Path(self.path).stem}-{key_of(made)}"
        columns, shapes = [], []
        for end, ids, embed in (("texts", own.captions, embed_captions), ("videos", own.items, embed_items)):

            def compute(which: np.ndarray, embed: Any = embed) -> np.ndarray:
                return np.asarray(embed(self.head, own, which).flatten(1).cpu().numpy())

            shapes.append(tuple(embed(self.head, own, np.arange(1)).shape[1:]))
            gallery = kept(stack, team, folder / f"{name}-{end}.h5", ids, {"model": name}, compute)
            columns.append(Column(gallery, np.arange(len(ids))))
        return HeadTutor(self.head, temperature, shapes[0], shapes[1]), (columns[0], columns[1])


def _content(pairs: "Pairs") -> str:
    """A digest of all vectors and sentences: equal names do not make equal inputs."""
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
