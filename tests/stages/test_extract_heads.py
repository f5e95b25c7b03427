"""Vectors of a head that are computed once: what a search makes of them, parts and resumption."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stores import store

from avs_cli.core.fusion.methods import methods
from avs_cli.core.models.described import describe, rebuild
from avs_cli.core.models.layers import Input
from avs_cli.core.models.text.words import Corpus
from avs_cli.errors import MismatchError, SpecError
from avs_cli.io.head_file import save_head
from avs_cli.io.store.reader import Store
from avs_cli.stages.extract_heads import extract_heads
from avs_cli.stages.search import search, search_heads, searching_heads
from avs_cli.types import Run, Shot

HEADS = {
    "afa": "afa:dim=32,frames=3",
    "laff": "laff:dim=64,heads=4",
    "sea": "sea:dim=32",
    "w2vvpp": "w2vvpp:dim=32",
}
TOPICS = {"1": "a dog runs", "2": "two cats", "3": "a car at night"}
SHOTS = 1300
IDS = [f"shot{k:04d}" for k in range(SHOTS)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shots in two features, in orders of their own, and heads over them whose texts are words."""
    folder, draw = tmp_path_factory.mktemp("features"), np.random.default_rng(0)
    shots = [Shot(id, f"{id[:-2]}.mp4", 0.0, 1.5) for id in IDS]
    store(folder / "clip.h5", "clip", {id: draw.normal(size=12) for id in IDS}, {"model": "tiny"}, shots=shots)
    framed = {id: draw.normal(size=(1 + k % 4, 8)) for k, id in enumerate(IDS[::-1])}
    store(folder / "frames.h5", "frames", framed, {"model": "tiny"}, frames=True)
    videos = [Input("clip", 12), Input("frames", 8, True)]
    corpus = Corpus(list(TOPICS.values()), dim=3)
    for name, spec in {**HEADS, "plain": "laff:dim=64,heads=4,fusion=mean", "xpool": "xpool:dim=8,frames=2"}.items():
        made_of = {"videos": {"clip": {"model": "tiny"}, "frames": {"model": "tiny"}}}
        told = describe(spec, videos, [], ["bow:min_count=1", "gru:min_count=1,hidden=4"], corpus, made_of)
        torch.manual_seed(1)
        save_head(folder / f"{name}.safetensors", told, rebuild(told).state_dict())
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the stores and heads, for outputs."""
    for path in made.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


STORES = ["clip.h5", "frames.h5"]


def of_features(name: str, depth: int = 1000, stores: list[str] = STORES) -> Run:
    return search_heads(stores, TOPICS, f"{name}.safetensors", depth=depth)[name]


@pytest.mark.parametrize(("dtype", "most"), [("float16", 0.0005), ("float32", 0.000001)])
@pytest.mark.parametrize("name", HEADS)
def test_scores_are_the_heads_apart_from_the_rounding_of_the_vectors(
    here: Path, name: str, dtype: Any, most: float
) -> None:
    assert extract_heads(STORES, "out.h5", f"{name}.safetensors", dtype=dtype) == f"out.h5::{name}"
    (stored,) = search_heads("out.h5", TOPICS, f"{name}.safetensors", depth=SHOTS).values()
    direct = of_features(name, SHOTS)
    spaces = 2 if name == "sea" else 1  # its score is the sum of two cosines
    for topic, scores in direct.items():
        assert stored[topic].keys() == scores.keys()
        assert max(abs(stored[topic][shot] - score) for shot, score in scores.items()) < spaces * most
        best = sorted(stored[topic].items(), key=lambda pair: (pair[1], pair[0]), reverse=True)
        assert [*stored[topic].items()] == best


def test_a_topics_wordings_count_by_their_weights(here: Path) -> None:
    Path("wordings.txt").write_text("1\t3\ta dog runs\n1\t-1\ttwo cats\n2\t0.5\ta dog runs\n")
    extract_heads(STORES, "out.h5", "sea.safetensors", dtype="float32")
    runs = [
        search_heads(stores, "wordings.txt", "sea.safetensors", depth=SHOTS)["sea"] for stores in ("out.h5", STORES)
    ]
    for topic in ("1", "2"):
        assert runs[0][topic] == pytest.approx(runs[1][topic], abs=2e-6)


def test_the_store_has_the_shots_and_says_which_head_it_is_of(here: Path) -> None:
    extract_heads(STORES, "out.h5::mine", "laff.safetensors")
    with Store("out.h5", "mine") as store:
        assert store.ids == IDS and store.dtype == np.float16 and store.dim == 64
        assert store.shots()["shot0017"] == Shot("shot0017", "shot00.mp4", 0.0, 1.5)
        assert store.provenance["features"] == {"clip": {"model": "tiny"}, "frames": {"model": "tiny"}}
        np.testing.assert_allclose(np.linalg.norm(store.vectors.astype(float), axis=1), 2, atol=1e-3)
    assert search_heads("out.h5::mine", TOPICS, "laff.safetensors").keys() == {"laff"}


def test_parts_hold_the_vectors_of_the_whole_and_their_runs_merge_to_its_run(here: Path) -> None:
    extract_heads(STORES, "whole.h5", "laff.safetensors", threads=1)
    parts = [f"part{k}.h5" for k in (1, 2, 3)]
    for number, part in enumerate(parts, start=1):
        extract_heads(STORES, part, "laff.safetensors", shard=(number, 3), threads=2)
    with Store("whole.h5") as whole:
        held: dict[str, bytes] = {}
        for part in parts:
            with Store(part) as store:
                assert 256 <= len(store) <= 512
                held |= {id: row.tobytes() for id, row in zip(store.ids, store.vectors, strict=True)}
        assert held == {id: row.tobytes() for id, row in zip(whole.ids, whole.vectors, strict=True)}
    of_whole = search_heads("whole.h5", TOPICS, "laff.safetensors", depth=100)["laff"]
    assert search_heads(parts, TOPICS, "laff.safetensors", depth=100)["laff"] == of_whole
    apart = [search_heads(part, TOPICS, "laff.safetensors", depth=100)["laff"] for part in parts]
    merged = methods.load("merge")(apart)
    for topic, scores in of_whole.items():
        assert {shot: merged[topic][shot] for shot in scores} == scores
        assert sum(score >= min(scores.values()) for score in merged[topic].values()) == 100


@pytest.mark.parametrize("name", ["laff", "xpool"])
def test_parts_of_features_that_are_searched_apart_merge_to_the_run_of_the_whole(here: Path, name: str) -> None:
    apart = []
    for k in range(5):
        stores = []
        for feature, frames in (("clip", False), ("frames", True)):
            with Store(f"{feature}.h5") as whole:
                some = IDS[k::5]
                block, provenance = whole.read(some), whole.provenance
            ends = range(len(some) + 1) if block.offsets is None else block.offsets
            rows = [block.vectors[ends[i] : ends[i + 1]] for i in range(len(some))]
            vectors = {id: row if frames else row[0] for id, row in zip(some, rows, strict=True)}
            store(f"{feature}{k}.h5", feature, vectors, provenance, frames=frames)
            stores.append(f"{feature}{k}.h5")
        apart.append(of_features(name, 100, stores))
    merged, whole = methods.load("merge")(apart), of_features(name, 100)
    for topic, scores in whole.items():
        best = sorted(merged[topic].items(), key=lambda pair: (pair[1], pair[0]), reverse=True)[:100]
        assert [*scores.items()] == best


def test_an_interrupted_extraction_goes_on_and_leaves_the_same_bytes(here: Path, hearing: Callable[[], Any]) -> None:
    extract_heads(STORES, "whole.h5", "laff.safetensors")

    class Stopped(Exception):
        pass

    class Stopping(type(hearing())):  # type: ignore[misc]
        def progress(self, label: str, total: float | None) -> Any:
            from contextlib import contextmanager

            @contextmanager
            def stopping() -> Any:
                def advance(steps: float = 1, what: str = "") -> None:
                    raise Stopped

                yield advance

            return stopping()

    with pytest.raises(Stopped):
        extract_heads(STORES, "again.h5", "laff.safetensors", report=Stopping())
    assert not Path("again.h5").exists() and len([*Path("again.h5.parts").iterdir()]) == 1
    heard = hearing()
    extract_heads(STORES, "again.h5", "laff.safetensors", report=heard)
    assert heard.totals == {"encoding": SHOTS - 1024} and heard.advanced == {"encoding": SHOTS - 1024}
    assert Path("again.h5").read_bytes() == Path("whole.h5").read_bytes()
    again = hearing()
    extract_heads(STORES, "again.h5", "laff.safetensors", report=again)
    assert again.totals == {"encoding": 0}


def test_vectors_of_one_head_are_no_others(here: Path) -> None:
    extract_heads(STORES, "out.h5", "laff.safetensors")
    with pytest.raises(
        MismatchError, match=r"out.h5::laff has the vectors of another head \(SHA-256 .{12}…\) than sea"
    ):
        search_heads("out.h5", TOPICS, "sea.safetensors")
    # The same head under another name is the same; other weights are another head.
    Path("copy.safetensors").write_bytes(Path("laff.safetensors").read_bytes())
    assert [*search_heads("out.h5", TOPICS, "copy.safetensors")] == ["copy"]
    with pytest.raises(MismatchError, match="has a different provenance: head is"):
        extract_heads(STORES, "out.h5::laff", "sea.safetensors")
    with pytest.raises(MismatchError, match=r"out\.h5 has the vectors of a head; search it with --head FILE"):
        search("out.h5", TOPICS)


def test_heads_with_and_without_stored_vectors_are_searched_together(here: Path) -> None:
    extract_heads(STORES, "out.h5", "laff.safetensors")
    both = search_heads([*STORES, "out.h5"], TOPICS, ["sea.safetensors", "laff.safetensors"])
    assert [*both] == ["sea", "laff"]
    assert both["sea"] == of_features("sea")
    assert both["laff"] == search_heads("out.h5", TOPICS, "laff.safetensors")["laff"]


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ("xpool", "xpool looks at the frames of a shot for each query, so no vector per shot can be stored"),
        ("plain", "vectors of laff:fusion=mean are not of unit length"),
    ],
)
def test_heads_without_such_a_vector_are_refused(here: Path, head: str, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        extract_heads(STORES, "out.h5", f"{head}.safetensors")
    assert not Path("out.h5").exists()


@pytest.mark.parametrize("missing", ["skip", "zero"])
def test_shots_that_lack_a_feature_are_skipped_or_have_zeros_as_in_a_search(
    here: Path, missing: Any, hearing: Callable[[], Any]
) -> None:
    with Store("clip.h5") as clip:
        rows, provenance = clip.read(IDS[5:]).vectors, clip.provenance
    store("few.h5", "clip", dict(zip(IDS[5:], rows, strict=True)), provenance)
    stores = ["few.h5", "frames.h5"]
    with pytest.raises(MismatchError, match="lacks 5 shots"):
        extract_heads(stores, "out.h5", "laff.safetensors")
    heard = hearing()
    extract_heads(stores, "out.h5", "laff.safetensors", missing=missing, dtype="float32", report=heard)
    assert len(heard.notes) == 1 and heard.totals == {"encoding": SHOTS - 5 * (missing == "skip")}
    stored = search_heads("out.h5", TOPICS, "laff.safetensors", depth=SHOTS)["laff"]
    direct = search_heads(stores, TOPICS, "laff.safetensors", depth=SHOTS, missing=missing, report=heard)["laff"]
    assert all(stored[topic] == pytest.approx(scores, abs=1e-6) for topic, scores in direct.items())


def test_stored_vectors_do_not_tell_weights_of_features(here: Path) -> None:
    extract_heads(STORES, "out.h5", "laff.safetensors")
    with (
        searching_heads("out.h5", TOPICS, "laff.safetensors") as found,
        pytest.raises(MismatchError, match="no weights of features, since its vectors are stored"),
    ):
        list(found.explanation())


def test_a_vector_that_no_head_can_have_given_is_refused(here: Path) -> None:
    extract_heads(STORES, "out.h5", "laff.safetensors")
    with Store("out.h5") as made:
        provenance, rows = made.provenance, made.read(IDS).vectors
    long = {id: row * (1 + (id == "shot0700")) for id, row in zip(IDS, rows, strict=True)}
    store("long.h5", "laff", long, provenance)
    with pytest.raises(MismatchError, match=r"long\.h5::laff: the vector of shot shot0700 is too long for this head"):
        search_heads("long.h5", TOPICS, "laff.safetensors")
