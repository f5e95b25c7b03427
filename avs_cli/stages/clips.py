"""Raw clips for `avs distill`: videos decoded once into a cache, and batches of captions with frames."""

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shutil import disk_usage
from typing import TYPE_CHECKING, NamedTuple

from avs_cli.console import note, note_each, progress
from avs_cli.errors import MismatchError, SpecError, few
from avs_cli.stages.teachers import Kept, kept, key_of
from avs_cli.stages.training import Team
from avs_cli.types import Failure, Pixels, Sampling, Shot

if TYPE_CHECKING:
    import numpy as np
    import torch

    from avs_cli.core.models.clip.student import ClipBatch, ClipModel
    from avs_cli.core.training.pairs import Pairs
    from avs_cli.io.frame_cache import FrameCache

TIMEOUT = 60.0
# Texts per forward pass of a tower.
TEXTS = 64


class Decoded(NamedTuple):
    """The decoded shots (id -> name in the cache) and the ids of those that failed."""

    cache: "FrameCache"
    names: dict[str, str]
    failed: set[str]


class Keep(NamedTuple):
    """The cache of decoded frames: its folder, whether frames are JPEG, and its maximum size in bytes."""

    folder: Path
    jpeg: bool = False
    limit: float = float("inf")


def decoded(
    team: Team, inputs: Sequence[str], wanted: set[str], keep: Keep, sampling: Sampling, pixels: Pixels, workers: int
) -> Decoded:
    """Decode the wanted shots among the inputs, except those that are already cached.

    A video that cannot be read is reported and skipped. Of several processes, the first decodes. Raises SpecError if
    the frames would exceed the limit or the free space of the disk.
    """
    from avs_cli.io.frame_cache import FrameCache
    from avs_cli.stages.inputs import find_shots

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
    """Whether the file of a shot exists; if not, the shot is added to the failures."""
    if Path(shot.video).is_file():
        return True
    failures.append(Failure(shot.id, "decode", f"{shot.video}: no such file"))
    return False


@dataclass
class Room:
    """The space for frames in a cache: at most `limit` bytes, of which `used` are used."""

    cache: "FrameCache"
    limit: float
    used: int

    def expect(self, clips: int, raw: int) -> None:
        """Note the space that clips of `raw` bytes (before JPEG) will need. Raises SpecError if it is too much."""
        from avs_cli.io.frame_cache import SHARE

        jpeg = self.cache.jpeg
        more = clips * raw * (SHARE if jpeg else 1)
        what = f"frames of {clips} clips need {'about ' * jpeg}{gigabytes(more)} as {'JPEG' if jpeg else 'raw pixels'}"
        if not jpeg and self.used + more > self.limit:
            raise SpecError(f"{what} in {self.cache.folder}, {self._over()}")
        place = next(folder for folder in (self.cache.folder, *self.cache.folder.parents) if folder.exists())
        if more > (free := disk_usage(place).free):
            raise SpecError(
                f"{what}, but {place} has only {gigabytes(free)} free; give --cache FOLDER on a larger disk"
            )
        note(f"{what}, cached in {self.cache.folder}")

    def add(self, name: str, frames: "np.ndarray") -> None:
        """Cache the frames of a clip. Raises SpecError once the limit is exceeded; cached frames remain."""
        from avs_cli.core.models.clip.sampling import counted

        self.cache.write(name, frames, int(counted(frames).sum()))
        self.used += self.cache.bytes(name)
        if self.used > self.limit:
            raise SpecError(f"frames in {self.cache.folder} take {gigabytes(self.used)}, {self._over()}")

    def _over(self) -> str:
        smaller = "" if self.cache.jpeg else "--cache-frames jpeg needs about a seventh; or "
        return f"more than --cache-limit allows ({gigabytes(self.limit)}); {smaller}give a larger --cache-limit"


def gigabytes(count: float) -> str:
    """A number of bytes as text, in GB."""
    return f"{count / 1e9:.3g} GB"


