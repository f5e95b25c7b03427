"""LPD against LAFF on photos, trained alike: Flickr8k's 6,000 photos of train, with the first caption of each.

Two video features (conse's pooled features and class scores) and two text features (MiniLM and a bag of words), so four
spaces of 512 dimensions in LPD, and four heads that share 2,048 dimensions in LAFF, which has twice the weights. Three
seeds; the epoch is chosen on the captions of the first 500 photos of dev, and the captions of the other 500 photos are
measured.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from quiet import Silent, avs

from avs_cli.stages.search_heads import search_heads
from avs_cli.types import Run, feature_name

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "flickr8k"
CHOSEN_ON, EPOCHS, SEEDS = 500, 8, 3
MODELS = {
    "LAFF, triplet loss": ("laff:dim=2048,heads=4", "triplet"),
    "LPD, triplet loss": ("lpd:dim=512", "triplet"),
    "LPD, its own loss": ("lpd:dim=512", "decorrelated"),
    "LPD of as many weights as LAFF, triplet loss": ("lpd:dim=1024", "triplet"),
}


def figures(run: Run, photos: set[str]) -> tuple[float, float, float]:
    """R@1, R@10 and mean inverted rank among these photos."""
    ranks = []
    for caption, scores in run.items():
        own = scores[caption.partition("#")[0]]
        ranks.append(1 + sum(score > own for photo, score in scores.items() if photo in photos))
    found = np.array(ranks)
    return float((found <= 1).mean()), float((found <= 10).mean()), float((1 / found).mean())


def written(path: Path, lines: list[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def rows() -> Iterator[tuple[str, str, str]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = {
            part: (DATA / f"{part}.caption.txt").read_text(encoding="utf-8").splitlines() for part in ("dev", "train")
        }
        photos = sorted({line.partition("#")[0] for line in lines["dev"]})
        measured = set(photos[CHOSEN_ON:])
        train = written(folder / "train.txt", [line for line in lines["train"] if "#enc#0 " in line])
        both: list[list[str]] = [[], []]
        for line in lines["dev"]:
            both[line.partition("#")[0] in measured].append(line)
        chosen, tested = written(folder / "chosen.txt", both[0]), written(folder / "tested.txt", both[1])
        videos, texts = [], []
        for part in ("train", "dev"):
            for output in ("pooled", "scores"):
                videos.append(folder / f"{part}-{output}.h5")
                avs("extract", DATA / part, "--model", f"conse:output={output}", "-o", videos[-1])
        for path in (train, chosen, tested):
            texts.append(folder / f"{path.stem}-text.h5")
            avs("extract", "--text", path, "--model", "minilm", "-o", texts[-1])
        options = [*(word for path in videos for word in ("--video", path))]
        options += [*(word for path in texts for word in ("--text", path)), "--text", "bow", "--validate", chosen]
        for model, (head, objective) in MODELS.items():
            found = []
            for seed in range(SEEDS):
                target = folder / f"{feature_name(head)}-{objective}-{seed}.safetensors"
                avs("train", train, *options, "--head", head, "--objective", objective, "--seed", seed,
                    "--epochs", EPOCHS, "--patience", EPOCHS, "-o", target)  # fmt: skip
                (run,) = search_heads(
                    [str(path) for path in videos if path.name.startswith("dev")],
                    str(tested),
                    [str(target)],
                    vectors=[str(texts[-1])],
                    depth=len(photos),
                    report=Silent(),
                ).values()
                found.append(figures(run, measured))
            mean, spread = np.mean(found, axis=0), np.std(found, axis=0, ddof=1)
            cells = (f"{n} {m:.3f} ± {s:.3f}" for n, m, s in zip(("R@1", "R@10", "mir"), mean, spread, strict=True))
            yield f"{model}, {SEEDS} seeds", "  ".join(cells), "-"
