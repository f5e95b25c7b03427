"""`avs search`: from stores and topics to a run."""

import contextlib
import io
import os
import pty
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stores import store

from avs_cli import cli
from avs_cli.commands import search as command
from avs_cli.core.search.exact import units
from avs_cli.io.store.reader import Store
from avs_cli.io.store.writer import StoreWriter
from avs_cli.types import Shot

Here = Callable[..., tuple[int, str, str]]
MADE_BY = {"model": "tiny", "spec": "tiny", "pooling": "mean"}


def gallery_of(path: Path, vectors: dict[str, list[float]], made: dict[str, Any] = MADE_BY) -> Path:
    """A store of shots of one video, 70 seconds apart."""
    shots = [Shot(id, "beach.mp4", 70.0 * k, 70.0 * k + 2.5) for k, id in enumerate(vectors)]
    return store(path, "tiny", vectors, made, shots=shots)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    """Runs the program in this process, where torch is loaded once: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, stdin: str | bytes = b"") -> tuple[int, str, str]:
        given = stdin.encode() if isinstance(stdin, str) else stdin
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        code = cli.exit_code([*map(str, arguments)])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    return gallery_of(tmp_path / "gallery.h5", {"a": [3, 4], "b": [0, 2], "c": [4, 3], "d": [0, 5]})


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    """Topics as the same encoder made them: one along each axis."""
    return store(tmp_path / "topics.h5", "tiny", {"661": [0, 1], "662": [7, 0]}, {**MADE_BY, "pooling": "none"})


def test_topics_become_a_run_with_ties_by_shot_id_descending(here: Here, gallery: Path, vectors: Path) -> None:
    code, out, told = here("search", gallery, "--vectors", vectors, "--depth", 3, "--tag", "mine")
    assert (code, told) == (0, "")
    assert [line.split()[:4] + line.split()[5:] for line in out.splitlines()] == [
        ["661", "Q0", "d", "1", "mine"],
        ["661", "Q0", "b", "2", "mine"],
        ["661", "Q0", "a", "3", "mine"],
        ["662", "Q0", "c", "1", "mine"],
        ["662", "Q0", "a", "2", "mine"],
        ["662", "Q0", "d", "3", "mine"],
    ]
    scores = [float(line.split()[4]) for line in out.splitlines()]
    assert scores == pytest.approx([1, 1, 0.8, 0.8, 0.6, 0], abs=1e-7)


def test_shards_give_the_run_of_the_whole_byte_for_byte(here: Here, tmp_path: Path, vectors: Path) -> None:
    made = {f"s{i}": np.random.default_rng(i).normal(size=2).tolist() for i in range(40)}
    whole = gallery_of(tmp_path / "whole.h5", made)
    shards = [gallery_of(tmp_path / f"{k}.h5", dict(list(made.items())[k::3])) for k in range(3)]
    here("search", whole, "--vectors", vectors, "-o", "whole.run", "--threads", 1)
    here("search", *shards, "--vectors", vectors, "-o", "shards.run", "--threads", 3)
    assert (tmp_path / "whole.run").read_bytes() == (tmp_path / "shards.run").read_bytes()
    assert len((tmp_path / "whole.run").read_text().splitlines()) == 80


def test_a_topics_file_chooses_among_the_vectors_and_a_gallery_may_come_from_a_pipe(
    here: Here, gallery: Path, vectors: Path, tmp_path: Path
) -> None:
    (tmp_path / "topics.txt").write_text("662 whatever the words\n")
    _, out, _ = here("search", "-", "--vectors", vectors, "--topics", "topics.txt", stdin=gallery.read_bytes())
    assert [line.split()[:3] for line in out.splitlines()] == [["662", "Q0", id] for id in "cadb"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["gallery.h5"], 2, "search needs one of --query TEXT, --like SHOT, --topics FILE and --vectors STORE"),
        (["gallery.h5", "-q", "a dog", "--topics", "t.txt"], 2, "search needs one of"),
        (["gallery.h5", "-q", "a dog", "--vectors", "topics.h5"], 2, "cannot be combined with --query"),
        (["gallery.h5", "--like", "a", "--topics", "t.txt"], 2, "--like SHOT goes alone or with --query TEXT"),
        (["gallery.h5", "--like", "a", "--then", "b"], 2, "--then TEXT follows a --query TEXT"),
        (["gallery.h5", "--topics", "t.txt", "--then", "b"], 2, "--then TEXT follows a --query TEXT"),
        (["gallery.h5", "-q", "a", "--then", " "], 2, "--then is empty; give what is to follow"),
        (["gallery.h5", "-q", "a", "--within", "3"], 2, "--within has no effect without --then"),
        (["gallery.h5", "-q", "a", "--then", "b", "--at-least", "0.5"], 2, "--at-least has no effect with --then"),
        (["gallery.h5", "--like", "a", "--field", "both"], 2, "--field has no effect with --like"),
        (["gallery.h5", "--like", "a", "--device", "cpu"], 2, "--device has no effect with --like alone"),
        (["gallery.h5", "--like", "a", "--at-least", "0.5"], 2, "--at-least has no effect with --like"),
        (["gallery.h5", "--like", "a", "--query", "b", "--head", "h"], 2, "--like has no effect with --head; search a"),
        (["gallery.h5", "--like", "e"], 3, "the gallery has no shot 'e'"),
        (["other.h5", "--like", "66"], 3, "the gallery has no shot '66'; did you mean 661?"),
        (["zero.h5", "--like", "663"], 3, "shot 663: zero vector: cosine undefined"),
        (["-", "--topics", "-"], 2, "- is stdin, which can be read once"),
        (["none.h5", "-q", "a dog"], 3, "none.h5: no such file or directory"),
        (["text.h5", "-q", "a dog"], 3, "text.h5: not a feature store"),
        (["gallery.h5::clip", "-q", "a dog"], 3, "has no feature 'clip'; it has: tiny"),
        (["gallery.h5", "gallery.h5", "-q", "a dog"], 3, "stores of a gallery must not share ids"),
        (["gallery.h5", "--vectors", "wide.h5"], 3, "wide.h5: vectors have 3 dimensions, those of the gallery 2"),
        (
            ["gallery.h5", "--vectors", "other.h5"],
            3,
            'other.h5 and gallery.h5::tiny are incompatible: model is "large" and "tiny"; encode the topics with',
        ),
        (["gallery.h5", "--vectors", "no-topics.h5"], 3, "no-topics.h5: no topics in this store"),
        (["gallery.h5", "-q", "nosuch.jpg"], 3, "nosuch.jpg: no such image; text ending in .jpg is read as a path"),
        (["gallery.h5", "-q", "dog.mp4"], 3, "dog.mp4: a video cannot be an example; give an image"),
        (["gallery.h5", "--topics", "pictures.tsv"], 3, "pictures.tsv: topic 661: gone.PNG: no such image"),
        (["gallery.h5", "-q", "a dog", "--field", "both"], 2, "--field has no effect with --query"),
        (["gallery.h5", "-q", "a dog", "--missing", "skip"], 2, "--missing has no effect without --head"),
        (["gallery.h5", "-q", "a dog", "--weights", "a", "--weights", "b"], 2, "several --weights need --head"),
        (["gallery.h5", "--vectors", "topics.h5", "--weights", "a"], 2, "--weights has no effect with --vectors"),
        (["gallery.h5", "--vectors", "zero.h5"], 3, "topic 663: zero vector"),
        (["gallery.h5", "--vectors", "topics.h5", "--topics", "t.txt"], 3, "topics.h5::tiny has no item '9'"),
        (["gallery.h5", "-q", "a dog"], 2, "unknown encoder 'tiny'"),
        (["unnamed.h5", "-q", "a dog"], 3, "no text model in its provenance; give --vectors"),
        (["empty.h5", "-q", "a dog"], 3, "empty.h5: no shots to search"),
        (["infinite.h5", "--vectors", "topics.h5"], 3, "infinite.h5::tiny: b: a value is NaN or infinite"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_is_one_line_and_no_run(
    here: Here, tmp_path: Path, gallery: Path, vectors: Path, arguments: list[str], code: int, message: str
) -> None:
    (tmp_path / "t.txt").write_text("9 a dog\n")
    (tmp_path / "text.h5").write_text("661 a dog")
    gallery_of(tmp_path / "wide.h5", {"661": [1, 2, 3]})
    gallery_of(tmp_path / "other.h5", {"661": [1, 2]}, {**MADE_BY, "model": "large"})
    gallery_of(tmp_path / "zero.h5", {"663": [0, 0]})
    gallery_of(tmp_path / "unnamed.h5", {"a": [1, 2]}, {"model": "tiny"})
    (tmp_path / "pictures.tsv").write_text("661\t1\ta dog\n661\t0.5\tgone.PNG\n")
    with StoreWriter(tmp_path / "no-topics.h5", "tiny", 2, MADE_BY) as writer:
        writer.finish([])
    with StoreWriter(tmp_path / "empty.h5", "tiny", 2, MADE_BY) as writer:
        writer.finish([])
    rows, spoilt = (np.array([[3, 4], [0, last]], np.float16).tobytes() for last in (2, np.inf))
    (tmp_path / "infinite.h5").write_bytes(gallery.read_bytes().replace(rows, spoilt))
    found, _, told = here("search", *arguments, "-o", "out.run")
    assert found == code and message in told and told.count("\n") == 1
    assert not (tmp_path / "out.run").exists()


def test_a_topic_without_a_narrative_is_named(here: Here, gallery: Path, vectors: Path, tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("661\ta glider\tAny kind.\n662\ta boat\n")
    told = "avs: t.tsv: topic 662 has no narrative; use --field query or both\n"
    assert here("search", gallery, "--topics", "t.tsv", "--field", "narrative") == (3, "", told)


@pytest.mark.parametrize("made_of", ["query", "narrative", "both"])
def test_the_field_of_stored_topics_is_that_of_their_store(
    here: Here, tmp_path: Path, gallery: Path, made_of: str
) -> None:
    # `avs extract --text` writes no field for queries.
    field = {} if made_of == "query" else {"field": made_of}
    store(tmp_path / "topics.h5", "tiny", {"661": [0, 1]}, {**MADE_BY, "pooling": "none", **field})
    (tmp_path / "t.tsv").write_text("661\ta glider\n")
    code, plain, told = here("search", gallery, "--vectors", "topics.h5")
    assert (code, told) == (0, "")
    assert here("search", gallery, "--vectors", "topics.h5", "--topics", "t.tsv") == (0, plain, "")
    for asked in ("query", "narrative", "both"):
        code, out, told = here("search", gallery, "--vectors", "topics.h5", "--field", asked)
        if asked == made_of:
            assert (code, out, told) == (0, plain, "")
        else:
            assert (code, out) == (3, "")
            assert f"topics.h5 encodes the topics' field '{made_of}', not '{asked}'" in told
            assert f"--field {made_of}" in told and f"`avs extract --text FILE --field {asked}`" in told


def test_a_name_that_ends_in_a_slash_is_a_folder_and_so_is_one_that_is_there(
    here: Here, tmp_path: Path, gallery: Path, vectors: Path
) -> None:
    assert here("search", gallery, "--vectors", vectors, "-o", "runs/new/") == (0, "", "")
    assert here("search", gallery, "--vectors", vectors, "-o", "runs/new", "--tag", "mine") == (0, "", "")
    assert here("search", gallery, "--vectors", vectors, "-o", "file") == (0, "", "")
    assert sorted(path.name for path in (tmp_path / "runs" / "new").iterdir()) == ["avs.run", "mine.run"]
    assert (tmp_path / "runs" / "new" / "avs.run").read_text() == (tmp_path / "file").read_text()


def test_times_are_the_seconds_of_the_search_shared_by_its_topics(
    here: Here, tmp_path: Path, gallery: Path, vectors: Path
) -> None:
    begun = time.perf_counter()
    assert here("search", gallery, "--vectors", vectors, "-o", "a.run", "--times", "seconds.tsv")[0] == 0
    whole = time.perf_counter() - begun
    rows = [line.split("\t") for line in (tmp_path / "seconds.tsv").read_text().splitlines()]
    assert [row[0] for row in rows] == ["661", "662"]
    seconds = [float(row[1]) for row in rows]
    assert seconds[0] == seconds[1] > 0
    assert sum(seconds) < whole
    code, out, _ = here("search", gallery, "--vectors", vectors, "-o", "a.run", "--times", "-")
    assert code == 0 and [line.split("\t")[0] for line in out.splitlines()] == ["661", "662"]
    assert here("search", gallery, "--vectors", vectors, "--times", "-")[0] == 2


def test_topics_of_another_model_are_searched_with_a_warning_when_it_is_allowed(
    here: Here, tmp_path: Path, gallery: Path
) -> None:
    store(tmp_path / "other.h5", "tiny", {"661": [0, 1]}, {**MADE_BY, "model": "large"})
    line = ("search", "gallery.h5", "--vectors", "other.h5")
    code, _, told = here(*line)
    assert (code, "use --allow-mismatch to continue with a warning" in told) == (3, True)
    code, out, told = here(*line, "--allow-mismatch")
    assert code == 0 and len(out.splitlines()) == 4
    assert told.splitlines() == [
        'avs: other.h5 and gallery.h5::tiny are incompatible: model is "large" and "tiny"; continuing anyway'
    ]


def test_shards_of_other_frame_rates_are_searched_with_one_warning(here: Here, tmp_path: Path, vectors: Path) -> None:
    for name, rate in (("a", 2.0), ("b", 1.0), ("c", 1.0)):
        made = {**MADE_BY, "sampling": {"fps": rate, "count": None}}
        gallery_of(tmp_path / f"{name}.h5", {name: [3, 4]}, made)
    code, out, told = here("search", "a.h5", "b.h5", "c.h5", "--vectors", vectors)
    assert (code, len(out.splitlines())) == (0, 6)
    assert told.splitlines() == [
        "avs: a.h5::tiny and b.h5::tiny differ in sampling.fps (2.0 and 1.0); scores may differ slightly"
    ]


# With the offline encoder


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sentences in the place of shots, by the text encoder that ships with the program."""
    folder = tmp_path_factory.mktemp("sentences")
    (folder / "shots.txt").write_text("dog a dog runs on the beach\ncar a car drives at night\ncat a cat sleeps\n")
    arguments = ["extract", "--model", "minilm", "--text", folder / "shots.txt", "-o", folder / "shots.h5"]
    assert cli.exit_code([*map(str, arguments)]) == 0
    return folder / "shots.h5"