def _decode(
    shots: Sequence[Shot], room: Room, names: dict[str, str], sampling: Sampling, pixels: Pixels, workers: int
) -> list[Failure]:
    import numpy as np

    from avs_cli.core.extraction.sampling import sample_times
    from avs_cli.io.video.frames import decode, jobs_of

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
        """(F, S, S, 3) uint8 frames of a video, and their (F,) mask, which excludes padding."""
        import numpy as np
        import torch

        from avs_cli.core.models.clip.sampling import counted

        pixels, there = self.cache.read(self.names[place])
        shown = counted(pixels) if there is None else np.arange(len(pixels)) < there
        return torch.from_numpy(pixels), torch.from_numpy(shown)

    def batch(self, which: "np.ndarray", generator: "np.random.Generator | None" = None) -> "ClipBatch":
        """These captions and their videos."""
        import numpy as np
        import torch

        from avs_cli.core.models.clip.student import ClipBatch

        items, place = np.unique(self.pairs.item[which], return_inverse=True)
        frames, there = zip(*(self.frames(item) for item in items.tolist()), strict=True)
        owner = torch.from_numpy(self.pairs.item[which])
        tokens = self.tokens[torch.from_numpy(which)]
        return ClipBatch(torch.stack(frames), torch.stack(there), tokens, torch.from_numpy(place), owner)

    def key(self) -> str:
        """A digest of the frames, the captions and their preprocessing."""
        seen = (self.cache.folder.name, list(self.names), self.tokens.shape[1])
        told = repr((*seen, list(self.pairs.captions), list(self.pairs.sentences)))
        return hashlib.sha256(told.encode()).hexdigest()


@dataclass(frozen=True)
class FrozenFootage:
    """Captions and videos as vectors of frozen towers."""

    pairs: "Pairs"
    texts: Kept
    videos: Kept

    @classmethod
    def of(
        cls, footage: Footage, model: "ClipModel", made_by: object, stack: ExitStack, team: Team, folder: Path
    ) -> "FrozenFootage":
        """Encode footage once with the towers of a student."""
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

        from avs_cli.core.models.clip.student import ClipBatch

        items, place = np.unique(self.pairs.item[which], return_inverse=True)
        seen, written = self.videos.take(items), self.texts.take(which)
        owner = torch.from_numpy(self.pairs.item[which])
        return ClipBatch(seen["frames"], seen["there"] > 0, written["sentence"], torch.from_numpy(place), owner)


def token_parts(footage: Footage, which: "np.ndarray") -> "list[torch.Tensor]":
    """The tokens of these captions, in batches."""
    import torch

    tokens = footage.tokens[torch.from_numpy(which)]
    return [tokens[low : low + TEXTS] for low in range(0, len(tokens), TEXTS)]


def footage_of(files: Sequence[str], found: Decoded, words: int, skip_missing: bool) -> Footage:
    """The captions in `files` whose videos have frames; captions of unreadable videos are skipped.

    Raises MismatchError for captions of videos that are not among the inputs, unless `skip_missing`.
    """
    import numpy as np

    from avs_cli.core.models.clip.towers import tokenise
    from avs_cli.core.training.pairs import Pairs
    from avs_cli.io.text.captions import item_of, read_all

    sentences = read_all(files)
    item = {caption: item_of(caption) for caption in sentences}
    absent = list(dict.fromkeys(id for id in item.values() if id not in found.names and id not in found.failed))
    where = ", ".join(files)
    if absent and not skip_missing:
        raise MismatchError(
            f"the inputs lack {len(absent)} of the videos in {where}: {few(absent)}; --skip-missing skips them"
        )
    captions = [caption for caption in sentences if item[caption] in found.names]
    if len(captions) < len(sentences):
        note(f"{where}: {len(sentences) - len(captions)} of {len(sentences)} captions skipped: no video")
    if len(captions) < 2:
        raise MismatchError(f"{where}: fewer than two captions with a video among the inputs")
    items = list(dict.fromkeys(item[caption] for caption in captions))
    place = {id: position for position, id in enumerate(items)}
    owners = np.array([place[item[caption]] for caption in captions], np.int64)
    read = [sentences[caption] for caption in captions]
    pairs = Pairs(captions, read, items, owners, [], [], {})
    return Footage(pairs, found.cache, [found.names[id] for id in items], tokenise(read, words))
