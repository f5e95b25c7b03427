"""The nouns of the field as types, one type per noun, for all layers."""

import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    import numpy as np

Run = dict[str, dict[str, float]]
"""Topic -> shot -> score; the order of a topic's shots is `ranked` of its scores."""

Rankings = dict[str, "np.ndarray"]
"""Topic -> the shots of a run in their order, best first, as UTF-8 in an array of bytes."""


class Ranking(NamedTuple):
    """The N shots of a run for a topic, best first.

    shots   (N,) UTF-8 in an array of bytes
    scores  (N,) float64
    """

    shots: "np.ndarray"
    scores: "np.ndarray"


class Judgment(NamedTuple):
    """The assessors' judgment of a pooled shot.

    relevance  -1 pooled but not judged, 0 not relevant, 1 or more relevant
    stratum    the pool's stratum, as written in the qrels; TREC's four-column qrels have one stratum, "1"
    """

    relevance: int
    stratum: str = "1"


Qrels = dict[str, dict[str, Judgment]]
"""Topic -> shot -> judgment."""


class Variant(NamedTuple):
    """One wording of a query (or the path of an example picture), and its weight in the topic's score."""

    weight: float
    text: str


class QueryPart(NamedTuple):
    """A part of a step: a sentence (or the path of an example picture), or an example.

    weight   in the score of the step; negative for what is to be absent
    text     the sentence; of an example, the id of a shot or the path of a picture
    example  whether it is an example
    """

    weight: float
    text: str
    example: bool = False


class QueryStep(NamedTuple):
    """What one shot of a sequence is to show; a query without a sequence has a single step.

    within  seconds from the end of the step before to the start of this one, at most
    """

    parts: tuple[QueryPart, ...]
    within: float = 30.0


# Default and maximum width of a thumbnail, in pixels; the maximum height is 16/9 of it, for portrait videos.
THUMBNAIL = 320


@dataclass(frozen=True)
class Topic:
    """A judged query: an id, its text, and what else the organisers or the user wrote about it.

    variants  its wordings, where it has several; `query` is then one of them
    steps     of a query that is a sequence, or has shots as examples; there are then no variants
    """

    id: str
    query: str
    narrative: str = ""
    variants: tuple[Variant, ...] = ()
    steps: tuple[QueryStep, ...] = ()


class TopicResult(NamedTuple):
    """The results of one topic in a submission: unchecked text from its XML.

    items  (seqNum, shotId) in the file's order
    """

    number: str
    elapsed: str
    items: list[tuple[str, str]]


class Submission(NamedTuple):
    """One run in TRECVID's XML: its attributes by their XML names, and a result per topic."""

    attributes: dict[str, str]
    results: list[TopicResult]


def feature_name(text: str) -> str:
    """A valid name of a feature in a store, from a spec, a folder or a published name."""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", text)


class Shot(NamedTuple):
    """A stretch of one video, `start` to `end` in seconds; a still picture is a shot of zero length."""

    id: str
    video: str
    start: float
    end: float


@dataclass(frozen=True)
class Pixels:
    """Preprocessing of frames for an encoder.

    size           side of the square that the encoder sees, in pixels
    resize         short side before the centre crop; None squashes the frame to the square
    interpolation  "bicubic" or "bilinear"
    crops          1: the centre; 10: four corners and the centre, and their mirror images
    """

    size: int
    resize: int | None
    interpolation: str = "bicubic"
    crops: int = 1


@dataclass(frozen=True)
class FittedPixels(Pixels):
    """Preprocessing of frames that keep their proportions, up to rounding, for an encoder that takes any.

    size      side of a square frame of `most` pixels
    multiple  both sides become multiples of it, in pixels
    least     pixels of a frame, at least: smaller ones are enlarged; None: all frames are scaled to `most`
    most      pixels of a frame, at most: larger ones are reduced
    """

    multiple: int = 1
    least: int | None = None
    most: int = 0


@dataclass(frozen=True)
class Whole:
    """Preprocessing of frames that are wanted whole, in their own proportions.

    longest  the long side that larger frames are scaled to, in pixels; smaller ones stay as they are
    """

    longest: int
    interpolation: str = "bicubic"


