"""Raw clips for `avs distill`: videos decoded once into a folder, and batches of captions with their videos' frames."""

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shutil import disk_usage
from typing import TYPE_CHECKING, NamedTuple

from avs_cli.commands._inputs import find_shots
from avs_cli.commands._teachers import Kept, kept, key_of
from avs_cli.commands._training import Team
from avs_cli.console import note, note_each, progress
from avs_cli.errors import MismatchError, SpecError, few
from avs_cli.types import Failure, Pixels, Sampling, Shot

if TYPE_CHECKING:
    import numpy as np
    import torch

    from avs_cli.core.clip_student import ClipBatch, ClipModel
    from avs_cli.core.pairs import Pairs
    from avs_cli.io.frame_cache import FrameCache

TIMEOUT = 60.0
# Texts that a tower encodes together.
TEXTS = 64


class Decoded(NamedTuple):
    """The shots of which there are frames, by id with their files in the cache; and how many could not be decoded."""

    cache: "FrameCache"
    names: dict[str, str]
    failed: set[str]


class Keep(NamedTuple):
    """Where decoded frames are kept: in `folder`, as JPEG or as they are, in at most `limit` bytes."""

    folder: Path
    jpeg: bool = False
    limit: float = float("inf")


def decoded(
    team: Team, inputs: Sequence[str], wanted: set[str], keep: Keep, sampling: Sampling, pixels: Pixels, workers: int
) -> Decoded:
    """The frames of the wanted shots among the inputs, all of which an earlier run may have left in the folder.

    A video that cannot be read is told and left out. Of several processes the first decodes. Raises SpecError where
    frames would take more than the limit, or than the disk has.
    """
    from avs_cli.io.frame_cache import FrameCache

    found = [shot for shot in find_shots(inputs, "", workers, TIMEOUT) if shot.id in wanted]
    kind = [repr(sampling), repr(pixels), *["jpeg"] * keep.jpeg]
    cache = FrameCache(keep.folder / f"frames-{key_of(kind)}", keep.jpeg)
    failures = [item for item in found if isinstance(item, Failure)]
    shots = [item for item in found if isinstance(item, Shot) and _there(item, failures)]
    names = {shot.id: cache.name(shot) for shot in shots}
    todo = [shot for shot in shots if not cache.path(names[shot.id]).exists()]
    if team.rank == 0 and todo:
        room = Room(cache, keep.limit, sum(map(cache.bytes, names.values())))
        room.expect(len(todo), sampling.clip * pixels.size**2 * 3)
        failures += _decode(todo, room, names, sampling, pixels, workers)
    if team.rank == 0:
        note_each(failure.message for failure in failures)
    team.wait()
    whole = {id: name for id, name in names.items() if cache.path(name).exists()}
    return Decoded(cache, whole, {item.id for item in found} - whole.keys())


def _there(shot: Shot, failures: list[Failure]) -> bool:
    """Whether the shot's file is; else it is added to the failures."""
    if Path(shot.video).is_file():
        return True
    failures.append(Failure(shot.id, "decode", f"{shot.video}: no such file"))
    return False


@dataclass
class Room:
    """The bytes that frames may take in a cache: at most `limit`, of which `used` are used."""

    cache: "FrameCache"
    limit: float
    used: int

    def expect(self, clips: int, raw: int) -> None:
        """Say what so many clips will take, `raw` bytes each before JPEG. Raises SpecError where that is too much."""
        from avs_cli.io.frame_cache import SHARE

        jpeg = self.cache.jpeg
        more = clips * raw * (SHARE if jpeg else 1)
        what = f"frames of {clips} clips take {'about ' * jpeg}{gigabytes(more)} as {'JPEG' if jpeg else 'raw pixels'}"
        if not jpeg and self.used + more > self.limit:
            raise SpecError(f"{what} in {self.cache.folder}, {self._over()}")
        place = next(folder for folder in (self.cache.folder, *self.cache.folder.parents) if folder.exists())
        if more > (free := disk_usage(place).free):
            raise SpecError(f"{what}, and {place} has {gigabytes(free)}; give --cache FOLDER on a larger disk")
        note(f"{what}, kept in {self.cache.folder}")

    def add(self, name: str, frames: "np.ndarray") -> None:
        """Keep a clip's frames. Raises SpecError once the limit is passed; what is kept stays."""
        from avs_cli.core.clip_sampling import counted

        self.cache.write(name, frames, int(counted(frames).sum()))
        self.used += self.cache.bytes(name)
        if self.used > self.limit:
            raise SpecError(f"frames in {self.cache.folder} take {gigabytes(self.used)}, {self._over()}")

    def _over(self) -> str:
        smaller = "" if self.cache.jpeg else "--cache-frames jpeg takes about a seventh; or "
        return f"more than --cache-limit allows ({gigabytes(self.limit)}); {smaller}give a larger --cache-limit"


def gigabytes(count: float) -> str:
    """Bytes, for people."""
    return f"{count / 1e9:.3g} GB"


def _decode(
    shots: Sequence[Shot], room: Room, names: dict[str, str], sampling: Sampling, pixels: Pixels, workers: int
) -> list[Failure]:
    import numpy as np

    from avs_cli.core.sampling import sample_times
    from avs_cli.io.video import decode, jobs_of

    times = partial(sample_times, sampling=sampling)
    failures: list[Failure] = []
    pieces: dict[str, list[np.ndarray]] = {}
    with progress("decoding", len(shots)) as advance:
        for piece in decode(jobs_of(shots), times, pixels, sampling.clip, workers, TIMEOUT):
            if isinstance(piece, Failure):
                failures.append(piece)
                advance()
                continue
            pieces.setdefault(piece.shot, []).append(piece.pixels)
            if piece.last:
                room.add(names[piece.shot], np.concatenate(pieces.pop(piece.shot)))
                advance()
    return failures


