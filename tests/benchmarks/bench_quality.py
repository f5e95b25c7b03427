"""How well the offline default finds things: real clips by their captions, and photos by five captions each."""

import csv
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from avs_cli.io.store.reader import open_store

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
MODELS = ("conse", "conse:sizes=224+288")


def avs(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "avs_cli", *map(str, arguments)], check=True, stderr=subprocess.DEVNULL)


def ranks(gallery: Path, captions: Path, owner: list[str]) -> np.ndarray:
    """For each caption, 1 + the number of items that score higher than its own; an item scores as its best frame."""
    with open_store(str(captions)) as store:
        queries = store.read(store.ids).vectors.astype(np.float32)
    with open_store(str(gallery)) as store:
        block = store.read(store.ids)
        ids = store.ids
    vectors = block.vectors.astype(np.float32)
    scores = queries @ (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).T
    if block.offsets is not None:
        scores = np.maximum.reduceat(scores, block.offsets[:-1], axis=1)
    place = {id: column for column, id in enumerate(ids)}
    own = scores[np.arange(len(owner)), [place[id] for id in owner]]
    return 1 + (scores > own[:, None]).sum(1)


def rows() -> Iterator[tuple[str, str, str]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (DATA / "clips" / "captions.tsv").open(encoding="utf-8") as file:
            listed = [(Path(row["file"]).stem, row["caption"]) for row in csv.DictReader(file, delimiter="\t")]
        (folder / "clips.txt").write_text("".join(f"{clip}\t{caption}\n" for clip, caption in listed))
        avs("extract", "--text", folder / "clips.txt", "-o", folder / "clips-text.h5")
        captions = DATA / "flickr8k" / "dev.caption.txt"
        lines = [line.split(maxsplit=1)[0] for line in captions.read_text().splitlines() if line.strip()]
        avs("extract", "--text", captions, "-o", folder / "photos-text.h5")
        for number, model in enumerate(MODELS):
            gallery = folder / f"clips{number}.h5"
            avs("extract", DATA / "clips", "--model", model, "-o", gallery)
            found = ranks(gallery, folder / "clips-text.h5", [clip for clip, _ in listed])
            figures = f"R@1 {np.mean(found <= 1):.3f}  R@5 {np.mean(found <= 5):.3f}  mAP {np.mean(1 / found):.3f}"
            yield f"{model}: {len(found)} clips by their captions", figures, "-"

            gallery = folder / f"photos{number}.h5"
            avs("extract", DATA / "flickr8k" / "dev", "--model", model, "-o", gallery)
            found = ranks(gallery, folder / "photos-text.h5", [line.partition("#")[0] for line in lines])
            recall = "/".join(f"{np.mean(found <= k):.3f}" for k in (1, 5, 10))
            told = f"R@1/5/10 {recall}, mir {np.mean(1 / found):.3f}"
            yield f"{model}: 1,000 photos, {len(found)} captions, text to image", told, "-"
