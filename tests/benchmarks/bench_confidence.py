"""Confidences against the truth: photos and clips by their captions, with the right one in the gallery and removed.

A photo is relevant to a sentence that is its own, or that resembles one of its own: MiniLM's cosine is .5 or more. The
calibration that is judged was fitted on the captions of other photos (five folds), so it is out of sample; the last row
is the fit on all of them, which the encoder's module has as `CALIBRATION`.

AUC and ECE (ten bins): the confidence of a topic's best shot against whether that shot is relevant. A false alarm is a
topic whose photo is there, and whose best shot has a confidence below one half; a miss is one whose photo is removed
(alone, or with all relevant ones), and whose best shot has one half or more.
"""

import csv
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from quiet import avs
from scipy.stats import rankdata

from avs_cli.core.search.confidence import DOUBTFUL, Calibration, Confidence
from avs_cli.io.store.reader import open_gallery, open_store
from avs_cli.stages.search import calibration
from avs_cli.stages.topics import other_sentences

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
MODELS = ("conse", "lite")
# Photos of a gallery, and how many galleries of that size are drawn.
SIZES = {100: 5, 300: 3, 1000: 1}
ALIKE, FOLDS, RANKS = 0.5, 5, 20


class Gallery(NamedTuple):
    """Q captions of N photos in a gallery of these: cosines above the chance level, and what is relevant.

    above     (Q, N)
    relevant  (Q, N)
    own       (Q,) the column of each caption's photo
    fold      (Q,) that of its photo
    """

    above: np.ndarray
    relevant: np.ndarray
    own: np.ndarray
    fold: np.ndarray

    def best(self, without: np.ndarray) -> np.ndarray:
        """(Q,) the best cosine of those that are left."""
        return np.asarray(np.where(without, -np.inf, self.above).max(axis=1))


def unit(vectors: np.ndarray) -> np.ndarray:
    exact = vectors.astype(np.float32)
    return np.asarray(exact / np.linalg.norm(exact, axis=1, keepdims=True))


def texts(store: Path) -> np.ndarray:
    with open_store(str(store)) as read:
        return unit(read.read(read.ids).vectors)


def shots(store: Path, queries: np.ndarray) -> tuple[list[str], np.ndarray, np.ndarray, Calibration | None]:
    """The shots, (Q, N) cosines of the queries, (B, N) those of the bank, and the model's calibration."""
    with open_gallery([str(store)]) as gallery:
        bank = unit(other_sentences(gallery))
        fitted = calibration(gallery.provenance)
    with open_store(str(store)) as read:
        block, ids = read.read(read.ids), list(read.ids)
    cosines = np.concatenate([queries, bank]) @ unit(block.vectors).T
    if block.offsets is not None:
        cosines = np.maximum.reduceat(cosines, block.offsets[:-1], axis=1)
    return ids, cosines[: len(queries)], cosines[len(queries) :], fitted


def galleries(cosines: np.ndarray, bank: np.ndarray, relevant: np.ndarray, own: np.ndarray, size: int) -> list[Gallery]:
    """Galleries of `size` photos drawn from all of them, each with the captions of its photos."""
    drawn = []
    for seed in range(SIZES[size]):
        chosen = np.random.default_rng(seed).permutation(cosines.shape[1])[:size]
        column = np.full(cosines.shape[1], -1)
        column[chosen] = np.arange(size)
        topics = np.flatnonzero(column[own] >= 0)
        chance = Confidence(bank[:, chosen].max(axis=1)).chance
        here = np.ix_(topics, chosen)
        drawn.append(Gallery(cosines[here] - chance, relevant[here], column[own[topics]], own[topics] % FOLDS))
    return drawn


def fit(drawn: list[Gallery], fold: int | None) -> Calibration:
    """Logistic regression of relevance on cosines at the first ranks, without a fold; every gallery counts alike."""
    above, relevant, weight = [], [], []
    for one in drawn:
        topics = np.ones(len(one.fold), bool) if fold is None else one.fold != fold
        order = np.argsort(-one.above[topics], axis=1)[:, :RANKS]
        above.append(np.take_along_axis(one.above[topics], order, axis=1).ravel())
        relevant.append(np.take_along_axis(one.relevant[topics], order, axis=1).ravel())
        # Fewer galleries of a size are drawn where each has more topics.
        weight.append(np.full(order.size, 1 / (order.size * SIZES[one.above.shape[1]])))
    x, y, w = np.concatenate(above), np.concatenate(relevant).astype(float), np.concatenate(weight)
    inputs, beta = np.stack([x, np.ones(len(x))]), np.zeros(2)
    for _ in range(25):  # Newton's method
        p = 1 / (1 + np.exp(-beta @ inputs))
        beta += np.linalg.solve((inputs * (w * p * (1 - p))) @ inputs.T, inputs @ (w * (y - p)))
    return Calibration(float(beta[0]), float(-beta[1] / beta[0]))


def confidences(above: np.ndarray, fitted: Calibration) -> np.ndarray:
    """Of cosines above the chance level."""
    return Confidence(np.zeros(1), fitted).of(above)


def auc(values: np.ndarray, true: np.ndarray) -> float:
    """The probability that a true case has a higher value than a false one."""
    positive = int(true.sum())
    ranks = rankdata(values)[true].sum()
    return float((ranks - positive * (positive + 1) / 2) / (positive * (len(true) - positive)))


