"""How well the offline encoders find things: real clips and photos by their captions, and photos by plain objects.

The photos are Flickr8k's 1,000 of dev, which no training of lite saw; its settings were chosen on them.
"""

import csv
import os
import re
import resource
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from quiet import avs

from avs_cli.core.encoders.lite import PACKAGED
from avs_cli.io.store.reader import open_store

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
MODELS = ("lite", "conse", "conse:sizes=224+288")
# What a person might ask for by a name alone. A photo is relevant if one of its captions has the word or its plural.
OBJECTS = [
    "dog", "ball", "bicycle", "car", "boat", "horse", "bird", "tree", "chair", "table", "hat", "helmet",
    "skateboard", "surfboard", "swing", "rock", "bench", "fence", "stick", "toy", "motorcycle", "guitar",
    "umbrella", "camera", "pool", "flag", "football", "frisbee", "tent", "bus", "truck", "sign", "building",
    "bridge", "shirt", "jacket", "bag", "cup", "bottle", "fountain", "beach", "mountain", "snow", "grass", "river",
    "sand", "slide", "trampoline", "baby", "bike",
]  # fmt: skip
FEWEST = 5
GOALS = {"clips": "mAP >= .76", "photos": "R@1 >= .27, R@10 >= .70", "objects": "not below conse", "speed": "<= 1.30"}


def scores(gallery: Path, texts: Path) -> tuple[np.ndarray, list[str]]:
    """(T, N) cosines of texts with items, an item by its best vector; and the items' ids."""
    with open_store(str(texts)) as store:
        queries = store.read(store.ids).vectors.astype(np.float32)
    with open_store(str(gallery)) as store:
        block = store.read(store.ids)
        ids = list(store.ids)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    vectors = block.vectors.astype(np.float32)
    found = queries @ (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).T
    return (found if block.offsets is None else np.maximum.reduceat(found, block.offsets[:-1], axis=1)), ids


def ranks(gallery: Path, texts: Path, owner: list[str]) -> np.ndarray:
    """For each caption, 1 + the number of items that score higher than its own."""
    found, ids = scores(gallery, texts)
    place = {id: column for column, id in enumerate(ids)}
    own = found[np.arange(len(owner)), [place[id] for id in owner]]
    return 1 + (found > own[:, None]).sum(1)


def relevant(captions: list[tuple[str, str]], ids: list[str], word: str) -> np.ndarray:
    """(N) whether an item has a caption with the word."""
    pattern = re.compile(rf"\b{word}(s|es)?\b", re.IGNORECASE)
    having = {id for id, caption in captions if pattern.search(caption)}
    return np.array([id in having for id in ids])


def average_precisions(gallery: Path, texts: Path, objects: list[str], captions: list[tuple[str, str]]) -> np.ndarray:
    found, ids = scores(gallery, texts)
    precisions = []
    for row, word in zip(found, objects, strict=True):
        wanted = relevant(captions, ids, word)[np.argsort(-row, kind="stable")]
        precisions.append((np.cumsum(wanted) / np.arange(1, len(wanted) + 1))[wanted].mean())
    return np.array(precisions)


def seconds(model: str, folder: Path, gallery: Path) -> float:
    """Processor seconds of an extraction, its start included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    avs("extract", folder, "--model", model, "-o", gallery, "--threads", 1)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def rows() -> Iterator[tuple[str, str, str]]:
    yield "lite: weights in the package", f"{PACKAGED.stat().st_size / 1e6:.1f} MB", "<= 12 MB"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (DATA / "clips" / "captions.tsv").open(encoding="utf-8") as file:
            listed = [(Path(row["file"]).stem, row["caption"]) for row in csv.DictReader(file, delimiter="\t")]
        (folder / "clips.txt").write_text("".join(f"{clip}\t{caption}\n" for clip, caption in listed))
        source = DATA / "flickr8k" / "dev.caption.txt"
        pairs = [line.split(maxsplit=1) for line in source.read_text(encoding="utf-8").splitlines() if line.strip()]
        captions = [(id.partition("#")[0], caption) for id, caption in pairs]
        photos = sorted({id for id, _ in captions})
        objects = [word for word in OBJECTS if relevant(captions, photos, word).sum() >= FEWEST]
        (folder / "objects.txt").write_text("".join(f"{word}\ta {word}\n" for word in objects))
        times, precisions = {}, {}
        for number, model in enumerate(MODELS):
            texts = {}
            for what, path in (
                ("clips", folder / "clips.txt"),
                ("photos", source),
                ("objects", folder / "objects.txt"),
            ):
                texts[what] = folder / f"{what}{number}-text.h5"
                avs("extract", "--text", path, "--model", model, "-o", texts[what])
            gallery = folder / f"clips{number}.h5"
            times[model] = seconds(model, DATA / "clips", gallery)
            found = ranks(gallery, texts["clips"], [clip for clip, _ in listed])
            figures = f"R@1 {np.mean(found <= 1):.3f}  R@5 {np.mean(found <= 5):.3f}  mAP {np.mean(1 / found):.3f}"
            goals = GOALS if model == "lite" else {}
            yield f"{model}: {len(found)} clips by their captions", figures, goals.get("clips", "-")

            gallery = folder / f"photos{number}.h5"
            avs("extract", DATA / "flickr8k" / "dev", "--model", model, "-o", gallery)
            found = ranks(gallery, texts["photos"], [id for id, _ in captions])
            recall = "/".join(f"{np.mean(found <= k):.3f}" for k in (1, 5, 10))
            figures = f"R@1/5/10 {recall}, mir {np.mean(1 / found):.3f}"
            yield f"{model}: 1,000 photos, {len(found)} captions, text to image", figures, goals.get("photos", "-")

            precisions[model] = average_precisions(gallery, texts["objects"], objects, captions)
            figures = f"mAP {precisions[model].mean():.3f}"
            yield f"{model}: 1,000 photos, {len(objects)} plain objects", figures, goals.get("objects", "-")
        better = int((precisions["lite"] >= precisions["conse"]).sum())
        yield "objects that lite finds at least as well as conse", f"{better} of {len(objects)}", "-"
        ratio = times["lite"] / times["conse"]
        figures = f"{ratio:.2f} ({times['lite']:.1f} and {times['conse']:.1f} s, {os.cpu_count()} cores, one thread)"
        yield "extract of 26 clips, processor time of lite over conse", figures, GOALS["speed"]
