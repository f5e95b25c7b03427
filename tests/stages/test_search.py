"""Search from Python: the same runs as those that `avs search` writes."""

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stores import store

from avs_cli import cli
from avs_cli.core.models.described import describe, rebuild
from avs_cli.core.models.layers import Input
from avs_cli.core.models.text.words import Corpus
from avs_cli.core.search.confidence import Calibration, Confidence
from avs_cli.errors import MismatchError, SpecError
from avs_cli.io.head_file import save_head
from avs_cli.io.store.reader import Store
from avs_cli.io.store.writer import Item, StoreWriter
from avs_cli.io.text.trec import read_run, write_run
from avs_cli.reporting import Reporter
from avs_cli.stages import search
from avs_cli.stages.sequences import first_shots as first
from avs_cli.stages.sequences import sequence
from avs_cli.types import Run, Shot, Topic

Avs = Callable[..., Any]
SENTENCES = "dog a dog runs on the beach\ncar a car drives at night\ncat a cat sleeps\nboat a boat at sea\n"
TOPICS = "1 a puppy by the sea\n2 a truck\n"
TEXTS = {"1": "a puppy by the sea", "2": "a truck"}


class Notes(Reporter):
    """Keeps what is reported."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def note(self, message: str) -> None:
        self.messages.append(message)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sentences in the place of shots, in minilm's space and in one of colours, and two heads on both."""
    folder = tmp_path_factory.mktemp("stores")
    (folder / "sentences.txt").write_text(SENTENCES)
    (folder / "topics.txt").write_text(TOPICS)
    for text, name in (("sentences", "shots"), ("topics", "topics")):
        line = ["extract", "--model", "minilm", "--text", folder / f"{text}.txt", "-o", folder / f"{name}.h5"]
        assert cli.exit_code([*map(str, line)]) == 0
    draw = np.random.default_rng(0)
    store(folder / "colour.h5", "colour", {id: draw.normal(size=3) for id in ("dog", "car", "cat")}, {"model": "eye"})
    with Store(folder / "shots.h5") as shots:
        dim, provenance = shots.dim, shots.provenance
    provenances = {"videos": {"minilm": provenance, "colour": {"model": "eye"}}, "texts": {"minilm": provenance}}
    for seed, name in enumerate(("one", "two")):
        videos = [Input("minilm", dim), Input("colour", 3)][: seed + 1]
        description = describe("laff:dim=8,heads=2", videos, [Input("minilm", dim)], [], Corpus(), provenances)
        torch.manual_seed(seed)
        save_head(folder / f"{name}.safetensors", description, rebuild(description).state_dict())
    return folder


