"""What marks and diversity gain on photos: known-item search with feedback, and near-duplicates among the first ten.

Feedback: a user looks for one of Flickr8k's 1,000 photos of dev that lite did not put on the first page of ten for one
of its captions. On each page, of ten photos without a mark, the user likes up to two that are among the tenth of all
photos that is most similar to the wanted one, and dislikes up to two that are in the less similar half; so it goes on
until the wanted photo is on the page. Similarity is not that of lite: it is MiniLM's between all captions of photos, or
conse's between photos. Ranks are among the photos without a mark, with feedback and without. The weights were chosen
with captions of the first 500 photos, and these are captions of the others. p is two-sided, of the mean
difference of logarithms of ranks.

Duplicates: 300 of the photos four times more, as crops of 90 and 75 % of the sides, as a small copy of low quality, and
brighter or darker. A photo is found by any of its versions.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageEnhance
from quiet import Silent, avs

from avs_cli.core.evaluation.significance import randomization
from avs_cli.core.search.exact import shot_units, units
from avs_cli.io.store.reader import open_store
from avs_cli.stages.rerank import rerank
from avs_cli.stages.search import search
from avs_cli.types import Judgment, Qrels, Run, ranked

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "flickr8k"
PAGE, ROUNDS, CHOSEN_ON = 10, 5, 500
COPIED, DEPTH, CAPTIONS = 300, 200, 300

METHODS = {
    "rocchio (the default)": ("feedback", None),
    "rocchio, weight 0.5": ("feedback", 0.5),
    "rocchio, as a new search": ("feedback", 1.0),
    "rocchio, without the query": ("feedback", None),
    "nearest": ("feedback:kind=nearest", None),
}


class Vectors(NamedTuple):
    """The ids of N items, and their (N, D) unit vectors."""

    ids: list[str]
    units: np.ndarray


def read(store: Path) -> Vectors:
    with open_store(str(store)) as found:
        return Vectors(list(found.ids), shot_units(found.read(found.ids)))


def marks_of(page: list[str], closeness: dict[str, float]) -> dict[str, Judgment]:
    """What the user marks on a page; closeness is the share of all photos that are less similar to the wanted one."""
    best = sorted(page, key=closeness.__getitem__, reverse=True)
    liked = [photo for photo in best[:2] if closeness[photo] >= 0.9]
    disliked = [photo for photo in best[-2:] if closeness[photo] < 0.5]
    return dict.fromkeys(liked, Judgment(1)) | dict.fromkeys(disliked, Judgment(0))


def rank(scores: dict[str, float], wanted: str, marked: dict[str, Judgment]) -> int:
    """The rank of the wanted photo among those without a mark."""
    return 1 + [photo for photo in ranked(scores) if photo not in marked].index(wanted)


def rounds(
    run: Run, wanted: dict[str, str], closeness: dict[str, dict[str, float]], gallery: Path, texts: Path | str,
    method: str, weight: float | None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """(ROUNDS, Q) ranks of the wanted photos after each round, without feedback and with it."""
    marked: Qrels = {topic: {} for topic in run}
    now, left = run, set(run)
    plain, fed = ({topic: rank(run[topic], wanted[topic], {}) for topic in run} for _ in range(2))
    found: list[tuple[list[int], list[int]]] = []
    for _ in range(ROUNDS):
        for topic in left:
            page = [photo for photo in ranked(now[topic]) if photo not in marked[topic]][:PAGE]
            marked[topic] |= marks_of(page, closeness[wanted[topic]])
        active = {topic: run[topic] for topic in run if topic in left}
        now = rerank(
            active, gallery, method=method, weight=weight, vectors=texts, threads=1, report=Silent(),
            qrels={topic: marked[topic] for topic in active if marked[topic]},
        )  # fmt: skip
        for topic in active:
            plain[topic] = rank(run[topic], wanted[topic], marked[topic])
            fed[topic] = rank(now[topic], wanted[topic], marked[topic])
        left = {topic for topic in left if fed[topic] > PAGE}
        found.append(([*plain.values()], [*fed.values()]))
    return np.array([one for one, _ in found]), np.array([one for _, one in found])


def of_feedback(folder: Path) -> Iterator[tuple[str, str, str]]:
    gallery, texts = folder / "lite.h5", folder / "lite-texts.h5"
    photos, queries = read(gallery), read(texts)
    place = {photo: number for number, photo in enumerate(photos.ids)}
    wanted = {caption: caption.partition("#")[0] for caption in queries.ids}
    of_texts = read(folder / "minilm.h5")
    owner = np.array([place[wanted[caption]] for caption in of_texts.ids])
    means = units(np.array([of_texts.units[owner == number].mean(axis=0) for number in range(len(photos.ids))]))
    run = search(str(gallery), vectors=str(texts), threads=1)
    hard = [
        topic
        for topic, scores in run.items()
        if place[wanted[topic]] >= CHOSEN_ON and rank(scores, wanted[topic], {}) > PAGE
    ]
    run = {hard[number]: run[hard[number]] for number in np.random.default_rng(0).permutation(len(hard))[:CAPTIONS]}
    for user, vectors in (("captions", means), ("conse", read(folder / "conse.h5").units)):
        order = (vectors @ vectors.T).argsort(axis=1).argsort(axis=1) / len(vectors)
        closeness = {
            photo: dict(zip(photos.ids, order[place[photo]].tolist(), strict=True)) for photo in set(wanted.values())
        }
        for name, (method, weight) in METHODS.items():
            uses = "" if "nearest" in method or "without" in name else str(texts)
            plain, fed = rounds(run, wanted, closeness, gallery, uses, method, weight)
            for number in range(ROUNDS) if "default" in name else (0, ROUNDS - 1):
                before, after = plain[number], fed[number]
                gain = np.log(before / after)
                p = randomization(gain.tolist())
                figures = (
                    f"rank {before.mean():.1f} -> {after.mean():.1f}, MRR {np.mean(1 / before):.3f} -> "
                    f"{np.mean(1 / after):.3f}, R@10 {np.mean(before <= 10):.3f} -> {np.mean(after <= 10):.3f}, "
                    f"ranks / {np.exp(gain.mean()):.2f}, worse {np.mean(after > before):.0%}, "
                    f"p {'<' if p < 1e-4 else '='} {max(p, 1e-4):.4f}"
                )
                goal = "better, p < 0.05" if "default" in name and number == ROUNDS - 1 else "-"
                yield f"{name}, {len(run)} captions, user: {user}, round {number + 1}", figures, goal


def copies(folder: Path) -> None:
    """Write four versions of some photos."""
    draw = np.random.default_rng(0)
    photos = sorted((DATA / "dev").glob("*.jpg"))
    folder.mkdir()
    for number in sorted(draw.permutation(len(photos))[:COPIED].tolist()):
        path = photos[number]
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        for share in (90, 75):
            width, height = (side * share // 100 for side in image.size)
            left, top = (
                int(draw.integers(side - part + 1)) for side, part in zip(image.size, (width, height), strict=True)
            )
            cut = image.crop((left, top, left + width, top + height))
            cut.save(folder / f"{path.stem}-crop{share}.jpg", quality=90)
        small = image.resize((image.width * 2 // 3, image.height * 2 // 3))
        small.save(folder / f"{path.stem}-small.jpg", quality=25)
        light = ImageEnhance.Brightness(image).enhance(float(draw.choice([0.7, 1.35])))
        light.save(folder / f"{path.stem}-light.jpg", quality=90)


def first_ten(run: Run) -> tuple[float, float]:
    """The mean number of different photos among the first ten, and the share of topics whose photo is among them."""
    pages = {topic: {shot.partition("-")[0] for shot in ranked(scores)[:10]} for topic, scores in run.items()}
    found = np.mean([topic.partition("#")[0] in page for topic, page in pages.items()])
    return float(np.mean([len(page) for page in pages.values()])), float(found)


def of_duplicates(folder: Path) -> Iterator[tuple[str, str, str]]:
    copies(folder / "copies")
    for model in ("lite", "conse"):
        avs("extract", folder / "copies", "--model", model, "-o", folder / f"{model}-copies.h5")
        copied = {id.partition("-")[0] for id in read(folder / f"{model}-copies.h5").ids}
        texts = folder / f"{model}-texts.h5"
        captions = [caption for caption in read(texts).ids if caption.partition("#")[0] in copied]
        some = np.random.default_rng(0).permutation(len(captions))[:CAPTIONS]
        topics = {captions[number]: "" for number in some.tolist()}
        whole = [folder / f"{model}.h5", folder / f"{model}-copies.h5"]
        for what, gallery in (("1,000 photos and 1,200 copies", whole), ("1,000 photos", whole[:1])):
            run = search(gallery, topics, vectors=texts, depth=DEPTH, threads=1)
            distinct, recall = first_ten(run)
            for method in ("diverse", "diverse:novelty=0", "diverse:fold=2"):
                again, kept = first_ten(rerank(run, gallery, method=method, threads=1))
                figures = f"different photos {distinct:.2f} -> {again:.2f}, R@10 {recall:.3f} -> {kept:.3f}"
                goal = "more at equal R@10" if (model, method, gallery) == ("lite", "diverse", whole) else "-"
                yield f"{method}, {model}, {what}: the first ten for {len(topics)} captions", figures, goal


def rows() -> Iterator[tuple[str, str, str]]:
    captions = DATA / "dev.caption.txt"
    if not captions.exists():
        raise FileNotFoundError(2, "no such file", str(captions))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for model in ("lite", "conse"):
            avs("extract", DATA / "dev", "--model", model, "-o", folder / f"{model}.h5")
            avs("extract", "--text", captions, "--model", model, "-o", folder / f"{model}-texts.h5")
        avs("extract", "--text", captions, "--model", "minilm", "-o", folder / "minilm.h5")
        yield from of_feedback(folder)
        yield from of_duplicates(folder)
