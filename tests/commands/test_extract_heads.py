"""`avs extract --head` and searches of galleries part by part: as files, byte for byte."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stores import store

from avs_cli.core.models.described import describe, rebuild
from avs_cli.core.models.layers import Input
from avs_cli.core.models.text.words import Corpus
from avs_cli.io.head_file import save_head
from avs_cli.io.store.reader import Store

Avs = Callable[..., Any]
IDS = [f"shot{k:04d}" for k in range(2500)]
PARTS = 10
HEAD = ("--head", "laff.safetensors")


@pytest.fixture
def collection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Shots in the store clip.h5 and in ten parts of it, topics as words and as vectors, and two heads over clip.

    Many shots have the same vector, and so the same score.
    """
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(len(IDS) - 200, 16)).astype(np.float16)
    vectors = np.concatenate([vectors, np.repeat(vectors[:20], 10, axis=0)])
    rows = dict(zip(IDS, vectors[draw.permutation(len(IDS))], strict=True))
    for name, ids in {"clip": IDS, **{f"clip{k}": IDS[k::PARTS] for k in range(PARTS)}}.items():
        store(f"{name}.h5", "clip", {id: rows[id] for id in ids})
    store("topics.h5", "clip", {"661": draw.normal(size=16), "662": draw.normal(size=16)})
    Path("topics.txt").write_text("661 a dog runs\n662 two cats\n")
    corpus = Corpus(["a dog runs", "two cats"], dim=3)
    for name, spec in (
        ("laff", "laff:dim=64,heads=4"),
        ("xclip", "xpool:dim=8,frames=2"),
        ("tiny", "laff:dim=6,heads=3"),
    ):
        videos = [Input("frames", 8, True)] if name == "xclip" else [Input("clip", 16)]
        told = describe(spec, videos, [], ["bow:min_count=1"], corpus, {})
        torch.manual_seed(1)
        save_head(f"{name}.safetensors", told, rebuild(told).state_dict())
    return tmp_path


def ok(ran: Any) -> None:
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("how", ["cosine", "laff", "tiny", "stored"])
def test_the_run_of_a_gallery_is_that_of_its_parts_merged_byte_for_byte(avs: Avs, collection: Path, how: str) -> None:
    line: list[object] = ["--vectors", "topics.h5"] if how == "cosine" else ["--topics", "topics.txt"]
    if how != "cosine":
        line += ["--head", f"{'tiny' if how == 'tiny' else 'laff'}.safetensors"]
    stores = {name: f"{name}.h5" for name in ("clip", *(f"clip{k}" for k in range(PARTS)))}
    if how == "stored":
        for number in range(PARTS):
            ok(avs("extract", "clip.h5", *HEAD, "--shard", f"{number + 1}/{PARTS}", "-o", f"of{number}.h5"))
        ok(avs("extract", "clip.h5", *HEAD, "-o", "of.h5"))
        stores = {"clip": "of.h5", **{f"clip{k}": f"of{k}.h5" for k in range(PARTS)}}
    for name, path in stores.items():
        ok(avs("search", path, *line, "--depth", 300, "-o", f"{name}.run", "--threads", 1 + (name == "clip")))
    parts = [f"clip{k}.run" for k in range(PARTS)]
    for order in (parts, parts[::-1]):
        ok(avs("fuse", "--method", "merge", "--depth", 300, "--tag", "avs", *order, "-o", "merged.run"))
        assert Path("merged.run").read_bytes() == Path("clip.run").read_bytes()
    together = [path for name, path in stores.items() if name != "clip"]
    ok(avs("search", *together, *line, "--depth", 300, "-o", "together.run"))
    assert Path("together.run").read_bytes() == Path("clip.run").read_bytes()
    assert len(Path("clip.run").read_text().splitlines()) == 600


def test_runs_over_the_same_shots_are_not_merged(avs: Avs, collection: Path) -> None:
    Path("a.run").write_text("1 Q0 s1 1 0.5 x\n1 Q0 s2 2 0.25 x\n")
    Path("b.run").write_text("1 Q0 s2 1 0.5 x\n")
    ran = avs("fuse", "--method", "merge", "a.run", "b.run", "-o", "merged.run")
    assert (ran.returncode, len(ran.stderr.splitlines())) == (3, 1)
    assert "topic 1: shot s2 has the scores 0.25 and 0.5; merge takes runs over disjoint parts" in ran.stderr
    assert not Path("merged.run").exists()


