"""`avs info`: what files hold, for people and for programs."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from avs_cli import cli
from avs_cli.io.head_file import save_head
from avs_cli.io.store.writer import Item, StoreWriter
from avs_cli.types import Shot

Avs = Callable[..., "subprocess.CompletedProcess[str]"]
Here = Callable[..., Any]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "a.h5"
    with StoreWriter(path, "clip", 3, {"model": "ViT", "sampling": {"fps": 2.0}}) as writer:
        writer.add([Item(Shot(f"s{i}", f"v{i // 2}.mp4", i, i + 1.5), f"s{i}", np.ones(3), b"jpeg") for i in range(3)])
        writer.finish(["s0", "s1", "s2"])
    with StoreWriter(path, "audio", 2, {"model": "ear"}, "float32", frame_level=True) as writer:
        writer.add([Item(None, "s0", np.ones((5, 2)))])
        writer.finish(["s0"])
    return path


def test_a_store_tells_its_features_and_shots(avs: Avs, store: Path) -> None:
    ran = avs("info", "a.h5")
    assert (ran.returncode, ran.stderr) == (0, "")
    first, *lines = ran.stdout.splitlines()
    assert first.startswith("a.h5: feature store, 0.0 MB")
    assert lines == [
        "  3 shots from 2 videos, 4 seconds, 3 thumbnails",
        "  audio  1 items, 5 vectors, 2 dimensions (float32, frame-level), 0.0 MB",
        "    model: ear",
        "  clip  3 items, 3 vectors, 3 dimensions (float16), 0.0 MB",
        "    model: ViT",
        "    sampling: fps 2.0",
    ]


def test_one_feature_of_a_store_may_be_asked_for(avs: Avs, store: Path) -> None:
    assert "clip" not in avs("info", "a.h5::audio").stdout
    ran = avs("info", "a.h5::smell")
    assert (ran.returncode, ran.stderr) == (3, "avs: a.h5: has no feature 'smell'; it has: audio, clip\n")


def test_json_has_every_number(avs: Avs, store: Path) -> None:
    (told,) = json.loads(avs("info", store, "--json").stdout)
    assert told["bytes"] == store.stat().st_size
    assert {key: told[key] for key in ("kind", "shots", "videos", "seconds", "thumbnails")} == {
        "kind": "feature store",
        "shots": 3,
        "videos": 2,
        "seconds": 4.5,
        "thumbnails": 3,
    }
    assert told["features"][0] == {
        "name": "audio",
        "items": 1,
        "vectors": 5,
        "dim": 2,
        "dtype": "float32",
        "frame_level": True,
        "bytes": 40,
        "provenance": {"model": "ear"},
    }


def test_runs_qrels_and_shot_tables_are_counted(avs: Avs, tmp_path: Path) -> None:
    (tmp_path / "a.run").write_text("661 Q0 s1 1 0.9 mine\n661 Q0 s2 2 0.8 mine\n662 Q0 s1 1 0.1 mine\n")
    (tmp_path / "a.qrels").write_text("1661 0 s1 1 1\n1661 0 s2 2 -1\n1661 0 s3 2 0\n")
    (tmp_path / "trec.qrels").write_text("301 0 d1 2\n302 0 d1 0\n")
    (tmp_path / "shots.tsv").write_text("shot\tvideo\tstart\tend\ns1\tv.mp4\t0\t2\ns2\tv.mp4\t2\t5.5\n")
    ran = avs("info", "a.run", "a.qrels", "trec.qrels", "shots.tsv")
    assert ran.returncode == 0
    assert ran.stdout.splitlines() == [
        "a.run: run mine, 2 topics, 3 rows, 1–2 shots per topic",
        "a.qrels: qrels, 1 topics, 3 rows, 1 relevant, 1 unjudged: 1 in stratum 1, 2 in stratum 2",
        "trec.qrels: qrels, 2 topics, 2 rows, 1 relevant, 0 unjudged: 2 in stratum 1",
        "shots.tsv: shots, 2 shots, 1 videos, 5.5 seconds",
    ]


def test_a_student_tells_its_settings_group_by_group(avs: Avs, tmp_path: Path) -> None:
    settings = {"config": {"embed_dim": 8, "text_cfg": {"layers": 2}}, "frames": 12, "mean": [0.5, 0.25]}
    told = {"kind": "teachclip", "settings": settings, "videos": [], "texts": [], "encoders": []}
    save_head(tmp_path / "s.safetensors", told, {"weight": torch.ones(3, 4)})
    assert avs("info", "s.safetensors").stdout.splitlines()[:4] == [
        "s.safetensors: student for --model teachclip, 0.00 million parameters, 0.0 MB",
        "  frames 12, mean [0.5, 0.25]",
        "  config: embed_dim 8",
        "  text_cfg: layers 2",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "x: no such file or directory"),
        (b"", "x: not a feature store, head, run, qrels or shot table"),
        (b"hello world\n", "x: not a feature store, head, run, qrels or shot table"),
        (b"\xff\xfe\x00", "not UTF-8 text"),
        (b"\x89HDF\r\n\x1a\n and no more", "x: damaged or incomplete feature store"),
        (b"1 Q0 s1 1 0.5 tag\n1 Q0 s2 2 high tag\n", "x:2:"),
    ],
)
def test_a_bad_file_is_one_line_and_exit_3(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    content: bytes | None,
    message: str,
) -> None:
    if content is not None:
        (tmp_path / "x").write_bytes(content)
    monkeypatch.chdir(tmp_path)
    code, (out, told) = cli.exit_code(["info", "x"]), capsys.readouterr()
    assert (code, out) == (3, "") and message in told and told.count("\n") == 1


# Prints which libraries a command line loaded that take longer to import than the command needs.
LOADED = (
    "import sys; from avs_cli.cli import exit_code; exit_code(sys.argv[1:]); "
    "print('loaded:', *sorted({'torch', 'transformers', 'timm', 'av', 'scipy', 'pandas'} & set(sys.modules)))"
)


@pytest.mark.parametrize("name", ["a.run", "a.qrels", "a.tsv", "a.h5"])
def test_a_file_that_is_no_head_is_told_without_loading_torch(store: Path, name: str) -> None:
    (store.parent / "a.run").write_text("731 Q0 s1 1 0.5 tag\n")
    (store.parent / "a.qrels").write_text("731 0 s1 1\n")
    (store.parent / "a.tsv").write_text("shot\tvideo\tstart\tend\ns0\tv0.mp4\t0.0\t1.0\n")
    line = [sys.executable, "-c", LOADED, "info", name]
    ran = subprocess.run(line, cwd=store.parent, capture_output=True, text=True, check=True)
    assert ran.stdout.startswith(f"{name}: ")
    assert ran.stdout.splitlines()[-1] == "loaded:"


def test_control_characters_of_other_peoples_files_do_not_reach_the_terminal(avs_here: Here, tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "a.h5", "clip", 3, {"model": "\x1b[31mViT\x9b2J"}) as writer:
        writer.add([Item(None, "s0", np.ones(3))])
        writer.finish(["s0"])
    (tmp_path / "a.run").write_text("661 Q0 s1 1 0.9 \x1b]0;title\x07mine\n")
    for line in (["info", "a.h5", "a.run"], ["info", "--json", "a.h5", "a.run"]):
        ran = avs_here(*line)
        assert ran.returncode == 0 and not set("\x1b\x9b\x07") & set(ran.stdout)
    assert [facts["kind"] for facts in json.loads(ran.stdout)] == ["feature store", "run"]
    assert json.loads(ran.stdout)[0]["features"][0]["provenance"] == {"model": "\x1b[31mViT\x9b2J"}
    assert "model: \\x1b[31mViT\\x9b2J" in avs_here("info", "a.h5").stdout