def ece(values: np.ndarray, true: np.ndarray) -> float:
    """The expected calibration error in ten bins of equal width."""
    bins = np.minimum((values * 10).astype(int), 9)
    return float(sum(abs((values - true)[bins == one].sum()) for one in range(10)) / len(values))


def rates(present: np.ndarray, removed: np.ndarray) -> str:
    """Of the confidences of best shots."""
    both, kept = np.concatenate([present, removed]), np.arange(len(present) + len(removed)) < len(present)
    return f"misses {(removed >= DOUBTFUL).mean():.2f}, AUC {auc(both, kept):.2f}"


def of_photos(model: str, drawn: dict[int, list[Gallery]], fits: list[Calibration]) -> Iterator[tuple[str, str, str]]:
    for size, some in drawn.items():
        found: dict[str, list[np.ndarray]] = {name: [] for name in ("kept", "right", "hit", "alone", "alike")}
        for one in some:
            own = np.arange(size) == one.own[:, None]
            cases = {"kept": np.zeros_like(own), "alone": own, "alike": own | one.relevant}
            cosines = {name: one.best(without) for name, without in cases.items()}
            for fold, fitted in enumerate(fits):
                topics = one.fold == fold
                for name, values in cosines.items():
                    left = topics & np.isfinite(values)
                    found[name].append(confidences(values[left], fitted))
                found["hit"].append(one.relevant[topics, one.above[topics].argmax(axis=1)])
        kept, hit, alone, alike = (np.concatenate(found[name]) for name in ("kept", "hit", "alone", "alike"))
        figures = f"{hit.mean():.2f} are, AUC {auc(kept, hit):.2f}, ECE {ece(kept, hit):.3f}"
        yield f"{model}: {size} photos, is the best shot relevant", figures, "-"
        yield f"{model}: {size} photos, false alarms", f"{(kept < DOUBTFUL).mean():.2f}", "-"
        yield f"{model}: {size} photos, the right one removed", rates(kept, alone), "-"
        yield f"{model}: {size} photos, all relevant ones removed", rates(kept, alike), "-"


def rows() -> Iterator[tuple[str, str, str]]:
    with tempfile.TemporaryDirectory() as name:
        yield from measured(Path(name))


def measured(folder: Path) -> Iterator[tuple[str, str, str]]:
    """The rows; stores that are in the folder already are not extracted again."""
    captions = DATA / "flickr8k" / "dev.caption.txt"
    owners = [line.partition("#")[0] for line in captions.read_text().splitlines() if line.strip()]
    with (DATA / "clips" / "captions.tsv").open(encoding="utf-8") as file:
        listed = [(Path(row["file"]).stem, row["caption"]) for row in csv.DictReader(file, delimiter="\t")]
    (folder / "clips.txt").write_text("".join(f"{clip}\t{caption}\n" for clip, caption in listed))

    def store(name: str, *arguments: object) -> Path:
        path = folder / f"{name}.h5"
        if not path.exists():
            avs("extract", *arguments, "-o", path)
        return path

    alike = texts(store("photos-minilm", "--text", captions, "--model", "minilm"))
    for model in MODELS:
        queries = texts(store(f"photos-text-{model}", "--text", captions, "--model", model))
        ids, cosines, bank, packaged = shots(
            store(f"photos-{model}", DATA / "flickr8k" / "dev", "--model", model), queries
        )
        place = {id: column for column, id in enumerate(ids)}
        own = np.array([place[id] for id in owners])
        relevant = np.zeros(cosines.shape, bool)
        np.logical_or.at(relevant.T, own, (alike @ alike.T >= ALIKE))
        drawn = {size: galleries(cosines, bank, relevant, own, size) for size in SIZES}
        every = [one for some in drawn.values() for one in some]
        yield from of_photos(model, drawn, [fit(every, fold) for fold in range(FOLDS)])

        queries = texts(store(f"clips-text-{model}", "--text", folder / "clips.txt", "--model", model))
        ids, cosines, bank, _ = shots(store(f"clips-{model}", DATA / "clips", "--model", model), queries)
        cosines -= Confidence(bank.max(axis=1)).chance
        own = np.array([ids.index(clip) for clip, _ in listed])
        whole = fit(every, None)
        kept = confidences(cosines.max(axis=1), whole)
        right = cosines.argmax(axis=1) == own
        removed = np.where(np.arange(len(ids)) == own[:, None], -np.inf, cosines).max(axis=1)
        yield (
            f"{model}: 26 clips, is the best shot the right one",
            f"{right.mean():.2f} are, AUC {auc(kept, right):.2f}",
            "-",
        )
        alarms = kept < DOUBTFUL
        figures = f"{alarms.mean():.2f}, {alarms[right].mean():.2f} where the best shot is right"
        yield f"{model}: 26 clips, false alarms", figures, "-"
        yield f"{model}: 26 clips, the right one removed", rates(kept, confidences(removed, whole)), "-"
        known = "none" if packaged is None else f"{packaged.slope:.1f} and {packaged.margin:.3f}"
        yield f"{model}: slope and margin, fitted on all photos", f"{whole.slope:.1f} and {whole.margin:.3f}", known
