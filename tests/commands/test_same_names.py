"""Heads over one encoder on both ends, whose video and text features have one name: train, tune, search and teach."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_weights as tiny
from PIL import Image

from avs_cli.cli import exit_code
from avs_cli.io.head_file import load_head, save_head
from avs_cli.io.store.reader import open_store
from avs_cli.io.store.writer import Item, StoreWriter
from avs_cli.io.text.trec import read_run

Avs = Callable[..., Any]
PLACE = ("--threads", "1", "--device", "cpu")
COLOURS = ["red", "green", "blue", "white", "black", "grey"]
TOPICS = [
    ("661", "a red street", "The whole picture is red and shows a street."),
    ("662", "a blue dog", "Somewhere in it a dog runs that is blue."),
]
TRAIN = ("--text", "cap-clip.h5", "--epochs", "2", "--batch-size", "4", *PLACE)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Pictures and captions, encoded by one CLIP with small weights, and a head over both."""
    folder = tmp_path_factory.mktemp("made")
    draw = np.random.default_rng(0)
    (folder / "pictures").mkdir()
    for name in COLOURS:
        pixels = draw.integers(0, 256, (40, 40, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "pictures" / f"{name}.png")
    captions = [f"{name}#enc#{k} {what} {name}\n" for name in COLOURS for k, what in enumerate(("a dog in", "all is"))]
    (folder / "captions.txt").write_text("".join(captions))
    (folder / "topics.tsv").write_text("".join("\t".join(topic) + "\n" for topic in TOPICS))
    (folder / "narratives.tsv").write_text("".join(f"{id}\t{narrative}\n" for id, _, narrative in TOPICS))
    (folder / "weights").mkdir()
    tiny.MAKERS["clip"](folder / "weights")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("AVS_CACHE", str(folder / "cache"))
        clip = ("--model", "clip", "--weights", "weights", "--dtype", "float32", *PLACE)
        for line in (
            ("extract", "pictures", *clip, "-o", "clip.h5"),
            ("extract", "pictures", *clip, "--pool", "none", "-o", "frames.h5"),
            ("extract", "--text", "captions.txt", *clip, "-o", "cap-clip.h5"),
            ("extract", "--text", "topics.tsv", *clip, "-o", "topics.h5"),
            ("extract", "--text", "narratives.tsv", *clip, "-o", "narratives.h5"),
            ("train", "captions.txt", "--video", "clip.h5", *TRAIN, "--head", "laff:dim=16,heads=2",
             "-o", "h.safetensors"),
            ("train", "captions.txt", "--video", "frames.h5", *TRAIN, "--head", "xpool:dim=16,frames=2",
             "--objective", "contrastive", "-o", "t.safetensors"),
        ):  # fmt: skip
            assert exit_code(line) == 0, line
    yield folder


@pytest.fixture
def avs(made: Path, avs_here: Avs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Avs:
    """Runs the program where the stores are; what it writes goes there too, under names of each test's own."""
    monkeypatch.setenv("AVS_CACHE", str(made / "cache"))
    for path in made.iterdir():
        (tmp_path / path.name).symlink_to(path)
    return avs_here


def test_both_ends_of_a_head_know_where_their_vectors_come_from(made: Path) -> None:
    told = load_head(made / "h.safetensors").head
    (video,), (text,) = told["videos"], told["texts"]
    assert video["name"] == text["name"] == "clip"
    for end, store in ((video, "clip.h5"), (text, "cap-clip.h5")):
        with open_store(str(made / store)) as held:
            assert end["provenance"] == held.provenance
    assert "sampling" in video["provenance"] and "sampling" not in text["provenance"]


def test_a_head_is_searched_with_stored_vectors_and_with_its_own_encoder(avs: Avs) -> None:
    line = ("search", "clip.h5", "--head", "h.safetensors", "--topics", "topics.tsv", *PLACE)
    stored = avs(*line, "--vectors", "topics.h5")
    assert (stored.returncode, stored.stderr) == (0, "")
    assert {row.split()[2] for row in stored.stdout.splitlines()} == set(COLOURS)
    encoded = avs(*line, "--weights", "clip=weights")
    assert (encoded.returncode, encoded.stdout, encoded.stderr) == (0, stored.stdout, "")


def test_a_head_is_tuned_and_the_tuned_one_is_searched(avs: Avs) -> None:
    ran = avs(
        "train", "captions.txt", "--video", "clip.h5", *TRAIN, "--init", "h.safetensors", "-o", "tuned.safetensors"
    )
    assert ran.returncode == 0, ran.stderr
    line = ("search", "clip.h5", "--topics", "topics.tsv", "--vectors", "topics.h5", *PLACE)
    assert avs(*line, "--head", "tuned.safetensors").returncode == 0


def test_a_head_teaches_over_stores_and_the_student_is_searched(avs: Avs) -> None:
    ran = avs(
        "distill", "--captions", "captions.txt", "--video", "frames.h5", "--text", "cap-clip.h5", "--teacher",
        "t.safetensors", "--student", "afa:dim=16,frames=2", "--epochs", "1", "--batch-size", "4", "-o",
        "student.safetensors", *PLACE,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    line = ("search", "frames.h5", "--topics", "topics.tsv", "--vectors", "topics.h5", *PLACE)
    assert avs(*line, "--head", "student.safetensors").returncode == 0


def test_a_teacher_of_other_texts_teaches_when_it_is_allowed(avs: Avs) -> None:
    with open_store("cap-clip.h5") as store:
        made = {**store.provenance, "weights": "0" * 64}
        with StoreWriter("other.h5", "clip", store.dim, made, store.dtype.name) as writer:
            (block,) = store.blocks()
            writer.add([Item(None, id, row) for id, row in zip(block.ids, block.vectors, strict=True)])
            writer.finish(store.ids)
    line = (
        "distill", "--captions", "captions.txt", "--video", "frames.h5", "--text", "other.h5", "--teacher",
        "t.safetensors", "--student", "afa:dim=16,frames=2", "--epochs", "1", "--batch-size", "4", "-o",
        "student.safetensors", *PLACE,
    )  # fmt: skip
    ran = avs(*line)
    assert (ran.returncode, len(ran.stderr.splitlines())) == (3, 1)
    assert "t.safetensors was trained with a different 'clip' than that of other.h5::clip: weights is" in ran.stderr
    ran = avs(*line, "--allow-mismatch")
    assert ran.returncode == 0
    assert ran.stderr.splitlines()[0].endswith("; continuing anyway")


def test_a_head_that_0_1_0_wrote_with_the_texts_provenance_on_both_ends_is_searched_too(avs: Avs) -> None:
    kept = load_head("h.safetensors")
    (video,), (text,) = kept.head["videos"], kept.head["texts"]
    line = ("search", "clip.h5", "--topics", "topics.tsv", "--vectors", "topics.h5", *PLACE)
    save_head("old.safetensors", {**kept.head, "videos": [{**video, "provenance": text["provenance"]}]}, kept.weights)
    old = avs(*line, "--head", "old.safetensors")
    assert (old.returncode, old.stdout) == (0, avs(*line, "--head", "h.safetensors").stdout)
    other = {**text["provenance"], "weights": "0" * 64}
    save_head("other.safetensors", {**kept.head, "videos": [{**video, "provenance": other}]}, kept.weights)
    ran = avs(*line, "--head", "other.safetensors")
    assert ran.returncode == 3
    assert "was trained with a different 'clip' than that of clip.h5::clip: weights is" in ran.stderr


# The field of topics


def of_field(source: str, target: str, field: str) -> None:
    """A store as `avs extract --text FILE --field` writes it."""
    with open_store(source) as store, StoreWriter(
        target, "clip", store.dim, {**store.provenance, "field": field}, store.dtype.name
    ) as writer:  # fmt: skip
        (block,) = store.blocks()
        writer.add([Item(None, id, row) for id, row in zip(block.ids, block.vectors, strict=True)])
        writer.finish(store.ids)


def test_reranking_encodes_topics_with_local_weights_as_stored_ones_are(avs: Avs) -> None:
    assert avs("search", "clip.h5", "--vectors", "topics.h5", "-o", "near.run", *PLACE[:2]).returncode == 0
    line = ("rerank", "near.run", "--method", "neighbours", "-g", "clip.h5", *PLACE[:2])
    stored = avs(*line, "--vectors", "topics.h5")
    assert (stored.returncode, stored.stderr) == (0, "")
    encoded = avs(*line, "--topics", "topics.tsv", "--weights", "weights")
    assert (encoded.returncode, encoded.stdout, encoded.stderr) == (0, stored.stdout, "")


def test_narratives_are_encoded_by_the_heads_model_as_stored_ones_are(avs: Avs) -> None:
    of_field("narratives.h5", "stored.h5", "narrative")
    line = ("search", "clip.h5", "--head", "h.safetensors", "--topics", "topics.tsv", *PLACE)
    encoded = avs(*line, "--field", "narrative", "--weights", "clip=weights")
    assert encoded.returncode == 0, encoded.stderr
    assert encoded.stdout != avs(*line, "--weights", "clip=weights").stdout
    for asked in ((), ("--field", "narrative")):
        stored = avs(*line, "--vectors", "stored.h5", *asked)
        assert (stored.returncode, stored.stdout, stored.stderr) == (0, encoded.stdout, "")
    ran = avs(*line, "--vectors", "stored.h5", "--field", "query")
    assert ran.returncode == 3
    assert "stored.h5::clip encodes the topics' field 'narrative', not 'query'" in ran.stderr


def test_text_encoders_of_a_head_read_the_field_of_its_stores(avs: Avs) -> None:
    of_field("narratives.h5", "more.h5", "narrative")
    learned = ("train", "captions.txt", "--video", "clip.h5", *TRAIN, "--text", "bow:min_count=1")
    assert avs(*learned, "--head", "laff:dim=16,heads=2", "-o", "bow.safetensors").returncode == 0
    line = ("search", "clip.h5", "--head", "bow.safetensors", *PLACE)
    stored = avs(*line, "--topics", "topics.tsv", "--vectors", "more.h5")
    assert stored.returncode == 0, stored.stderr
    # The same with narratives in the place of queries, in topics and store.
    assert stored.stdout == avs(*line, "--topics", "narratives.tsv", "--vectors", "narratives.h5").stdout
    mixed = avs(*line, "--topics", "topics.tsv", "--vectors", "topics.h5")
    assert mixed.stdout != stored.stdout
    ran = avs(*line, "--topics", "topics.tsv", "--vectors", "topics.h5", "--field", "both")
    assert (ran.returncode, "encodes the topics' field 'query', not 'both'" in ran.stderr) == (3, True)


def test_one_loop_gives_the_table_of_query_narrative_and_both(avs: Avs) -> None:
    Path("q").write_text(
        "".join(f"{id} 0 {name} 1 {int(k == 0)}\n" for k, name in enumerate(COLOURS) for id in ("661", "662"))
    )
    fields = ("query", "narrative", "both")
    Path("runs").mkdir()
    for field in fields:
        ran = avs(
            "search", "clip.h5", "--head", "h.safetensors", "--topics", "topics.tsv", "--weights", "clip=weights",
            "--field", field, "--tag", field, "-o", f"runs/{field}.run", *PLACE,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
    runs = [read_run(f"runs/{field}.run") for field in fields]
    assert runs[0] != runs[1] != runs[2] != runs[0]
    ran = avs("eval", "q", *(f"runs/{field}.run" for field in sorted(fields)), "--json")
    assert ran.returncode == 0, ran.stderr
    assert {name for name in fields if name in ran.stdout} == set(fields)
    assert json.loads(ran.stdout)


# Weights of a head's encoders


@pytest.mark.parametrize(
    ("given", "code", "told"),
    [
        (["weights"], 2, "with --head, expected FEATURE=PATH"),
        (["sent=weights"], 2, "no text feature 'sent' is encoded; --weights applies to: clip"),
        (["clip=weights", "clip=weights"], 2, "duplicate weights for clip"),
        (["clip=nowhere"], 3, "nowhere: no such file or directory"),
        (["clip=spoilt"], 3, "h.safetensors was trained with a different 'clip' than that of spoilt: weights is"),
    ],
)
def test_weights_of_a_head_are_named_for_a_text_feature(avs: Avs, given: list[str], code: int, told: str) -> None:
    Path("spoilt").mkdir()
    for path in Path("weights").iterdir():
        (Path("spoilt") / path.name).write_bytes(path.read_bytes())
    (file,) = Path("spoilt").glob("*.safetensors")
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    options = [part for one in given for part in ("--weights", one)]
    line = ("search", "clip.h5", "--head", "h.safetensors", "--topics", "topics.tsv", *PLACE, *options)
    ran = avs(*line)
    assert (ran.returncode, len(ran.stderr.splitlines())) == (code, 1), ran.stderr
    assert told in ran.stderr
    if given == ["clip=spoilt"]:
        ran = avs(*line, "--allow-mismatch")
        assert (ran.returncode, "continuing anyway" in ran.stderr) == (0, True)


def test_weights_of_a_feature_that_a_store_holds_are_refused(avs: Avs) -> None:
    line = ("search", "clip.h5", "--head", "h.safetensors", "--topics", "topics.tsv", "--vectors", "topics.h5", *PLACE)
    ran = avs(*line, "--weights", "clip=weights")
    assert ran.returncode == 2
    assert "--weights clip=…: no text feature 'clip' is encoded" in ran.stderr
