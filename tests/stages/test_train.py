"""Training as a Python function: what it writes is what `avs train` writes, and it says how it went."""

import inspect
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from avs_cli.commands import train as command
from avs_cli.errors import MismatchError, SpecError
from avs_cli.io.head_file import load_head
from avs_cli.stages import train
from avs_cli.stages.training_data import TrainingData

Avs = Callable[..., Any]
Hearing = Callable[[], Any]
TINY: dict[str, Any] = {"head": "laff:dim=8,heads=2", "batch_size": 8, "device": "cpu", "threads": 1}
LINE = ("--head", "laff:dim=8,heads=2", "--batch-size", 8, "--device", "cpu", "--threads", 1)


VIDEOS = ["a-clip.h5", "v-clip.h5"]
TEXTS = ["a-text.h5", "v-text.h5", "bow:min_count=1"]
STORES = [
    *(part for name in VIDEOS for part in ("--video", name)),
    *(part for name in TEXTS for part in ("--text", name)),
]


def test_the_function_writes_the_bytes_of_the_command(avs_here: Avs, data: Path) -> None:
    ran = avs_here("train", "a.txt", *STORES, "--validate", "v.txt", "--epochs", 2, "-o", "command.safetensors", *LINE)
    assert ran.returncode == 0, ran.stderr
    train.train(["a.txt"], VIDEOS, TEXTS, output="function.safetensors", validate=["v.txt"], epochs=2, **TINY)
    assert Path("function.safetensors").read_bytes() == Path("command.safetensors").read_bytes()


def test_the_defaults_are_those_of_the_command() -> None:
    ours, theirs = (inspect.signature(function).parameters for function in (train.train, command.train))
    renamed = {"videos": "video", "texts": "text"}
    defaults = {name: theirs[renamed.get(name, name)].default for name in ours if name != "report"}
    # A list that may be given several times is absent on the command line, and empty here.
    expected = {name: () if default is None else default for name, default in defaults.items()}
    assert {name: parameter.default for name, parameter in ours.items() if name != "report"} == expected
    assert {renamed.get(name, name) for name in ours} - {"report"} == {*theirs} - {"context"}


def test_what_it_returns_is_what_it_has_written(data: Path, hearing: Hearing) -> None:
    heard = hearing()
    trained = train.train(
        ["a.txt"], VIDEOS, TEXTS, output="h.safetensors", validate=["v.txt"], metric="SumR", epochs=3,
        learning_rate=0.01, report=heard, **TINY,
    )  # fmt: skip
    rows = [line.split(",") for line in Path("h.safetensors.csv").read_text().splitlines()]
    assert rows[0] == ["epoch", "loss", "SumR", "learning_rate", "seconds"]
    assert [[f"{row[name]:.6g}" for name in rows[0]] for row in trained.rows] == rows[1:]
    assert (trained.path, trained.metric, trained.unreadable) == ("h.safetensors", "SumR", ())
    values = [row["SumR"] for row in trained.rows]
    assert trained.best == max(values)
    assert values[trained.best_epoch - 1] == trained.best
    assert [note.split(":")[0] for note in heard.notes] == ["epoch 1", "epoch 2", "epoch 3"]
    # Forty captions are five batches of eight.
    assert (heard.totals, heard.advanced) == ({"training": 15}, {"training": 15})


def test_called_again_it_resumes_and_returns_the_whole_history(data: Path, hearing: Hearing) -> None:
    settings: dict[str, Any] = {"output": "h.safetensors", "validate": ["v.txt"], **TINY}
    whole = train.train(["a.txt"], VIDEOS, TEXTS, epochs=3, **{**settings, "output": "whole.safetensors"})
    train.train(["a.txt"], VIDEOS, TEXTS, epochs=1, **settings)
    heard = hearing()
    resumed = train.train(["a.txt"], VIDEOS, TEXTS, epochs=3, report=heard, **settings)
    assert heard.notes[0] == "resuming after epoch 1 of h.safetensors.last"
    assert [row["epoch"] for row in resumed.rows] == [1, 2, 3]
    assert [row["loss"] for row in resumed.rows] == [row["loss"] for row in whole.rows]
    assert Path("h.safetensors").read_bytes() == Path("whole.safetensors").read_bytes()
    with pytest.raises(MismatchError, match="from a training with seed 0, not 1; move it away"):
        train.train(["a.txt"], VIDEOS, TEXTS, epochs=3, seed=1, **settings)


def test_without_validation_there_is_no_best_value_and_the_last_epoch_is_kept(data: Path) -> None:
    trained = train.train(["a.txt"], VIDEOS[:1], ["bow:min_count=1"], output="h.safetensors", epochs=2, **TINY)
    assert (trained.metric, trained.best, trained.best_epoch) == ("", None, 2)
    assert load_head("h.safetensors").head["training"]["captions"] == 40