def test_a_store_of_a_heads_vectors_stands_for_those_of_its_features(avs: Avs, collection: Path) -> None:
    ok(avs("extract", "clip.h5", *HEAD, "-o", "laff.h5", "--dtype", "float32"))
    line = (*HEAD, "--topics", "topics.txt", "--times", "seconds.tsv")
    ok(avs("search", "laff.h5", *line, "-o", "stored.run"))
    ok(avs("search", "clip.h5", *line, "-o", "direct.run"))
    stored, direct = (
        {tuple(row.split()[:3:2]): float(row.split()[4]) for row in Path(name).read_text().splitlines()}
        for name in ("stored.run", "direct.run")
    )
    assert stored == pytest.approx(direct, abs=1e-6)
    ran = avs("search", "laff.h5", *line, "--missing", "skip", "-o", "stored.run")
    assert "so --missing has no effect" in ran.stderr
    told = avs("info", "laff.h5")
    assert told.returncode == 0 and "laff" in told.stdout


def test_an_extraction_that_is_killed_goes_on(avs: Avs, collection: Path) -> None:
    line = ["extract", "clip.h5", *HEAD, "--threads", "1", "-o"]
    ok(avs(*line, "whole.h5::laff"))
    # In a process of its own, since torch's threads do not survive a fork.
    program = (
        "import os, signal, sys; from avs_cli import cli; from avs_cli.io.store.writer import StoreWriter as Writer\n"
        "add = Writer.add\n"
        "Writer.add = lambda self, part: (add(self, part), os.kill(os.getpid(), signal.SIGKILL))\n"
        "cli.exit_code(sys.argv[1:])"
    )
    ran = subprocess.run([sys.executable, "-c", program, *line, "again.h5::laff"], timeout=120)
    assert ran.returncode == -signal.SIGKILL
    assert len([*Path("again.h5.parts").glob("*.h5")]) == 1 and not Path("again.h5").exists()
    ok(avs(*line, "again.h5::laff"))
    assert Path("again.h5").read_bytes() == Path("whole.h5").read_bytes()
    assert not Path("again.h5.parts").exists()


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        (("extract", "clip.h5", "--head", "xclip.safetensors", "-o", "o.h5"), 2, "looks at the frames of a shot"),
        (("extract", "clip.h5", *HEAD, "--model", "clip", "-o", "o.h5"), 2, "--model has no effect with --head"),
        (("extract", "clip.h5", *HEAD, "--fps", 2, "-o", "o.h5"), 2, "--fps has no effect with --head"),
        (("extract", "clip.h5", "--missing", "skip", "-o", "o.h5"), 2, "--missing has no effect without --head"),
        (("extract", "clip.h5", *HEAD, "-o", "clip.h5"), 2, "would overwrite clip.h5"),
        (("extract", "topics.txt", *HEAD, "-o", "o.h5"), 3, "topics.txt: not a feature store"),
        (("extract", "clip.h5", "--head", "none", "-o", "o.h5"), 3, "none"),
        (("extract", "clip.h5", *HEAD, "--shard", "3/2", "-o", "o.h5"), 2, "expected I/N"),
        (
            ("search", "laff.h5", "--head", "tiny.safetensors", "--topics", "topics.txt"),
            3,
            "the vectors of another head",
        ),
        (("search", "laff.h5", "--topics", "topics.txt"), 3, "search it with --head FILE"),
        (
            ("search", "laff.h5", *HEAD, "--topics", "topics.txt", "--explain", "why.tsv"),
            3,
            "no weights of features, since its vectors are stored",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    avs: Avs, collection: Path, line: tuple[object, ...], code: int, words: str
) -> None:
    if "laff.h5" in line:
        ok(avs("extract", "clip.h5", *HEAD, "-o", "laff.h5"))
    ran = avs(*line)
    assert (ran.returncode, len(ran.stderr.splitlines())) == (code, 1), ran.stderr
    assert words in ran.stderr
    assert not Path("o.h5").exists()


def test_a_shard_beyond_the_shots_is_an_empty_store(avs: Avs, collection: Path) -> None:
    """Of 2,500 shots there are ten blocks, which are not divided."""
    ok(avs("extract", "clip.h5", *HEAD, "--shard", "1/40", "-o", "o.h5"))
    with Store("o.h5") as empty:
        assert len(empty) == 0
