"""Rerank from Python: the same runs as those that `avs rerank` writes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stores import store

from avs_cli import cli
from avs_cli.errors import MismatchError, SpecError
from avs_cli.io.text.trec import write_run
from avs_cli.reporting import Reporter
from avs_cli.stages.rerank import rerank, rerank_runs
from avs_cli.types import Judgment, Run, Topic

Avs = Callable[..., Any]
FIRST: Run = {"1": {"car": 3.0, "cat": 2.0, "dog": 1.0}, "2": {"cat": 3.0, "dog": 2.0, "car": 1.0}}
SENTENCES = "dog a dog runs on the beach\ncar a car drives at night\ncat a cat sleeps\n"
MARKS = {"1": {"cat": Judgment(0), "dog": Judgment(1)}, "2": {"car": Judgment(1)}}
BANKS = ("--bank", "bank.h5", "--gallery-bank", "bank.h5")
TEXTS = {"1": "a puppy by the sea", "2": "a truck"}


class Notes(Reporter):
    """Keeps what is reported."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def note(self, message: str) -> None:
        self.messages.append(message)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sentences in the place of shots, a frame-level gallery, their topics, a query bank and a run."""
    folder = tmp_path_factory.mktemp("stores")
    (folder / "sentences.txt").write_text(SENTENCES)
    (folder / "topics.txt").write_text("".join(f"{id} {text}\n" for id, text in TEXTS.items()))
    for text, name in (("sentences", "shots"), ("topics", "topics")):
        line = ["extract", "--model", "minilm", "--text", folder / f"{text}.txt", "-o", folder / f"{name}.h5"]
        assert cli.exit_code([*map(str, line)]) == 0
    rows = {"car": [[0, 1], [0.1, 1]], "cat": [[1, 1]], "dog": [[1, 0], [-1, 0]]}
    store(folder / "frames.h5", "tiny", rows, frames=True)
    store(folder / "queries.h5", "tiny", {"1": [1, 0], "2": [0, 1]})
    store(folder / "bank.h5", "tiny", {"x": [0, 1], "y": [1, 1]})
    write_run(str(folder / "first.run"), FIRST, "first", 10)
    (folder / "scores").write_text("dog 0.9\ncat 0.1\n")
    (folder / "marks").write_text("1 0 cat 1 0\n1 0 dog 1 1\n2 0 car 1 1\n")
    return folder


@pytest.fixture
def avs(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., bytes]:
    """What `avs rerank` writes in the folder of the stores."""
    monkeypatch.chdir(made)

    def run(*arguments: object) -> bytes:
        line = ["rerank", "first.run", *arguments, "-o", tmp_path / "command.run"]
        assert cli.exit_code([*map(str, line)]) == 0
        return (tmp_path / "command.run").read_bytes()

    return run


def content(run: Run, path: Path) -> bytes:
    """A run as its file."""
    write_run(str(path), run, "reranked", 1000)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("line", "gallery", "options"),
    [
        (["--method", "framemax", "--vectors", "queries.h5", "--weight", 0.6], "frames.h5", {"weight": 0.6}),
        (["--method", "hubness", "--vectors", "queries.h5", "--bank", "bank.h5"], "frames.h5", {"bank": "bank.h5"}),
        (
            ["--method", "hubness:kind=dbnorm", "--vectors", "queries.h5", *BANKS],
            "frames.h5",
            {"bank": "bank.h5", "gallery_bank": "bank.h5"},
        ),
        (["--method", "neighbours:kind=hubs,k=1", "--depth", 2], "frames.h5", {"depth": 2}),
        (["--method", "neighbours", "--topics", "topics.txt"], "shots.h5", {"topics": TEXTS}),
        (["--method", "neighbours", "--topics", "topics.txt"], "shots.h5", {"topics": "topics.txt"}),
        (["--method", "scores", "--scores", "scores"], "", {"scores": "scores"}),
        (["--method", "scores", "--scores", "scores"], "", {"scores": {"": {"dog": 0.9, "cat": 0.1}}}),
        (
            ["--method", "feedback", "--qrels", "marks", "--topics", "topics.txt"],
            "shots.h5",
            {"qrels": MARKS, "topics": TEXTS},
        ),
        (["--method", "feedback:kind=nearest", "--qrels", "marks"], "shots.h5", {"qrels": "marks"}),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else str(value),
)
def test_a_reranked_run_is_the_commands_byte_for_byte(
    avs: Avs, tmp_path: Path, line: list[object], gallery: str, options: dict[str, Any]
) -> None:
    stores = [gallery] if gallery else []
    expected = avs(*line, *(["-g", gallery] if gallery else []))
    if "--vectors" in line:
        options = {**options, "vectors": "queries.h5"}
    run = rerank(FIRST, stores, method=str(line[1]), report=Notes(), **options)
    assert content(run, tmp_path / "stage.run") == expected


def test_dbsn_adds_the_scalings_that_sinkhorn_gives_the_shots_of_gallery_and_bank(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dense iteration on exponentiated cosines, over the whole gallery, though the run has but some shots."""
    monkeypatch.setattr("avs_cli.stages.rerank.CELLS", 40)  # the gallery in parts
    draw = np.random.default_rng(0)
    parts = {name: draw.normal(size=(size, 6)) for name, size in (("g", 30), ("b", 9), ("o", 12), ("q", 2))}
    units = {name: (rows / np.linalg.norm(rows, axis=1)[:, None]).astype("float32") for name, rows in parts.items()}
    for name, rows in units.items():
        named = {f"{name}{number}": row for number, row in enumerate(rows)}
        store(tmp_path / f"{name}.h5", "tiny", named, dtype="float32")
    tau, rows = 0.3, np.concatenate([units["g"], units["o"]]).astype(float)
    kernel = np.exp((rows @ units["b"].T.astype(float) - 1) / tau)
    u = np.full(42, 1 / 42)
    for _ in range(4):
        v = (1 / 9) / (kernel.T @ u)
        u = (1 / 42) / (kernel @ v)
    run = {f"q{number}": {f"g{shot}": 1.0 for shot in range(number, 30, 3)} for number in range(2)}
    monkeypatch.chdir(tmp_path)
    banks = {"vectors": "q.h5", "bank": "b.h5", "gallery_bank": "o.h5"}
    again = rerank(run, ["g.h5"], method=f"hubness:kind=dbsn,tau={tau},iterations=4", weight=1, **banks)
    for number, query in enumerate(units["q"].astype(float)):
        wanted = (units["g"] @ query + tau * np.log(u[:30]))[number::3]
        found = [again[f"q{number}"][f"g{shot}"] for shot in range(number, 30, 3)]
        assert found == pytest.approx((wanted - wanted.min()) / np.ptp(wanted), abs=1e-6)


