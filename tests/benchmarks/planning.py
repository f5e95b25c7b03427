"""The planning table of the README: bytes and hours for galleries of 1 M, 10 M and 100 M shots.

`planning.py` prints it in Markdown. Numbers come from measurements on one core of the machine below, from the model
cards that `avs extract --list-models` shows, from a data sheet, and from arithmetic on these, which the table says.
"""

import sys
from collections.abc import Iterator
from typing import NamedTuple

from avs_cli.core.encoders import encoders
from avs_cli.core.encoders.catalogue import facts

SHOTS = (1_000_000, 10_000_000, 100_000_000)
# Of V3C1: 1,000 hours in 1.08 M shots; seven frames of each at two per second.
SECONDS, FRAMES = 3.3, 7

# Measured: one core of an AMD EPYC, float32, one thread of torch.
CORE = 40e9  # multiply-adds per second in the image towers of ViT-B/32 and ViT-L/14 at 336 pixels
DETECTING = 0.07  # seconds per second of video of 720 lines: `avs shots`
DECODING = 0.05  # the same: decoding and scaling of two frames per second
THUMBNAIL = 9_800  # bytes, 320 pixels wide
SEARCHING = 1.3e-6  # seconds per shot: cosines of 512 dimensions with 30 topics
STORED = 11.3e-6  # seconds per shot: a head's stored vector of 4,096 dimensions with 30 topics
COMPUTED = 1.2e-3  # the same, if the head computes the vector from its seven features
ID = 20  # bytes
# Of a data sheet: NVIDIA A100, bfloat16, without sparsity; we assume that models reach a part of it.
GPU, REACHED = 156e12, 0.4

MODELS = ("clip:vit-b32", "clip:vit-l14-336", "siglip2:so400m-384", "blip2:coco", "ircsn:vmz")
MEASURED, CARD, SHEET = "measured here", "model card", "data sheet"


class Row(NamedTuple):
    """A quantity for a gallery of each size, and where its numbers come from."""

    what: str
    cells: tuple[str, ...]
    source: str


def size(count: float) -> str:
    """Bytes as text."""
    return f"{round_two(count / 1e12)} TB" if count >= 1e12 else f"{round_two(count / 1e9)} GB"


def time(seconds: float) -> str:
    """Seconds as text: hours, or a smaller unit for less than one."""
    unit, length = next((named for named in (("h", 3600), ("min", 60)) if seconds >= named[1]), ("s", 1))
    return f"{round_two(seconds / length)} {unit}"


def round_two(value: float) -> str:
    """Two significant digits, with a comma between thousands."""
    return f"{float(f'{value:.2g}'):,.10g}"


def rows() -> Iterator[Row]:
    """The rows of the table."""
    cards = {card["model"]: card for card in facts(encoders.names(), lambda *_: False)}
    for model in MODELS:
        dim = cards[model]["dim"]
        what = f"store of {model}, {dim} × float16"
        yield Row(what, tuple(size(shots * (2 * dim + ID)) for shots in SHOTS), f"{CARD}, arithmetic")
    yield Row("thumbnails, 320 pixels", tuple(size(shots * THUMBNAIL) for shots in SHOTS), f"{MEASURED}, arithmetic")

    def hours(what: str, per_shot: float, source: str) -> Row:
        return Row(what, tuple(time(shots * per_shot) for shots in SHOTS), f"{source}, arithmetic")

    yield hours("`avs shots`, 1 core", SECONDS * DETECTING, MEASURED)
    yield hours("`avs extract`: decoding, 1 core", SECONDS * DECODING, MEASURED)
    for model in MODELS:
        card = cards[model]
        passes = FRAMES / card["frames"] if card["frames"] > 1 else FRAMES
        work = max(1, passes) * card["gmacs"] * 1e9
        yield hours(f"`avs extract`: {model}, 1 core", work / CORE, f"{MEASURED}, {CARD}")
        yield hours(f"`avs extract`: {model}, 1 GPU", work / (GPU * REACHED), f"{SHEET}, {CARD}")
    yield hours("`avs search`, 512 dimensions, 30 topics, 1 core", SEARCHING, MEASURED)
    yield hours("`avs search` by stored vectors of a head, 30 topics, 1 core", STORED, MEASURED)
    yield hours("`avs search` by a head over 7 features, 30 topics, 1 core", COMPUTED, MEASURED)


def table() -> str:
    """The table in Markdown."""
    heads = ["", *(f"{shots // 1_000_000} M shots" for shots in SHOTS), "from"]
    lines = [heads, ["---"] * len(heads), *([row.what, *row.cells, row.source] for row in rows())]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


if __name__ == "__main__":
    sys.stdout.write(table())
