"""Captions with their clips: batches for training from decoded frames, or from the vectors of frozen towers."""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from avs_cli.core.evaluation.captions import both_ways
from avs_cli.core.models.clip.sampling import counted
from avs_cli.core.models.clip.student import ClipBatch, ClipModel
from avs_cli.core.models.clip.towers import tokenise
from avs_cli.core.training.pairs import Pairs
from avs_cli.errors import MismatchError, few
from avs_cli.io.frame_cache import FrameCache
from avs_cli.io.text.captions import item_of, read_all
from avs_cli.reporting import LOGGED, Reporter
from avs_cli.stages.clip_frames import DecodedClips
from avs_cli.stages.team import Team
from avs_cli.stages.vector_cache import CachedVectors, cached_vectors, key_of

# Texts per forward pass of a tower.
TEXTS = 64
# Videos per block of the validation.
VALIDATED = 8


@dataclass(frozen=True)
class Footage:
    """Captions with the decoded frames of their videos.

    names   per video of `pairs` its file in the cache
    tokens  (C, W) per caption
    """

    pairs: Pairs
    cache: FrameCache
    names: Sequence[str]
    tokens: torch.Tensor

    def frames(self, video: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(F, S, S, 3) uint8 frames of a video, and their (F,) mask, which excludes padding."""
        return clip_in(self.cache, self.names[video])

    def batch(self, which: np.ndarray, generator: np.random.Generator | None = None) -> ClipBatch:
        """These captions and their videos."""
        items, position = np.unique(self.pairs.item[which], return_inverse=True)
        frames, there = zip(*(self.frames(item) for item in items.tolist()), strict=True)
        owner = torch.from_numpy(self.pairs.item[which])
        tokens = self.tokens[torch.from_numpy(which)]
        return ClipBatch(torch.stack(frames), torch.stack(there), tokens, torch.from_numpy(position), owner)

    def text_parts(self, which: np.ndarray) -> list[torch.Tensor]:
        """What a model embeds of these captions: their tokens, in parts for the text tower."""
        return parts_of(self.tokens[torch.from_numpy(which)])

    def key(self) -> str:
        """A digest of the frames, the captions and their preprocessing."""
        frames = (self.cache.folder.name, list(self.names), self.tokens.shape[1])
        listed = repr((*frames, list(self.pairs.captions), list(self.pairs.sentences)))
        return hashlib.sha256(listed.encode()).hexdigest()


@dataclass(frozen=True)
class FrozenFootage:
    """Captions and videos as vectors of frozen towers."""

    pairs: Pairs
    texts: CachedVectors
    videos: CachedVectors

    @classmethod
    def of(
        cls,
        footage: Footage,
        model: ClipModel,
        origin: object,
        stack: ExitStack,
        team: Team,
        folder: Path,
        report: Reporter = LOGGED,
    ) -> "FrozenFootage":
        """Encode footage once with the towers of a student.

        origin  identifies the towers, as JSON values
        """
        device = next(model.parameters()).device

        @torch.inference_mode()
        def texts(which: np.ndarray) -> dict[str, torch.Tensor]:
            return {"sentence": torch.cat([model.sentences(part.to(device)) for part in footage.text_parts(which)])}

        @torch.inference_mode()
        def videos(which: np.ndarray) -> dict[str, torch.Tensor]:
            clips = [footage.frames(video) for video in which.tolist()]
            vectors = [model.frame_vectors(frames[None].to(device), there[None].to(device)) for frames, there in clips]
            return {"frames": torch.cat(vectors), "there": torch.stack([there for _, there in clips]).to(device)}

        name = f"student-{key_of([origin, footage.key()])}"
        pairs = footage.pairs
        return cls(
            pairs,
            cached_vectors(stack, team, folder / f"{name}-texts.h5", pairs.captions, texts, report),
            cached_vectors(stack, team, folder / f"{name}-videos.h5", pairs.items, videos, report),
        )

    def batch(self, which: np.ndarray, generator: np.random.Generator | None = None) -> ClipBatch:
        """The vectors of these captions and their videos."""
        items, position = np.unique(self.pairs.item[which], return_inverse=True)
        videos, texts = self.videos.take(items), self.texts.take(which)
        owner = torch.from_numpy(self.pairs.item[which])
        return ClipBatch(videos["frames"], videos["there"] > 0, texts["sentence"], torch.from_numpy(position), owner)

    def text_parts(self, which: np.ndarray) -> list[torch.Tensor]:
        """What a model embeds of these captions: their vectors."""
        return [self.texts.take(which)["sentence"]]


def footage_of(
    files: Sequence[str], clips: DecodedClips, words: int, skip_missing: bool = False, report: Reporter = LOGGED
) -> Footage:
    """The captions in `files` whose videos have frames; captions of unreadable videos are skipped.

    words  maximum number of tokens per caption
    Raises MismatchError for captions of videos that are not among the inputs, unless `skip_missing`.
    """
    sentences = read_all(files)
    item = {caption: item_of(caption) for caption in sentences}
    absent = list(dict.fromkeys(id for id in item.values() if id not in clips.names and id not in clips.failed))
    where = ", ".join(files)
    if absent and not skip_missing:
        raise MismatchError(
            f"the inputs lack {len(absent)} of the videos in {where}: {few(absent)}; --skip-missing skips them"
        )
    captions = [caption for caption in sentences if item[caption] in clips.names]
    if len(captions) < len(sentences):
        skipped = len(sentences) - len(captions)
        report.note(f"{where}: {skipped} of {len(sentences)} captions skipped: no video")
    if len(captions) < 2:
        raise MismatchError(f"{where}: fewer than two captions with a video among the inputs")
    items = list(dict.fromkeys(item[caption] for caption in captions))
    position = {id: index for index, id in enumerate(items)}
    owners = np.array([position[item[caption]] for caption in captions], np.int64)
    texts = [sentences[caption] for caption in captions]
    pairs = Pairs(captions, texts, items, owners, [], [], {})
    return Footage(pairs, clips.cache, [clips.names[id] for id in items], tokenise(texts, words))


def clip_in(cache: FrameCache, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """(F, S, S, 3) uint8 frames of the video with this name in the cache, and their (F,) mask."""
    pixels, count = cache.read(name)
    there = counted(pixels) if count is None else np.arange(len(pixels)) < count
    return torch.from_numpy(pixels), torch.from_numpy(there)


def parts_of(tokens: torch.Tensor) -> list[torch.Tensor]:
    """The tokens of captions, in parts for the text tower."""
    return [tokens[low : low + TEXTS] for low in range(0, len(tokens), TEXTS)]


def clip_scores_of(model: ClipModel, footage: Footage | FrozenFootage) -> Callable[[np.ndarray], torch.Tensor]:
    """From captions to their (C, V) scores for every video; cosines for a student with one vector per clip.

    The videos are embedded once, now.
    """
    first = np.unique(footage.pairs.item, return_index=True)[1]
    device = next(model.parameters()).device
    model.eval()
    with torch.inference_mode():
        videos = []
        for low in range(0, len(first), VALIDATED):
            batch = footage.batch(first[low : low + VALIDATED])
            videos.append(model.embed_videos(batch.frames.to(device), batch.there.to(device)))
        every = joined_parts(videos)

    @torch.inference_mode()
    def scores(which: np.ndarray) -> torch.Tensor:
        texts = [model.embed_texts(part.to(device)) for part in footage.text_parts(which)]
        return model.scores(joined_parts(texts), every).float().cpu()

    return scores


def joined_parts(parts: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The arrays of several parts, one after the other."""
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


class ClipValidation:
    """Text-to-video and video-to-text retrieval on captions of clips."""

    def __init__(self, footage: Footage | FrozenFootage, metric: str):
        self.footage, self.metric = footage, metric

    def values(self, model: ClipModel) -> dict[str, float]:
        """R@1, R@5 and R@10 in both directions, and their sum in percent."""
        pairs = self.footage.pairs
        return both_ways(clip_scores_of(model, self.footage), pairs.item, len(pairs.items))