@pytest.mark.parametrize(
    ("method", "topics", "weight"),
    [
        ("feedback", TEXTS, 0.75),
        ("feedback", None, 0.5),
        ("feedback:kind=nearest", TEXTS, 0.5),
        ("diverse", TEXTS, 1.0),
    ],
)
def test_the_weight_where_none_is_given_is_the_methods(
    avs: Avs, method: str, topics: dict[str, str] | None, weight: float
) -> None:
    options: dict[str, Any] = {"method": method, "topics": topics, "report": Notes()}
    options |= {"qrels": MARKS} if "feedback" in method else {}
    assert rerank(FIRST, ["shots.h5"], **options) == rerank(FIRST, ["shots.h5"], weight=weight, **options)
    assert rerank(FIRST, ["shots.h5"], **options) != rerank(FIRST, ["shots.h5"], weight=0.2, **options)


def test_several_runs_share_one_reading_of_the_evidence_and_keep_their_names(avs: Avs) -> None:
    notes = Notes()
    other = {"1": {"dog": 2.0, "bird": 1.0}}
    runs = rerank_runs({"first": FIRST, "other": other}, method="scores", scores={"": {"dog": 1.0}}, report=notes)
    assert runs["first"] == rerank(FIRST, method="scores", scores={"": {"dog": 1.0}}, report=Notes())
    assert [*runs["other"]["1"]] == ["dog", "bird"]
    assert notes.messages == [
        "first: 4 shots have no score in --scores and stay below those that have one",
        "other: 1 shots have no score in --scores and stay below those that have one",
    ]


def test_topics_select_what_is_reranked_by_range_or_by_value(avs: Avs) -> None:
    options: dict[str, Any] = {"method": "scores", "scores": "scores", "report": Notes()}
    whole = rerank(FIRST, **options)
    for topics in ("2-3", {"2": "a truck"}, [Topic("2", "a truck")]):
        assert rerank(FIRST, topics=topics, **options) == {"2": whole["2"]}
    with pytest.raises(MismatchError, match="no run has any"):
        rerank(FIRST, topics={"7": "x"}, **options)


def test_evidence_that_a_method_lacks_or_does_not_use_is_refused(avs: Avs) -> None:
    with pytest.raises(SpecError, match="needs the shots' vectors"):
        rerank(FIRST, method="framemax")
    with pytest.raises(SpecError, match="needs external scores"):
        rerank(FIRST, method="scores")
    with pytest.raises(SpecError, match="neighbours:kind=hubs uses no vectors of topics"):
        rerank(FIRST, ["frames.h5"], method="neighbours:kind=hubs", vectors="queries.h5")
    with pytest.raises(SpecError, match="scores uses no gallery"):
        rerank(FIRST, ["frames.h5"], method="scores", scores="scores")


def test_shots_and_topics_without_vectors_are_named(avs: Avs) -> None:
    strange = {"1": {"bird": 1.0, "dog": 0.5}}
    with pytest.raises(MismatchError, match="the gallery lacks 1 of the shots of the run: bird"):
        rerank(strange, ["frames.h5"], method="framemax", vectors="queries.h5")
    with pytest.raises(MismatchError, match="the run: no query for 1 of its topics: 3"):
        rerank({"3": {"dog": 1.0}}, ["frames.h5"], method="framemax", vectors="queries.h5")
