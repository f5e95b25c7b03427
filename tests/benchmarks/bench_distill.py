"""Whether teaching helps: Flickr8k, five crops of a photo as its frames, a student with and without a teacher.

Frames are EfficientNet-Lite0 over a photo and its four corners, captions MiniLM. The teacher, X-Pool,
makes another vector of the crops for each caption; the student, AFA, one for all. Both students have the same settings;
these, and each training's epoch, were chosen on half of the 1,000 held-out photos, and the other half is asked for.
$AVS_BENCH_FEATURES names a folder that keeps the features and the teacher from one run to the next.
"""

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from avs_cli.commands import _heads
from avs_cli.commands._training import Data
from avs_cli.core.features import Runtime, features
from avs_cli.core.paired_retrieval import both_ways, text_ranks
from avs_cli.core.pairs import score_matrix
from avs_cli.core.significance import randomization
from avs_cli.io.store_writer import Item, StoreWriter

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "flickr8k"
TRAINED = int(os.environ.get("AVS_BENCH_PHOTOS", "2500"))
SEEDS = (0, 1, 2)
SIDE, SMALL, LARGE = 224, 256, 352
SETTINGS = ("--optimizer", "adamw", "--batch-size", 128, "--epochs", 4, "--threads", 1)
RATE = 1e-3
TEACHER, STUDENT = (f"{kind}:dim=192,frames=5,dropout=0.3" for kind in ("xpool", "afa"))


def avs(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "avs_cli", *map(str, arguments)], check=True, stderr=subprocess.DEVNULL)


def crops(path: Path) -> np.ndarray:
    """(5, 224, 224, 3): the middle of the photo, and its corners enlarged."""
    with Image.open(path) as opened:
        photo = opened.convert("RGB")
    small, large = (_scaled(photo, side) for side in (SMALL, LARGE))
    right, low = large.width - SIDE, large.height - SIDE
    middle = ((small.width - SIDE) // 2, (small.height - SIDE) // 2)
    places = [(small, *middle), *((large, x, y) for y in (0, low) for x in (0, right))]
    return np.stack([np.asarray(one.crop((x, y, x + SIDE, y + SIDE))) for one, x, y in places])


def _scaled(photo: Image.Image, side: int) -> Image.Image:
    factor = side / min(photo.size)
    width, height = (max(side, round(length * factor)) for length in photo.size)
    return photo.resize((width, height), Image.Resampling.BICUBIC)


def prepare(folder: Path) -> None:
    """Crops' and captions' vectors of both splits; what is there already stays."""
    feature = features.load("conse:output=pooled")(Runtime())
    for split, most in (("dev", 1000), ("train", TRAINED)):
        photos = sorted((DATA / split).iterdir())
        random.Random(0).shuffle(photos)
        photos = sorted(photos[:most])
        captions = folder / f"{split}.txt"
        if not captions.exists():
            ids = {photo.stem for photo in photos}
            lines = (DATA / f"{split}.caption.txt").read_text().splitlines(keepends=True)
            captions.write_text("".join(line for line in lines if line.partition("#")[0] in ids))
        if not (folder / f"{split}-crops.h5").exists():
            told = {**feature.provenance, "crops": 5}
            with StoreWriter(folder / f"{split}-crops.h5", "crops", feature.dim, told, frame_level=True) as writer:
                for photo in photos:
                    if photo.stem not in writer.done:
                        writer.add([Item(None, photo.stem, feature.encode_frames(crops(photo)))])
                writer.finish([photo.stem for photo in photos])
        if not (folder / f"{split}-minilm.h5").exists():
            avs("extract", "--text", captions, "--model", "minilm", "-o", folder / f"{split}-minilm.h5")
    lines = (folder / "dev.txt").read_text().splitlines(keepends=True)
    ids = sorted({line.partition("#")[0] for line in lines})
    random.Random(1).shuffle(ids)
    chosen = set(ids[: len(ids) // 2])
    for name, wanted in (("choose", True), ("ask", False)):
        (folder / f"{name}.txt").write_text("".join(x for x in lines if (x.partition("#")[0] in chosen) == wanted))


def found(folder: Path, head: Path) -> tuple[dict[str, float], np.ndarray]:
    """A head's measures on the photos that are asked for, and for each photo its captions' mean reciprocal rank."""
    (loaded,) = _heads.load([str(head)], "cpu")
    with ExitStack() as stack:
        data = Data(stack, [str(folder / "dev-crops.h5")], [str(folder / "dev-minilm.h5")], False)
        pairs = data.pairs([str(folder / "ask.txt")])
        scores = score_matrix(loaded.head, pairs)
    # Captions of one photo are not independent; a test over photos is.
    sums = np.bincount(pairs.item, 1 / text_ranks(scores, pairs.item))
    return both_ways(scores, pairs.item), sums / np.bincount(pairs.item)


def rows() -> Iterator[tuple[str, str, str]]:
    if not DATA.exists():
        raise FileNotFoundError(2, "", str(DATA))
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder, work = Path(os.environ.get("AVS_BENCH_FEATURES", name)), Path(name)
        prepare(folder)
        ends = (("--video", "crops"), ("--text", "minilm"))
        stores = [
            part
            for split in ("train", "dev")
            for option, end in ends
            for part in (option, folder / f"{split}-{end}.h5")
        ]
        own = (*stores, *SETTINGS, "--validate", folder / "choose.txt", "--metric", "SumR", "--learning-rate", RATE)
        learned = ("--objective", "contrastive", "--schedule", "cosine")
        teacher = folder / "teacher.safetensors"
        if not teacher.exists():
            avs("train", folder / "train.txt", *own, *learned, "--head", TEACHER, "-o", teacher)
        yield row("the teacher, X-Pool", [found(folder, teacher)[0]])
        found_at: dict[str, list[np.ndarray]] = {"alone": [], "taught": []}
        measured: dict[str, list[dict[str, float]]] = {"alone": [], "taught": []}
        for seed in SEEDS:
            alone, taught = (work / f"{kind}{seed}.safetensors" for kind in ("alone", "taught"))
            seeded = (*own, "--seed", seed)
            avs("train", folder / "train.txt", *seeded, *learned, "--head", STUDENT, "-o", alone)
            avs("distill", "--captions", folder / "train.txt", *seeded, "--student", STUDENT, "--teacher", teacher,
                "--cache", work / "kept", "-o", taught)  # fmt: skip
            for kind, path in (("alone", alone), ("taught", taught)):
                values, reciprocal = found(folder, path)
                measured[kind].append(values)
                found_at[kind].append(reciprocal)
        for kind, each in measured.items():
            yield row(f"the student {kind}, {len(SEEDS)} seeds", each)
        gained = np.mean(found_at["taught"], 0) - np.mean(found_at["alone"], 0)
        yield "distill: taught - alone", f"mir {gained.mean():+.4f}, p {randomization(gained):.5f}", "> 0"


def row(name: str, seeds: list[dict[str, float]]) -> tuple[str, str, str]:
    shares = "/".join(f"{np.mean([one[f'R@{k}'] for one in seeds]):.1f}" for k in (1, 5, 10))
    sums = [one["SumR"] for one in seeds]
    spread = f" ({min(sums):.1f} to {max(sums):.1f})" if len(sums) > 1 else ""
    back = np.mean([one["v2t SumR"] for one in seeds])
    return f"distill: {name}", f"R@1/5/10 {shares}, SumR {np.mean(sums):.1f}{spread}, back {back:.1f}", "-"
