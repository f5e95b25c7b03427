"""An option on the command line of a use in which it has no effect is refused, before files are read."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from avs_cli.cli import exit_code
from avs_cli.core.search.rerankers import rerankers
from avs_cli.core.search.rerankers.candidates import needs_of

TRAIN = "train c.txt --video v.h5 --text bow -o h.safetensors"
SEARCH = "search g.h5 -q dog"
RERANK = "rerank a.run -g g.h5 --vectors t.h5 --method"
IDLE = [
    (f"{TRAIN} --qrels q.txt", "--qrels has no effect without --validate"),
    (f"{TRAIN} --metric mir --patience 3", "--metric and --patience have no effect without --validate"),
    (f"{TRAIN} --weight-decay 0.1", "--weight-decay has no effect without --optimizer adamw"),
    (f"{TRAIN} --negated n.jsonl", "--negated has no effect without --objective negation"),
    (
        "train c.txt --video v.h5 --init i.safetensors -o h.safetensors --word-vectors w",
        "--word-vectors has no effect with --init, which includes word vectors",
    ),
    (
        "train c.txt --video v.h5 --text t.h5 -o h.safetensors --word-vectors w",
        "--word-vectors has no effect without a text encoder in --text",
    ),
    (f"{SEARCH} --field both", "--field has no effect with --query; it selects a text of --topics"),
    (f"{SEARCH} --explain e.tsv --missing zero", "--explain and --missing have no effect without --head"),
    (
        "search g.h5 --vectors t.h5 --weights w --device cpu",
        "--weights and --device have no effect with --vectors, which are encoded already",
    ),
    (
        "rerank a.run --method scores --scores s.txt -g g.h5 --allow-mismatch",
        "--gallery and --allow-mismatch have no effect with --method scores",
    ),
    (f"{RERANK} neighbours:kind=hubs", "--vectors has no effect with --method neighbours:kind=hubs"),
    (f"{RERANK} neighbours --bank b.h5", "--bank has no effect with --method neighbours"),
    (f"{RERANK} framemax --bank b.h5", "--bank has no effect with --method framemax"),
    (f"{RERANK} framemax --device cpu", "--device has no effect without topics to encode"),
    ("extract v.mp4 -o s.h5 --field query", "--field has no effect without --text"),
    ("extract v.mp4 -o s.h5 --json", "--json has no effect without --list-models"),
    ("extract --list-models --pool mean", "--pool has no effect with --list-models"),
    (
        "eval a.qrels a.run --baseline a --test t --seed 1",
        "--baseline, --test and --seed have no effect on a single run",
    ),
    ("eval a.qrels a.run b.run --test tukey --seed 1", "--seed has no effect with --test tukey"),
    ("eval a.qrels a.run b.run --latex -q", "--by-topic has no effect with --latex; --csv and --json print topics"),
    ("fuse a.run b.run --threads 1", "--threads has no effect with --method rrf; add --ltr to learn from judgments"),
    (
        "fuse a.run b.run --qrels q --step-2 lambdamart",
        "--qrels and --step-2 have no effect with --method rrf; add --ltr to learn from judgments",
    ),
    ("fuse a.run b.run --method weighted --qrels q --step-2 lambdamart", "--step-2 has no effect without --ltr"),
    ("fuse a.run b.run --ltr --qrels q --steps 1 --step-2 logistic", "--step-2 has no effect with --steps 1"),
    ("shots --msb t.tsv --detector content --workers 1", "--detector and --workers have no effect with --msb"),
    ("convert a.run b.run --trust-pickle", "--trust-pickle has no effect without a checkpoint"),
    ("convert a.run b.run --head laff --feature a=b", "--head and --feature have no effect without a checkpoint"),
    ("convert a.run b.run --frames", "--frames has no effect without a BigFile or an .npy"),
    ("convert a.run b.run --layout bigfile", "--layout has no effect without a store that becomes a folder"),
    ("convert c.pth c.safetensors --tag x", "--tag has no effect without a run"),
    ("convert c.txt d.txt --topics 1 --depth 9", "--topics and --depth have no effect without a run"),
]
OF_PICTURES = (
    "--shots s.tsv", "--fps 1", "--frames name", "--max-frames 2", "--pool max", "--frame-norm l2", "--batch-size 2",
    "--workers 1", "--timeout 9", "--shard 1/2", "--thumbnails 0", "--retry-failed",
)  # fmt: skip


@pytest.mark.parametrize(("line", "told"), IDLE)
def test_an_option_without_effect_is_refused(
    avs_here: Callable[..., Any], tmp_path: Path, line: str, told: str
) -> None:
    (tmp_path / "a.run").write_text("1 Q0 shot1_1 1 1 x\n")
    (tmp_path / "c.txt").write_text("video1#enc#0 a dog runs\n")
    ran = avs_here(*line.split())
    assert (ran.returncode, ran.stderr) == (2, f"avs: {told}\n")


@pytest.mark.parametrize("option", OF_PICTURES)
def test_what_is_about_pictures_has_no_effect_on_texts(avs_here: Callable[..., Any], option: str) -> None:
    ran = avs_here("extract", "--text", "t.txt", "-o", "t.h5", *option.split())
    assert (ran.returncode, ran.stderr) == (2, f"avs: {option.split()[0]} has no effect with --text\n")


def test_a_setting_for_other_runs_is_no_mistake(avs: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "a.qrels").write_text("1 0 shot1_1 1\n")
    (tmp_path / "a.run").write_text("1 Q0 shot1_1 1 1 x\n")
    (tmp_path / "avs.toml").write_text("seed = 4\n[eval]\nbaseline = 'b'\n")
    ran = avs("eval", "a.qrels", "a.run", env={"AVS_TEST": "t"})
    assert (ran.returncode, ran.stdout.split()) == (0, ["AP", "1.0000"])


@pytest.mark.parametrize(
    ("method", "looks_at"),
    [
        ("framemax", {"gallery", "queries"}),
        ("hubness", {"gallery", "queries", "bank"}),
        ("hubness:kind=qbnorm", {"gallery", "queries", "bank"}),
        ("hubness:kind=dbnorm", {"gallery", "queries", "bank", "gallery bank"}),
        ("hubness:kind=dbsn", {"gallery", "queries", "bank", "gallery bank"}),
        ("neighbours", {"gallery", "queries"}),
        ("neighbours:kind=hubs", {"gallery"}),
        ("scores", {"scores"}),
        ("diverse", {"gallery"}),
        ("feedback", {"gallery", "queries", "qrels"}),
        ("feedback:kind=nearest", {"gallery", "qrels"}),
    ],
)
def test_what_a_method_of_reranking_looks_at(method: str, looks_at: set[str]) -> None:
    assert needs_of(rerankers.load(method)).evidence == looks_at


def test_a_table_on_a_terminal_has_no_tag(capsys: pytest.CaptureFixture[str]) -> None:
    ours, theirs = os.openpty()
    with open(theirs, "w") as terminal, contextlib.redirect_stdout(terminal):
        assert exit_code(["search", "g.h5", "-q", "dog", "--tag", "x"]) == 2
    os.close(ours)
    assert capsys.readouterr().err == "avs: --tag has no effect on a table; give --output FILE\n"