@dataclass(frozen=True)
class Footage:
    """Captions with the decoded frames of their videos.

    names   per video of `pairs` its file in the cache
    tokens  (C, W) per caption
    """

    pairs: "Pairs"
    cache: "FrameCache"
    names: Sequence[str]
    tokens: "torch.Tensor"

    def frames(self, place: int) -> "tuple[torch.Tensor, torch.Tensor]":
        """(F, S, S, 3) uint8 of a video, and (F,) which of them do not only fill it up."""
        import numpy as np
        import torch

        from avs_cli.core.clip_sampling import counted

        pixels, there = self.cache.read(self.names[place])
        shown = counted(pixels) if there is None else np.arange(len(pixels)) < there
        return torch.from_numpy(pixels), torch.from_numpy(shown)

    def batch(self, which: "np.ndarray", generator: "np.random.Generator | None" = None) -> "ClipBatch":
        """These captions and their videos."""
        import numpy as np
        import torch

        from avs_cli.core.clip_student import ClipBatch

        items, place = np.unique(self.pairs.item[which], return_inverse=True)
        frames, there = zip(*(self.frames(item) for item in items.tolist()), strict=True)
        owner = torch.from_numpy(self.pairs.item[which])
        tokens = self.tokens[torch.from_numpy(which)]
        return ClipBatch(torch.stack(frames), torch.stack(there), tokens, torch.from_numpy(place), owner)

    def key(self) -> str:
        """A digest of the frames and the captions, and of how they are looked at."""
        seen = (self.cache.folder.name, list(self.names), self.tokens.shape[1])
        told = repr((*seen, list(self.pairs.captions), list(self.pairs.sentences)))
        return hashlib.sha256(told.encode()).hexdigest()


@dataclass(frozen=True)
class FrozenFootage:
    """Captions and videos as vectors, by towers that do not learn."""

    pairs: "Pairs"
    texts: Kept
    videos: Kept

    @classmethod
    def of(
        cls, footage: Footage, model: "ClipModel", made_by: object, stack: ExitStack, team: Team, folder: Path
    ) -> "FrozenFootage":
        """What the towers of a student make of footage, once."""
        import torch

        device = next(model.parameters()).device

        @torch.inference_mode()
        def texts(which: "np.ndarray") -> "dict[str, torch.Tensor]":
            return {"sentence": torch.cat([model.sentences(part.to(device)) for part in token_parts(footage, which)])}

        @torch.inference_mode()
        def videos(which: "np.ndarray") -> "dict[str, torch.Tensor]":
            seen = [footage.frames(place) for place in which.tolist()]
            vectors = [model.frame_vectors(frames[None].to(device), there[None].to(device)) for frames, there in seen]
            return {"frames": torch.cat(vectors), "there": torch.stack([there for _, there in seen]).to(device)}

        name = f"student-{key_of([made_by, footage.key()])}"
        return cls(
            footage.pairs,
            kept(stack, team, folder / f"{name}-texts.h5", footage.pairs.captions, texts),
            kept(stack, team, folder / f"{name}-videos.h5", footage.pairs.items, videos),
        )

    def batch(self, which: "np.ndarray", generator: "np.random.Generator | None" = None) -> "ClipBatch":
        """The vectors of these captions and their videos."""
        import numpy as np
        import torch

        from avs_cli.core.clip_student import ClipBatch

        items, place = np.unique(self.pairs.item[which], return_inverse=True)
        seen, written = self.videos.take(items), self.texts.take(which)
        owner = torch.from_numpy(self.pairs.item[which])
        return ClipBatch(seen["frames"], seen["there"] > 0, written["sentence"], torch.from_numpy(place), owner)


def token_parts(footage: Footage, which: "np.ndarray") -> "list[torch.Tensor]":
    """The tokens of these captions, a tower's fill at a time."""
    import torch

    tokens = footage.tokens[torch.from_numpy(which)]
    return [tokens[low : low + TEXTS] for low in range(0, len(tokens), TEXTS)]


def footage_of(files: Sequence[str], found: Decoded, words: int, skip_missing: bool) -> Footage:
    """The captions of some files whose videos have frames; those of a video that cannot be read are left out.

    Raises MismatchError for captions of videos that are not among the inputs, unless they are to be left out too.
    """
    import numpy as np

    from avs_cli.core.pairs import Pairs
    from avs_cli.core.towers import tokenise
    from avs_cli.io.captions import item_of, read_all

    sentences = read_all(files)
    item = {caption: item_of(caption) for caption in sentences}
    absent = list(dict.fromkeys(id for id in item.values() if id not in found.names and id not in found.failed))
    where = ", ".join(files)
    if absent and not skip_missing:
        raise MismatchError(
            f"the inputs lack {len(absent)} of the videos in {where}: {few(absent)}; --skip-missing leaves them out"
        )
    captions = [caption for caption in sentences if item[caption] in found.names]
    if len(captions) < len(sentences):
        note(f"{where}: {len(sentences) - len(captions)} of {len(sentences)} captions left out, without a video")
    if len(captions) < 2:
        raise MismatchError(f"{where}: fewer than two captions whose videos the inputs hold")
    items = list(dict.fromkeys(item[caption] for caption in captions))
    place = {id: position for position, id in enumerate(items)}
    owners = np.array([place[item[caption]] for caption in captions], np.int64)
    read = [sentences[caption] for caption in captions]
    pairs = Pairs(captions, read, items, owners, [], [], {})
    return Footage(pairs, found.cache, [found.names[id] for id in items], tokenise(read, words))