def test_a_query_is_encoded_as_the_provenance_says_and_piped_as_a_run(here: Here, sentences: Path) -> None:
    code, out, told = here("search", sentences, "--query", "a puppy by the sea", "--depth", 2)
    assert (code, told) == (0, "")
    rows = [line.split() for line in out.splitlines()]
    assert [row[:4] for row in rows] == [["query", "Q0", "dog", "1"], ["query", "Q0", rows[1][2], "2"]]


def test_shots_are_found_by_one_of_them_which_is_left_out(here: Here, gallery: Path) -> None:
    code, out, told = here("search", gallery, "--like", "a", "--depth", 2)
    assert (code, told) == (0, "")
    # Cosines with (.6, .8): .96 of c, .8 of b and d.
    assert [line.split()[:4] for line in out.splitlines()] == [["query", "Q0", "c", "1"], ["query", "Q0", "d", "2"]]
    _, out, _ = here("search", gallery, "--like", "a", "--like", "d", "--like", "a")
    # (.6, .8) + (0, 1): b before c.
    assert [line.split()[2] for line in out.splitlines()] == ["b", "c"]


def test_a_shot_of_several_vectors_is_searched_for_by_their_sum_and_found_by_its_best(
    here: Here, tmp_path: Path
) -> None:
    rows = {"a": [[1, 0], [0, 1]], "b": [[1, 1], [-1, -1]], "c": [[1, 0]]}
    store(tmp_path / "frames.h5", "tiny", rows, MADE_BY, frames=True)
    _, out, _ = here("search", "frames.h5", "--like", "a")
    found = {line.split()[2]: float(line.split()[4]) for line in out.splitlines()}
    assert found == pytest.approx({"b": 1, "c": 0.5**0.5})


