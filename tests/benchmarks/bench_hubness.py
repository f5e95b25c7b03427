"""What hubness reduction gains on photos: lite, and captions of the second half of Flickr8k's dev photos.

The banks are captions and photos of train, which lite was trained on. The settings are those of the highest mean
inverted rank for the 2,500 captions of the first 500 photos of dev, with five times as many captions and four times as
many photos in the banks: k of 1, 4, 16, 64 and 256; alpha of .1, .25, .5, .75 and 1; beta of 2, 5, 10, 20, 50 and 100;
gallery_beta of .5, 1, 2, 3, 5 and 10; tau of .01, .02, .05 and .1. What is measured are the first captions of the other
500 photos.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from quiet import Silent, avs

from avs_cli.io.store.reader import open_store
from avs_cli.stages.rerank import rerank
from avs_cli.stages.search import search
from avs_cli.types import Run

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "flickr8k"
CHOSEN_ON, CAPTIONS, PHOTOS = 500, 1000, 500
METHODS = {
    "nnn": "hubness:k=64,alpha=0.75",
    "qbnorm": "hubness:kind=qbnorm,beta=20",
    "dbnorm": "hubness:kind=dbnorm,beta=20,gallery_beta=5",
    "dbsn": "hubness:kind=dbsn,tau=0.05",
}


def figures(run: Run) -> str:
    """R@1, R@10 and mean inverted rank of the photos that captions are of."""
    ranks = []
    for caption, scores in run.items():
        own = scores[caption.partition("#")[0]]
        ranks.append(1 + sum(score > own for score in scores.values()))
    found = np.array(ranks)
    return f"R@1 {(found <= 1).mean():.3f}  R@10 {(found <= 10).mean():.3f}  mir {(1 / found).mean():.3f}"


def lines_of(part: str) -> list[str]:
    return (DATA / f"{part}.caption.txt").read_text(encoding="utf-8").splitlines()


def linked(folder: Path, part: str, photos: list[str]) -> Path:
    """A folder of some photos."""
    folder.mkdir()
    for photo in photos:
        (folder / f"{photo}.jpg").symlink_to(DATA / part / f"{photo}.jpg")
    return folder


def rows() -> Iterator[tuple[str, str, str]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = sorted({line.partition("#")[0] for line in lines_of("dev")})[CHOSEN_ON:]
        (folder / "dev.txt").write_text(
            "".join(f"{line}\n" for line in lines_of("dev") if line.partition("#enc#0 ")[0] in set(photos))
        )
        draw = np.random.default_rng(0)
        train = lines_of("train")
        (folder / "bank.txt").write_text("".join(f"{train[k]}\n" for k in draw.choice(len(train), CAPTIONS, False)))
        others = sorted({line.partition("#")[0] for line in train})
        chosen = [others[k] for k in draw.choice(len(others), PHOTOS, False)]
        gallery, texts, bank, around = (str(folder / f"{kind}.h5") for kind in ("photos", "texts", "bank", "around"))
        avs("extract", linked(folder / "photos", "dev", photos), "--model", "lite", "-o", gallery)
        avs("extract", linked(folder / "around", "train", chosen), "--model", "lite", "-o", around)
        avs("extract", "--text", folder / "dev.txt", "--model", "lite", "-o", texts)
        avs("extract", "--text", folder / "bank.txt", "--model", "lite", "-o", bank)
        with open_store(texts) as store:
            count = len(store.ids)
        run = search([gallery], vectors=texts, depth=len(photos), report=Silent())
        yield f"cosine: {len(photos)} photos, {count} captions", figures(run), "-"
        for kind, method in METHODS.items():
            shots = around if kind.startswith("db") else ""
            again = rerank(
                run, [gallery], method=method, vectors=texts, bank=bank, gallery_bank=shots, weight=1, report=Silent()
            )
            yield method, figures(again), "-"