def test_a_head_that_does_not_improve_stays_the_untrained_one(data: Path, hearing: Hearing) -> None:
    settings: dict[str, Any] = {"validate": ["v.txt"], "learning_rate": 0.0, "patience": 1, **TINY}
    trained = train.train(["a.txt"], VIDEOS, TEXTS, output="h.safetensors", **settings)
    assert (trained.best_epoch, len(trained.rows)) == (0, 2)
    heard = hearing()
    again = train.train(["a.txt"], VIDEOS, TEXTS, output="h.safetensors", report=heard, **settings)
    assert again == trained
    assert "no improvement for more than 1 epochs" in heard.notes[-1]


def test_paths_may_be_one_or_several_texts_or_paths(data: Path) -> None:
    train.train(["a.txt"], ["a-clip.h5"], ["a-text.h5"], output="texts.st", validate=["a.txt"], epochs=1, **TINY)
    one = {"output": data / "paths.st", "validate": data / "a.txt", "epochs": 1, **TINY}
    trained = train.train(data / "a.txt", "a-clip.h5", [Path("a-text.h5")], **one)
    assert trained.path == str(data / "paths.st")
    assert Path("paths.st").read_bytes() == Path("texts.st").read_bytes()


def test_fine_tuning_needs_no_head_and_takes_none(data: Path) -> None:
    train.train(["a.txt"], VIDEOS[:1], TEXTS[:1], output="pre.safetensors", epochs=1, **TINY)
    own = {key: value for key, value in TINY.items() if key != "head"}
    train.train(["a.txt"], VIDEOS[:1], TEXTS[:1], output="tuned.safetensors", init="pre.safetensors", epochs=1, **own)
    assert load_head("tuned.safetensors").head["settings"] == load_head("pre.safetensors").head["settings"]
    with pytest.raises(SpecError, match="already defines the head"):
        train.train(["a.txt"], VIDEOS[:1], TEXTS[:1], output="t.safetensors", init="pre.safetensors", **TINY)


def test_by_default_notes_go_to_the_logger(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "avs_cli"):
        train.train(["a.txt"], VIDEOS[:1], ["bow:min_count=1"], output="h.safetensors", epochs=1, **TINY)
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["epoch 1"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"qrels": "v.qrels"}, "qrels and metric have no effect without"),
        ({"metric": "mir"}, "qrels and metric have no effect without"),
        ({"metric": "AP", "validate": ["v.txt"]}, "for captions, choose from mir, mAP, SumR"),
        ({"negated": "no.jsonl"}, "no effect without the negation objective"),
        ({"objective": "negation"}, "needs --negated FILE"),
        ({"texts": ["a-text.h5"], "word_vectors": "w.txt"}, "no effect without a text encoder"),
        ({"texts": []}, "a head needs --text"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(data: Path, settings: dict[str, Any], message: str) -> None:
    given = {"captions": ["a.txt"], "videos": VIDEOS, "texts": TEXTS, "output": "h.safetensors", **TINY, **settings}
    with pytest.raises(SpecError, match=message):
        train.train(**given)
    assert not Path("h.safetensors").exists()


def test_several_processes_do_not_train_with_negated_captions(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SpecError, match="runs in one process"):
        train.train(["a.txt"], VIDEOS, TEXTS, output="h.st", objective="negation", negated="no.jsonl", **TINY)


def test_negated_captions_are_read_with_their_rows(data: Path) -> None:
    records = [
        {
            "id": "a0#enc#0",
            "false": [{"id": "a1#enc#0", "falsesent": "no dog"}, {"id": "a2#enc#1", "falsesent": "none"}],
        },
        {"id": "a1#enc#0", "false": []},
        {"id": "a0#enc#0", "false": [{"id": "a3#enc#0", "falsesent": "nothing"}]},
    ]
    Path("no.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    with TrainingData(["a-clip.h5"], ["a-text.h5"]) as stores:
        pairs = stores.pairs(["a.txt"], "no.jsonl")
        places = stores.texts.places("sent", ["a1#enc#0", "a2#enc#1", "a3#enc#0"]).tolist()
        assert [(one.sentence, one.rows) for one in pairs.negated[0]] == [
            (sentence, (row,)) for sentence, row in zip(("no dog", "none", "nothing"), places, strict=True)
        ]
        assert [*pairs.negated] == [0]
        Path("no.jsonl").write_text('{"id": "a0#enc#0", "false": [{"id": "gone", "falsesent": "x"}]}\n')
        with pytest.raises(MismatchError, match=r"a-text\.h5::sent lacks the negated caption 'gone' of no\.jsonl"):
            stores.pairs(["a.txt"], "no.jsonl")