def test_a_query_moves_towards_the_shots_that_are_liked(here: Here, sentences: Path) -> None:
    scores = {}
    for words in ((), ("--like", "cat")):
        _, out, _ = here("search", sentences, "--query", "a puppy by the sea", *words)
        scores[words] = {line.split()[2]: float(line.split()[4]) for line in out.splitlines()}
    assert [*scores["--like", "cat"]] == ["dog", "car"]
    with Store(sentences) as read:
        dog, cat = units(read.read(["dog", "cat"]).vectors)
    # Of query q and cat c, the moved one is q + c; products with q are those of the first search.
    q_dog, q_cat = scores[()]["dog"], scores[()]["cat"]
    size = (2 + 2 * q_cat) ** 0.5
    assert scores["--like", "cat"]["dog"] == pytest.approx((q_dog + dog @ cat) / size, abs=1e-3)


def test_a_shot_is_found_that_another_one_follows(here: Here, sentences: Path, tmp_path: Path) -> None:
    with Store(sentences) as read:
        vectors, made = dict(zip(read.ids, read.read(read.ids).vectors, strict=True)), read.provenance
    times = {"dog": ("a.mp4", 0, 4), "car": ("a.mp4", 4, 9), "cat": ("a.mp4", 30, 31)}
    shots = [Shot(id, *time) for id, time in times.items()]
    store(tmp_path / "films.h5", "minilm", vectors, made, shots=shots)
    topics = "cat a kitten\ndog a puppy by the sea\ncar a truck\n"
    _, out, _ = here("search", "films.h5", "--topics", "-", stdin=topics)
    rows = [row.split() for row in out.splitlines()]
    plain = {row[0]: float(row[4]) for row in rows if row[0] == row[2]}
    line = ("search", "films.h5", "--query", "a puppy by the sea", "--then", "a truck")
    code, out, told = here(*line, "--within", 10, "--depth", 1, "--times", "t.times")
    assert (code, told, [row.split()[:4] for row in out.splitlines()]) == (0, "", [["query", "Q0", "dog", "1"]])
    assert float(out.split()[4]) == pytest.approx(plain["dog"] + plain["car"])
    assert Path("t.times").read_text().startswith("query\t")
    _, out, _ = here(*line, "--then", "a kitten")
    assert [row.split()[2] for row in out.splitlines()] == ["dog"]
    assert float(out.split()[4]) == pytest.approx(sum(plain.values()))