Span = tuple[float, float]
"""Start and end of a shot in its video, in seconds."""


@dataclass(frozen=True)
class Sampling:
    """Sampling of frames from a shot.

    fps         frames per second, by time stamp; None spreads `count` frames evenly over the shot
    count       with `fps` None: that many frames; with `fps` 1: at most so many, one a second, the last one repeated
    clip        frames that give one vector together (1: each frame its own)
    interval    with `clip` > 1: source frames from one frame of the clip to the next
    max_frames  at most this many frames of a shot, spread evenly (None: no limit)
    """

    fps: float | None = 2.0
    count: int | None = None
    clip: int = 1
    interval: int = 1
    max_frames: int | None = None


@dataclass(frozen=True)
class ProcessorSampling(Sampling):
    """Sampling of one clip of `count` frames by the rules of the processors of transformers.

    With `fps` None, the first and the last frame of the shot are among them. With `fps`, there is one per full step of
    the duration; of more than `count`, those that are evenly spread; of fewer, the last one is repeated.
    """

    rule: str = "transformers"


@dataclass(frozen=True)
class Source:
    """Where the weights of a model are published.

    gigabytes  to download; 0 if unknown
    repo       a Hugging Face repository; "" for files on a web server
    files      the repository's files that are needed, as patterns
    urls       the files on a web server; all are pickles
    trained    no weights are published; users train them
    """

    gigabytes: float
    repo: str = ""
    files: tuple[str, ...] = ("*.json", "*.txt", "*.safetensors")
    urls: tuple[str, ...] = ()
    trained: bool = False


class Seeing(NamedTuple):
    """What a judge sees of a shot.

    model   the judge, as NAME or NAME:VARIANT
    frames  at most this many, spread evenly
    layout  frames one after the other, or all on one sheet
    size    the long side of each frame, in pixels
    """

    model: str
    frames: int = 4
    layout: Literal["frames", "sheet"] = "frames"
    size: int = 448


class Facts(NamedTuple):
    """Facts about an encoder that identify its stores; see `core.encoders.Encoder`."""

    dim: int
    pixels: Pixels | None
    sampling: Sampling
    pooling: str
    provenance: "Mapping[str, Any]"


class Frames(NamedTuple):
    """A piece of one shot on its way to the encoder.

    shot       the shot's id
    pixels     (F, size, size, 3) uint8, RGB; F is a multiple of the sampling's `clip`; of fitted frames (F, H, W, 3),
               of whole ones (1, H, W, 3)
    last       whether this piece ends the shot
    thumbnail  a JPEG of the shot's middle frame, with the last piece
    """

    shot: str
    pixels: "np.ndarray"
    last: bool
    thumbnail: bytes | None = None


class Block(NamedTuple):
    """Some items of a feature store, with all rows of each.

    ids      N shot, topic or caption ids
    vectors  (M, D) float16 or float32, rows as the encoder gave them (not normalised)
    offsets  (N+1,) int64 when items own several rows: item i owns vectors[offsets[i]:offsets[i+1]]; None: N = M
    """

    ids: Sequence[str]
    vectors: "np.ndarray"
    offsets: "np.ndarray | None" = None

    def part(self, low: int, high: int) -> "Block":
        """The items from `low` to before `high`; their vectors are not copied."""
        if self.offsets is None:
            return Block(self.ids[low:high], self.vectors[low:high])
        ends = self.offsets[low : high + 1]
        return Block(self.ids[low:high], self.vectors[ends[0] : ends[-1]], ends - ends[0])


class Joined(NamedTuple):
    """Some items with all their features: the ids, and per feature a block of those items in that order.

    lacking  feature -> (N,) which items lack it, and have a vector of zeros in its block; None: none does
    """

    ids: Sequence[str]
    features: Mapping[str, Block]
    lacking: "Mapping[str, np.ndarray] | None" = None

    def part(self, low: int, high: int) -> "Joined":
        """The items from `low` to before `high`; their vectors are not copied."""
        features = {name: block.part(low, high) for name, block in self.features.items()}
        lacking = {name: which[low:high] for name, which in self.lacking.items()} if self.lacking else None
        return Joined(self.ids[low:high], features, lacking)


