"""Queries with structure, on 1,000 photos of Flickr8k and their captions. All of it is synthetic.

Sequences: videos of eight photos, five seconds each, and each video once more in the reverse order, so that only the
order tells them apart. A query is "A > B < 20s" of the captions of two photos of one video, the second at most four
photos after the first; what it looks for is the first photo, in the video where the second one comes later.

Negation: queries "X -Y" of things that captions name. Photos whose captions have a word for X and none for Y are
relevant: captions do not say all, so some of the photos are misjudged, for every method alike. Settings are compared on
one half of the photos; the other half has the figures that count.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from quiet import Silent

from avs_cli.core.evaluation.significance import randomization
from avs_cli.core.search.exact import units
from avs_cli.io.store.reader import open_gallery, open_store
from avs_cli.io.store.writer import Item, StoreWriter
from avs_cli.io.text.captions import read_captions
from avs_cli.stages.search import search
from avs_cli.stages.topic_texts import Negation, read
from avs_cli.stages.topics import SentenceEncoder, encoded_by, text_encoder
from avs_cli.types import Shot, ranked

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "flickr8k"
QUERIES, LENGTH, SECONDS, WITHIN = 500, 8, 5.0, 20.0
WEIGHTS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)
# A topic needs so many relevant photos, and photos that have both, in each half.
LEAST = 3
THINGS = {
    "man": "man men", "woman": "woman women", "boy": "boy boys", "girl": "girl girls", "baby": "baby babies",
    "child": "child children kid kids", "people": "people person persons", "dog": "dog dogs", "horse": "horse horses",
    "water": "water", "beach": "beach", "snow": "snow", "grass": "grass", "field": "field", "sand": "sand",
    "street": "street streets", "building": "building buildings", "car": "car cars", "mountain": "mountain mountains",
    "bike": "bike bikes bicycle bicycles", "ball": "ball balls", "hat": "hat hats cap caps", "tree": "tree trees",
    "rock": "rock rocks", "pool": "pool", "river": "river", "lake": "lake", "bench": "bench", "fence": "fence",
    "helmet": "helmet helmets", "skateboard": "skateboard skateboards", "shirt": "shirt shirts",
    "stick": "stick sticks", "road": "road", "toy": "toy toys", "crowd": "crowd",
}  # fmt: skip
UNCOUNTABLE = {"people", "water", "snow", "grass", "sand"}


class Photos(NamedTuple):
    """N photos: their ids, their captions, and (N, D) vectors with their provenance."""

    ids: list[str]
    captions: Mapping[str, list[str]]
    vectors: np.ndarray
    made: Mapping[str, object]


def photos(folder: Path) -> Photos:
    gallery = folder / "dev.h5"
    line = [sys.executable, "-m", "avs_cli", "extract", DATA / "dev", "--model", "lite", "-o", gallery]
    subprocess.run([*map(str, line)], check=True, stderr=subprocess.DEVNULL)
    captions: dict[str, list[str]] = {}
    for caption, sentence in read_captions(str(DATA / "dev.caption.txt")).items():
        captions.setdefault(caption.partition("#")[0], []).append(sentence)
    with open_store(str(gallery)) as store:
        return Photos(list(store.ids), captions, store.read(store.ids).vectors, store.provenance)


def of_sequences(folder: Path, found: Photos) -> Iterator[tuple[str, str, str]]:
    draw = np.random.default_rng(0)
    films = draw.permutation(len(found.ids) // LENGTH * LENGTH).reshape(-1, LENGTH)
    place: dict[str, int] = {}
    shots = []
    for number, film in enumerate(films):
        for name, order in ((f"{number}-a", film), (f"{number}-b", film[::-1])):
            for k, photo in enumerate(order.tolist()):
                shots.append(Shot(f"{name}-{k}", name, SECONDS * k, SECONDS * (k + 1)))
                place[shots[-1].id] = photo
    videos = folder / "videos.h5"
    with StoreWriter(videos, "lite", found.vectors.shape[1], dict(found.made)) as writer:
        writer.add([Item(shot, shot.id, found.vectors[place[shot.id]]) for shot in shots])
        writer.finish([shot.id for shot in shots])
    wanted, first, second = {}, {}, {}
    for topic in map(str, range(QUERIES)):
        film, k, side = int(draw.integers(len(films))), int(draw.integers(LENGTH - 1)), str(draw.choice(["a", "b"]))
        later = min(LENGTH - 1, k + int(draw.integers(1, 5)))
        order = films[film] if side == "a" else films[film][::-1]
        texts = (found.captions[found.ids[int(order[n])]] for n in (k, later))
        first[topic], second[topic] = (str(draw.choice(some)) for some in texts)
        wanted[topic] = f"{film}-{side}-{k}"
    together = {topic: f"{first[topic]} > {second[topic]} < {WITHIN:g}s" for topic in first}
    runs = {name: search(videos, texts, depth=len(shots), threads=1, report=Silent()) for name, texts in
            (("A alone", first), ("B", second), ("A, then B", together))}  # fmt: skip
    video = {shot.id: shot.video for shot in shots}
    unordered = {}
    for topic, scores in runs["A alone"].items():
        best: dict[str, float] = {}
        for shot, score in runs["B"][topic].items():
            best.setdefault(video[shot], score)
        unordered[topic] = {shot: score + best[video[shot]] for shot, score in scores.items()}
    runs["A and the best B of the video"] = unordered
    for name in ("A alone", "A and the best B of the video", "A, then B"):
        ranks = np.array([1 + [*ranked(runs[name][topic]), shot].index(shot) for topic, shot in wanted.items()])
        figures = f"R@1 {np.mean(ranks <= 1):.3f}, R@10 {np.mean(ranks <= 10):.3f}, MRR {np.mean(1 / ranks):.3f}"
        what = f"{QUERIES} sequences among {len(shots):,} shots (synthetic): {name}"
        yield what, figures, "the best" if name == "A, then B" else "-"


def article(thing: str) -> str:
    return thing if thing in UNCOUNTABLE else f"a {thing}"


def precision(scores: np.ndarray, relevant: np.ndarray) -> float:
    """Average precision."""
    hits = relevant[np.argsort(-scores, kind="stable")]
    return float((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean())


def of_negation(texts: SentenceEncoder, found: Photos) -> Iterator[tuple[str, str, str]]:
    words = [set(re.findall("[a-z]+", " ".join(found.captions[id]).lower())) for id in found.ids]
    has = {thing: np.array([not own.isdisjoint(spelled.split()) for own in words]) for thing, spelled in THINGS.items()}
    half = np.random.default_rng(0).permutation(len(words)) < len(words) // 2
    pairs = [
        (x, y) for x in THINGS for y in THINGS
        if x != y and all((has[x] & there & own).sum() >= LEAST for own in (half, ~half) for there in (has[y], ~has[y]))
    ]  # fmt: skip
    shots = units(found.vectors)

    def scores(line: str, negation: Negation = "subtract") -> np.ndarray:
        """(N, T) of the photos, for each pair."""
        lines = {f"{x} {y}": line.format(x=article(x), y=article(y)) for x, y in pairs}
        return np.asarray(shots @ units(encoded_by(texts, read(lines, negation=negation), negation).vectors).T)

    def figures(table: np.ndarray, own: np.ndarray) -> tuple[list[float], str]:
        each = [(table[own, t], (has[x] & ~has[y])[own], has[y][own]) for t, (x, y) in enumerate(pairs)]
        precisions = [precision(score, relevant) for score, relevant, _ in each]
        first = [(np.argsort(-score, kind="stable")[:10], relevant, absent) for score, relevant, absent in each]
        ten, bad = (np.mean([one[n][one[0]].mean() for one in first]) for n in (1, 2))
        return precisions, f"mAP {np.mean(precisions):.4f}, P@10 {ten:.3f}, Y@10 {bad:.3f}"

    tables = {
        "Y ignored": scores("{x}"),
        "sentence: X without Y": scores("{x} -{y}", "sentence"),
        **{f"subtract, weight {weight:g}": scores(f"{{x}} -{{y}} ^{weight:g}") for weight in WEIGHTS},
        "deo": scores("{x} -{y}", "deo"),
    }
    default = scores("{x} -{y}")
    for part, own in (("to choose by", half), ("held out", ~half)):
        before, _ = figures(tables["Y ignored"], own)
        for name, table in tables.items():
            precisions, text = figures(table, own)
            p = randomization((np.array(precisions) - before).tolist()) if name != "Y ignored" else 1.0
            text += f", p {'<' if p < 1e-4 else '='} {max(p, 1e-4):.4f}" if p < 1 else ""
            counts = part == "held out" and np.array_equal(table, default)
            goal = "better than Y ignored" if counts else "-"
            yield f"{len(pairs)} queries X -Y, {own.sum()} photos {part} (synthetic): {name}", text, goal


def rows() -> Iterator[tuple[str, str, str]]:
    captions = DATA / "dev.caption.txt"
    if not captions.exists():
        raise FileNotFoundError(2, "no such file", str(captions))
    with tempfile.TemporaryDirectory() as name:
        found = photos(Path(name))
        yield from of_sequences(Path(name), found)
        with open_gallery([f"{name}/dev.h5"]) as gallery:
            yield from of_negation(text_encoder(gallery), found)