def test_wordings_of_a_topic_are_blended_by_their_weights(here: Here, sentences: Path) -> None:
    topics = "1\t0.1\ta puppy\n1\t0.9\ta truck\n2\t0.9\ta puppy\n2\t0.1\ta truck\n"
    _, out, _ = here("search", sentences, "--topics", "-", "--depth", 1, stdin=topics)
    assert [line.split()[:3] for line in out.splitlines()] == [["1", "Q0", "car"], ["2", "Q0", "dog"]]


def test_one_query_on_a_terminal_is_a_table(sentences: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"COLUMNS": "100", "LINES": "30", "TERM": "dumb"}.items():
        monkeypatch.setenv(name, value)
    main, side = pty.openpty()
    with open(side, "w") as terminal, contextlib.redirect_stdout(terminal):
        assert cli.exit_code(["search", str(sentences), "-q", "a kitten"]) == 0
        terminal.flush()
        shown = os.read(main, 10_000).decode()
    os.close(main)
    assert re.search(r"rank\s+shot\s+video\s+time\s+score", shown)
    assert re.search(r"1\s+cat\s+0\.\d{3}", shown) and "Q0" not in shown


def test_the_table_says_where_in_the_video_a_shot_is(gallery: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from avs_cli.io.store.reader import open_gallery

    with open_gallery([str(gallery)]) as shots:
        command._show({"b": 0.93049, "unknown": 0.5}, shots)
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["1", "b", "beach.mp4", "1:10.0-1:12.5", "0.930"] in printed
    assert ["2", "unknown", "0.500"] in printed


@pytest.mark.parametrize(
    ("seconds", "written"), [(0, "0:00.0"), (72.5, "1:12.5"), (3725.04, "1:02:05.0"), (59.97, "1:00.0")]
)
def test_times_are_written_as_players_write_them(seconds: float, written: str) -> None:
    assert command._clock(seconds) == written


# Confidences


def test_confidences_are_a_run_and_the_run_itself_stays_as_it_was(here: Here, sentences: Path, tmp_path: Path) -> None:
    query = ("search", sentences, "--query", "a puppy by the sea")
    _, plain, _ = here(*query)
    code, out, told = here(*query, "--confidence", tmp_path / "c.run")
    assert (code, out) == (0, plain) and "this model is not calibrated" in told
    values = [float(line.split()[4]) for line in (tmp_path / "c.run").read_text().splitlines()]
    assert len(values) == len(plain.splitlines()) and all(0 <= value <= 1 for value in values)
    _, out, _ = here(*query, "--at-least", max(values))
    kept = plain.splitlines()[: values.count(max(values))]
    assert out.splitlines() == kept and len(kept) < len(values)


def test_the_table_shows_confidences_in_percent(gallery: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from avs_cli.core.search.confidence import Calibration, Confidence
    from avs_cli.io.store.reader import open_gallery

    with open_gallery([str(gallery)]) as shots:
        for calibration in (Calibration(slope=10, margin=0.1), None):
            command._show({"b": 0.3}, shots, Confidence(np.array([0.2]), calibration))
    printed = capsys.readouterr().out
    assert "50%" in printed and "confidence" in printed
    assert "100%" in printed and "against chance" in printed


def test_confidences_are_of_cosines(here: Here, sentences: Path) -> None:
    code, _, told = here("search", sentences, "-q", "a dog", "--head", "x.safetensors", "--at-least", 0.5)
    assert code == 2 and "--at-least has no effect with --head" in told