@pytest.fixture
def avs(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Avs:
    """Runs `avs search` in the folder of the stores, with its outputs in `tmp_path`."""
    monkeypatch.chdir(made)

    def run(*arguments: object) -> None:
        assert cli.exit_code(["search", *map(str, arguments), "--threads", "1"]) == 0

    return run


def content(run: Run, path: Path, tag: str) -> bytes:
    """A run as its file."""
    write_run(str(path), run, tag, 1000)
    return path.read_bytes()


def test_a_run_is_the_commands_byte_for_byte(avs: Avs, tmp_path: Path) -> None:
    avs("shots.h5", "--topics", "topics.txt", "-o", tmp_path / "command.run")
    expected = (tmp_path / "command.run").read_bytes()
    for topics in ("topics.txt", Path("topics.txt"), TEXTS, [Topic(*pair) for pair in TEXTS.items()]):
        run = search.search(["shots.h5"], topics, threads=1)
        assert content(run, tmp_path / "stage.run", "avs") == expected


def test_stored_topics_are_searched_all_or_those_that_are_named(avs: Avs, tmp_path: Path) -> None:
    avs("shots.h5", "--vectors", "topics.h5", "--depth", 2, "-o", tmp_path / "command.run")
    every = search.search(["shots.h5"], vectors="topics.h5", depth=2, threads=1)
    assert content(every, tmp_path / "stage.run", "avs") == (tmp_path / "command.run").read_bytes()
    assert search.search(["shots.h5"], {"2": ""}, vectors="topics.h5", depth=2) == {"2": every["2"]}


def test_heads_give_the_runs_that_the_command_writes_to_a_folder(avs: Avs, tmp_path: Path) -> None:
    heads = ["one.safetensors", "two.safetensors"]
    named = [word for head in heads for word in ("--head", head)]
    line = ("shots.h5", "colour.h5", "--topics", "topics.txt", *named, "--missing", "zero")
    avs(*line, "-o", tmp_path / "runs")
    runs = search.search_heads(["shots.h5", "colour.h5"], TEXTS, heads, missing="zero", threads=1)
    assert [*runs] == ["one", "two"]
    for name, run in runs.items():
        assert content(run, tmp_path / "stage.run", name) == (tmp_path / "runs" / f"{name}.run").read_bytes()


def test_a_heads_run_is_the_same_alone_and_beside_others(avs: Avs) -> None:
    options: dict[str, Any] = {"missing": "skip", "vectors": ["topics.h5"], "report": Notes()}
    stores = ["shots.h5", "colour.h5"]
    both = search.search_heads(stores, "topics.txt", ["one.safetensors", "two.safetensors"], **options)
    assert search.search_heads(stores, "topics.txt", ["two.safetensors"], **options) == {"two": both["two"]}
    # A head reads the shots that its own features have.
    assert {topic: len(shots) for topic, shots in both["one"].items()} == {"1": 4, "2": 4}
    assert {topic: len(shots) for topic, shots in both["two"].items()} == {"1": 3, "2": 3}


def test_topics_are_encoded_for_a_head_as_the_store_of_them_was(avs: Avs) -> None:
    (encoded,) = search.search_heads(["shots.h5"], TEXTS, ["one.safetensors"]).values()
    (stored,) = search.search_heads(["shots.h5"], TEXTS, ["one.safetensors"], vectors=["topics.h5"]).values()
    assert [[*shots] for shots in encoded.values()] == [[*shots] for shots in stored.values()]
    for topic, shots in encoded.items():
        assert stored[topic] == pytest.approx(shots, abs=1e-3)  # the store holds 16 bits


def test_a_topics_score_is_the_weighted_mean_over_its_wordings(avs: Avs, tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("1\t3\ta puppy by the sea\n1\t-1\ta truck\n")
    apart = search.search_heads(["shots.h5"], TEXTS, ["one.safetensors"])["one"]
    together = search.search_heads(["shots.h5"], tmp_path / "t.tsv", ["one.safetensors"])["one"]
    expected = {shot: 0.75 * apart["1"][shot] - 0.25 * apart["2"][shot] for shot in apart["1"]}
    assert together["1"] == pytest.approx(expected, abs=1e-5)


def test_an_explanation_is_what_the_command_writes(avs: Avs, tmp_path: Path) -> None:
    line = ("shots.h5", "colour.h5", "--topics", "topics.txt", "--head", "two.safetensors", "--missing", "skip")
    avs(*line, "--explain", tmp_path / "weights.tsv", "-o", tmp_path / "two.run", "--times", tmp_path / "two.times")
    header, *lines = (tmp_path / "weights.tsv").read_text().splitlines()
    stores, heads = ["shots.h5", "colour.h5"], ["two.safetensors"]
    with search.searching_heads(stores, TEXTS, heads, missing="skip", threads=1, report=Notes()) as found:
        weights = list(found.explanation())
        assert found.runs["two"].seconds > 0
    assert header.split("\t") == [*search.FeatureWeight._fields]
    assert lines == [f"{w.head}\t{w.topic}\t{w.shot}\t{w.feature}\t{w.weight:.6f}" for w in weights]
    of_shots = [one for one in weights if one.shot]
    assert {one.feature for one in of_shots} == {"minilm", "colour"} and len(of_shots) == 2 * 3 * 2


def test_the_run_of_a_head_may_be_a_sequence(avs: Avs, tmp_path: Path) -> None:
    with Store("shots.h5") as shots:
        vectors, made = dict(zip(shots.ids, shots.read(shots.ids).vectors, strict=True)), shots.provenance
    times = [Shot(id, "a.mp4", 9.0 * k, 9.0 * k + 8) for k, id in enumerate(vectors)]
    films = store(tmp_path / "films.h5", "minilm", vectors, made, shots=times)
    avs(films, "--head", "one.safetensors", "-q", TEXTS["1"], "--then", TEXTS["2"], "-o", tmp_path / "then.run")
    runs = search.search_heads(films, TEXTS, "one.safetensors", threads=1)["one"]
    both = sequence({"": runs["1"]}, {"": runs["2"]}, films)[""]
    assert read_run(str(tmp_path / "then.run"))["query"] == both
    topics = {"1": TEXTS["1"], "3": f"{TEXTS['1']} > {TEXTS['2']}"}
    with search.searching_heads(films, topics, "one.safetensors", depth=2, threads=1) as found:
        assert found.runs["one"].run == {"1": first(runs["1"], 2), "3": first(both, 2)}
        with pytest.raises(MismatchError, match="no weights of features for sequences"):
            list(found.explanation())


def test_a_head_reads_sentences_with_what_is_to_be_absent_or_subtracts_their_scores(avs: Avs) -> None:
    def ranking(query: str, **settings: Any) -> dict[str, float]:
        return search.search_heads(["shots.h5"], {"q": query}, "one.safetensors", threads=1, **settings)["one"]["q"]

    sentence = ranking("a puppy -the sea", negation="sentence")
    assert sentence == ranking("a puppy without the sea")
    puppy, sea = ranking("a puppy"), ranking("the sea")
    expected = {shot: (puppy[shot] - 0.5 * sea[shot]) / 1.5 for shot in puppy}
    assert ranking("a puppy -the sea ^0.5") == pytest.approx(expected, abs=1e-5)
    with pytest.raises(SpecError, match="negation deo moves vectors in the space of a gallery"):
        ranking("a -b", negation="deo")
    with pytest.raises(MismatchError, match="like:dog is a shot, and heads take text only"):
        ranking("a like:dog")


def test_notes_go_to_the_logger_unless_a_reporter_takes_them(avs: Avs, caplog: pytest.LogCaptureFixture) -> None:
    stores, heads = ["shots.h5", "colour.h5"], ["two.safetensors"]
    gap = "colour.h5::colour lacks 1 shot that shots.h5::minilm has: boat; these shots are skipped"
    with pytest.raises(MismatchError, match="lacks 1 shot"):
        search.search_heads(stores, TEXTS, heads)
    with caplog.at_level(logging.WARNING, "avs_cli"):
        search.search_heads(stores, TEXTS, heads, missing="skip")
    assert [record.getMessage() for record in caplog.records] == [gap]
    caplog.clear()
    notes = Notes()
    search.search_heads(stores, TEXTS, heads, missing="skip", report=notes)
    assert (notes.messages, caplog.records) == ([gap], [])


def test_vectors_of_other_models_are_refused_or_noted(avs: Avs, tmp_path: Path) -> None:
    with Store("shots.h5") as shots:
        provenance, dim = {**shots.provenance, "model": "another"}, shots.dim
    store(tmp_path / "other.h5", "minilm", {"1": np.ones(dim)}, provenance)
    other, notes = str(tmp_path / "other.h5"), Notes()
    with pytest.raises(MismatchError, match="are incompatible: model is"):
        search.search(["shots.h5"], vectors=other)
    assert [*search.search(["shots.h5"], vectors=other, allow_mismatch=True, report=notes)] == ["1"]
    assert len(notes.messages) == 1 and "continuing anyway" in notes.messages[0]


def test_a_search_without_topics_is_refused(avs: Avs) -> None:
    with pytest.raises(SpecError, match="needs topics, their vectors or shots"):
        search.search(["shots.h5"])


def test_the_gallery_is_open_while_the_search_is_looked_at(avs: Avs) -> None:
    with search.searching(["shots.h5"], TEXTS) as found:
        assert [*found.run] == ["1", "2"] and found.seconds > 0
        assert len(found.gallery.take(np.array([0])).ids) == 1


def test_a_search_imports_only_what_it_uses(avs: Avs) -> None:
    """PyAV for texts, since they may be images; nothing of heads and measures without a head."""
    program = (
        "import sys; from avs_cli.stages.search import search; "
        "unused = {'av', 'avs_cli.core.evaluation', 'avs_cli.core.models.described', 'avs_cli.stages.heads', "
        "'avs_cli.io.store.galleries', 'transformers', 'scipy', 'pandas'}; "
        "search(['shots.h5'], vectors='topics.h5'); print(*sorted(unused & set(sys.modules))); "
        "search(['shots.h5'], {'1': 'a dog'}); print(*sorted(unused & set(sys.modules)))"
    )
    line = [sys.executable, "-c", program]
    assert subprocess.run(line, capture_output=True, text=True, check=True).stdout == "\nav\n"


def test_a_search_leaves_out_what_is_less_sure_than_asked(avs: Avs) -> None:
    with search.searching(["shots.h5"], TEXTS, confidence="always", report=Notes()) as found:
        sure = found.confidence
        whole = found.run
    assert sure and sure.calibration is None  # minilm
    of_shots = sure.of_run(whole)
    assert [*of_shots["1"].values()] == sorted(of_shots["1"].values(), reverse=True)
    least = of_shots["1"]["dog"]
    assert least > 0 and min(of_shots["1"].values()) < least
    notes = Notes()
    run = search.search(["shots.h5"], TEXTS, at_least=least, report=notes)
    expected = {
        topic: {shot: scores[shot] for shot in scores if of_shots[topic][shot] >= least}
        for topic, scores in whole.items()
    }
    assert run == expected and [*run["1"]] == ["boat", "dog"]
    assert any("not calibrated" in note for note in notes.messages)
    assert search.search(["shots.h5"], vectors="topics.h5", at_least=least)["1"].keys() == {"boat", "dog"}


def test_a_share_is_from_0_to_1_and_sentences_alone_have_confidences(avs: Avs, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="from 0 to 1"):
        search.search(["shots.h5"], TEXTS, at_least=1.5)
    with pytest.raises(MismatchError, match="no text model in its provenance; a confidence needs one"):
        with StoreWriter(tmp_path / "topics.h5", "colour", 3, {"model": "eye"}) as writer:
            writer.add([Item(None, "1", np.ones(3))])
            writer.finish(["1"])
        search.search(["colour.h5"], vectors=tmp_path / "topics.h5", at_least=0.5, report=Notes())
    picture = tmp_path / "dog.jpg"
    picture.write_bytes(b"")
    with pytest.raises(MismatchError, match="topic 5 has an example image"):
        search.check_sentences([Topic("4", "a dog"), Topic("5", str(picture))])


def test_topics_whose_best_shot_is_improbable_are_named() -> None:
    sure = Confidence(np.array([0.1, 0.2, 0.3]), Calibration(slope=10, margin=0.2))
    notes = Notes()
    search.doubt({"661": {"a": 0.4}, "662": {"b": 0.9}}, sure, notes)
    assert notes.messages == []
    search.doubt({"661": {"a": 0.2, "b": 0.1}, "662": {"b": 0.9}}, sure, notes)
    search.doubt({"query": {"a": 0.2}}, sure, notes)
    assert notes.messages == [
        "topic 661: probably nothing relevant in this gallery: the best shot has a confidence of 12%",
        "probably nothing relevant in this gallery: the best shot has a confidence of 12%",
    ]


def test_a_run_that_is_written_reads_back_as_it_was_found(avs: Avs, tmp_path: Path) -> None:
    run = search.search(["shots.h5"], TEXTS)
    content(run, tmp_path / "a.run", "x")
    again = read_run(str(tmp_path / "a.run"))
    assert {topic: [*shots] for topic, shots in again.items()} == {topic: [*shots] for topic, shots in run.items()}
