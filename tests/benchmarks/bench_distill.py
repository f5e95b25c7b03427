"""Whether teaching helps: Flickr8k, five crops of a photo as its frames, a student with and without teachers.

Frames are EfficientNet-Lite0 over a photo and its four corners, captions MiniLM, whole and word by word. The student,
AFA, makes one vector of 192 numbers of a photo. Of its teachers, X-Pool makes another vector of the crops for each
caption, X-CLIP looks at every crop and word, and LAFF, with 2048 numbers a photo, scores alone. A student without
teachers has the same settings; all settings, and each training's epoch, were chosen on half of the 1,000 held-out
photos, and the other half is asked for.
$AVS_BENCH_FEATURES names a folder that keeps the features and the teachers from one run to the next.
"""

import os
import random
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from quiet import avs

from avs_cli.core.encoders import Runtime, encoders
from avs_cli.core.evaluation.captions import both_ways, text_ranks
from avs_cli.core.evaluation.significance import randomization
from avs_cli.core.training.pairs import score_matrix
from avs_cli.io import weights as reader
from avs_cli.io.store.writer import Item, StoreWriter
from avs_cli.stages.heads import load_heads
from avs_cli.stages.training_data import TrainingData

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "flickr8k"
TRAINED = int(os.environ.get("AVS_BENCH_PHOTOS", "2500"))
SEEDS = (0, 1, 2)
SIDE, SMALL, LARGE = 224, 256, 352
SETTINGS = ("--optimizer", "adamw", "--batch-size", 128, "--epochs", 5, "--threads", 1)
LEARNED = ("--objective", "contrastive:temperature=0.03", "--schedule", "cosine", "--weight-decay", 2)
# A head, how fast it learns, and the captions' stores that it reads.
TEACHERS = {
    "laff": ("laff:dim=2048,dropout=0.5", 5e-4, ("minilm",)),
    "xpool": ("xpool:dim=384,frames=5,dropout=0.5", 7e-4, ("minilm",)),
    "xclip": ("xclip:dim=384,frames=5,words=16,dropout=0.5", 7e-4, ("minilm", "words")),
}
STUDENT = "afa:dim=192,frames=5,dropout=0.3"
# What teaches the student, and with which weights of matching, coarse and fine; the published ones by default.
STUDENTS = {
    "alone": (("laff",), ("--loss-weights", "1,0,0")),
    "taught by X-Pool": (("xpool",), ()),
    "taught by X-CLIP": (("xclip",), ()),
    "taught by LAFF": (("laff",), ()),
    "taught by LAFF and X-CLIP": (("laff", "xclip"), ()),
}


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
    feature = encoders.load("conse:output=pooled")(Runtime(reader))
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
        for name, model in (("minilm", "minilm"), ("words", "minilm:output=words")):
            if not (folder / f"{split}-{name}.h5").exists():
                avs("extract", "--text", captions, "--model", model, "-o", folder / f"{split}-{name}.h5")
    lines = (folder / "dev.txt").read_text().splitlines(keepends=True)
    ids = sorted({line.partition("#")[0] for line in lines})
    random.Random(1).shuffle(ids)
    chosen = set(ids[: len(ids) // 2])
    for name, wanted in (("choose", True), ("ask", False)):
        (folder / f"{name}.txt").write_text("".join(x for x in lines if (x.partition("#")[0] in chosen) == wanted))


def stores(folder: Path, option: str, end: str) -> list[object]:
    return [part for split in ("train", "dev") for part in (option, folder / f"{split}-{end}.h5")]


def found(folder: Path, head: Path, texts: Sequence[str] = ("minilm",)) -> tuple[dict[str, float], np.ndarray]:
    """A head's measures on the photos that are asked for, and for each photo its captions' mean reciprocal rank."""
    (loaded,) = load_heads([str(head)])
    with TrainingData([str(folder / "dev-crops.h5")], [str(folder / f"dev-{text}.h5") for text in texts]) as data:
        pairs = data.pairs([str(folder / "ask.txt")])
        scores = score_matrix(loaded.head, pairs)
    # Captions of one photo are not independent; a test over photos is.
    sums = np.bincount(pairs.item, 1 / text_ranks(scores, pairs.item))
    return both_ways(scores.__getitem__, pairs.item, len(pairs.items)), sums / np.bincount(pairs.item)


def rows() -> Iterator[tuple[str, str, str]]:
    if not DATA.exists():
        raise FileNotFoundError(2, "", str(DATA))
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder, work = Path(os.environ.get("AVS_BENCH_FEATURES", name)), Path(name)
        prepare(folder)
        common = (*stores(folder, "--video", "crops"), *SETTINGS, "--validate", folder / "choose.txt")
        common += ("--metric", "SumR")
        yield from teachers(folder, common)
        yield from students(folder, work, common)


def teachers(folder: Path, common: Sequence[object]) -> Iterator[tuple[str, str, str]]:
    """Train those that are not there yet; what each finds."""
    for teacher, (head, rate, texts) in TEACHERS.items():
        path = folder / f"{teacher}.safetensors"
        if not path.exists():
            read = [part for text in texts for part in stores(folder, "--text", text)]
            learned = (*LEARNED, "--learning-rate", rate, "--head", head)
            avs("train", folder / "train.txt", *common, *read, *learned, "-o", path)
        yield row(f"the teacher {teacher}", [found(folder, path, texts)[0]])


def students(folder: Path, work: Path, common: Sequence[object]) -> Iterator[tuple[str, str, str]]:
    """What the students find, and what each gains over the one that learned alone, which comes first."""
    common = ("--captions", folder / "train.txt", *common, "--student", STUDENT, "--cache", work / "kept")
    common += (*stores(folder, "--text", "minilm"), *stores(folder, "--teacher-text", "words"))
    ranks: dict[str, np.ndarray] = {}
    for kind, (taught_by, weights) in STUDENTS.items():
        own = [part for teacher in taught_by for part in ("--teacher", folder / f"{teacher}.safetensors")]
        heads = [work / f"{len(ranks)}-{seed}.safetensors" for seed in SEEDS]
        for seed, head in zip(SEEDS, heads, strict=True):
            avs("distill", *common, *own, *weights, "--seed", seed, "-o", head)
        measured, reciprocal = zip(*(found(folder, head) for head in heads), strict=True)
        ranks[kind] = np.mean(reciprocal, 0)
        yield row(f"the student {kind}, {len(SEEDS)} seeds", measured)
        if kind != "alone":
            gained = ranks[kind] - ranks["alone"]
            yield f"distill: {kind} - alone", f"mir {gained.mean():+.4f}, p {randomization(gained):.5f}", "> 0"


def row(name: str, seeds: Sequence[dict[str, float]]) -> tuple[str, str, str]:
    shares = "/".join(f"{100 * np.mean([one[f'R@{k}'] for one in seeds]):.1f}" for k in (1, 5, 10))
    firsts = [100 * one["R@1"] for one in seeds]
    least = f" (R@1 {min(firsts):.1f} to {max(firsts):.1f})" if len(seeds) > 1 else ""
    sums = [one["SumR"] for one in seeds]
    spread = f" ({min(sums):.1f} to {max(sums):.1f})" if len(seeds) > 1 else ""
    back = np.mean([one["v2t SumR"] for one in seeds])
    return f"distill: {name}", f"R@1/5/10 {shares}{least}, SumR {np.mean(sums):.1f}{spread}, back {back:.1f}", "-"