class Piece(NamedTuple):
    """A piece of text in a video: a line on the screen, a subtitle, words that are spoken.

    text        as it is written, in any script; may have line breaks
    start, end  in seconds, in the video
    box         left, top, right and bottom on the picture, as fractions of its width and height; None: nowhere
    confidence  of the recogniser, from 0 to 1; None: unknown
    """

    text: str
    start: float
    end: float
    box: tuple[float, float, float, float] | None = None
    confidence: float | None = None


class Cues(NamedTuple):
    """The subtitles of a video.

    pieces  in the order of their times
    tracks  how many streams and files they are from
    notes   on these files
    """

    pieces: Sequence[Piece]
    tracks: int
    notes: Sequence[str] = ()


class Sound(NamedTuple):
    """A piece of the sound of a video, which begins with its first frame.

    samples  (N,) int16, 16000 a second, of all channels together
    last     whether it ends the sound
    silent   whether the video has no sound at all
    """

    samples: "np.ndarray"
    last: bool
    silent: bool = False


class WordVectors(NamedTuple):
    """Vectors of words: the row of each word in (V, D) float32."""

    rows: dict[str, int]
    vectors: "np.ndarray"


class Failure(NamedTuple):
    """A failed item: its id, the stage that failed, and a one-line reason."""

    id: str
    stage: str
    message: str


# Inputs of learning to rank: the rank of a shot in a run, with a slow, fast or late discount, or its score.
FUSER_INPUTS = ("log", "power", "reciprocal", "minmax")


def step_2_features(runs: int) -> int:
    """The number of features of a shot for Step 2 of a `Fuser`: a score and a rank by run, and ten of all runs."""
    return 2 * runs + 10


@dataclass(frozen=True)
class Fuser:
    """A model of learning to rank, to fuse the same runs on other topics.

    runs      their names, in the order of the weights
    measure   the measure that was optimised
    kind      the input of Step 1, one of `FUSER_INPUTS`
    weights   Step 1: one per run, they sum to 1
    mix       weight of Step 2; 0 uses Step 1 only
    boosters  Step 2 by LambdaMART: trees in XGBoost's JSON; none when `mix` and `trial` are 0
    topics    the judged topics that it was fitted on
    verdict   the reason for `mix`, as a sentence
    trial     weight of Step 2 if it were used, for reports where `mix` is 0; never saved
    coefficients  Step 2 by logistic regression: one per feature; none when `mix` and `trial` are 0
    reach     how many of Step 1's best shots Step 2 reorders
    """

    runs: tuple[str, ...]
    measure: str
    kind: str
    weights: tuple[float, ...]
    mix: float = 0.0
    boosters: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    verdict: str = ""
    trial: float = 0.0
    coefficients: tuple[float, ...] = ()
    reach: int = 1000


def rows_of_items(starts: "np.ndarray", lengths: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
    """The rows of N items, one item after another, and the items' (N+1,) offsets among them.

    starts, lengths  (N,) the first row of each item and how many it has
    """
    import numpy as np

    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths), offsets


def ranked(scores: Mapping[str, float]) -> list[str]:
    """Shots in descending order of score, ties by descending shot id, as in NIST's scripts."""
    values = list(scores.values())
    # Most runs are in this order already, and have no ties.
    if all(map(operator.gt, values, values[1:])):
        return list(scores)
    # One stable sort by score is cheap, and two sorts are not.
    shots: Iterable[str] = scores if len(set(values)) == len(values) else sorted(scores, reverse=True)
    return sorted(shots, key=scores.__getitem__, reverse=True)


def ranking(scores: Mapping[str, float]) -> Ranking:
    """The shots in the order of `ranked`, with their scores."""
    import numpy as np

    shots = ranked(scores)
    return Ranking(np.array([shot.encode() for shot in shots], np.bytes_), np.array([scores[s] for s in shots], float))
