"""Several features of the same shots, sorted by id: in memory or, of many shots, by way of temporary files."""

from pathlib import Path

import numpy as np
import pytest

from avs_cli.io import texts
from avs_cli.io.mapped import MappedColumn
from avs_cli.io.store import joining, schema
from avs_cli.io.store.galleries import Galleries, JoinedGallery
from avs_cli.io.store.writer import Item, StoreWriter
from avs_cli.types import Shot


def store(path: Path, feature: str, ids: list[str]) -> str:
    with StoreWriter(path, feature, 2, {"model": "tiny"}) as writer:
        writer.add([Item(None, id, np.array([int(id[1:]), len(feature)])) for id in ids])
        writer.finish(ids)
    return str(path)


@pytest.fixture
def names(tmp_path: Path) -> list[str]:
    """A feature in two stores, one that lacks some of its shots and has others, and the first in another order."""
    ids = [f"s{number}" for number in np.random.default_rng(0).permutation(300).tolist()]
    written = {"a0": ("a", ids[:100]), "a1": ("a", ids[100:250]), "b": ("b", ids[60:]), "c": ("c", ids[249::-1])}
    return [store(tmp_path / f"{name}.h5", *of) for name, of in written.items()]


@pytest.mark.parametrize("at_once", [7, 150])
def test_shots_sorted_in_parts_are_those_sorted_at_once(
    names: list[str], monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    with Galleries(names) as galleries:
        whole = JoinedGallery(galleries, ["a", "b", "c"], 64)
        monkeypatch.setattr(joining, "AT_ONCE", at_once)
        monkeypatch.setattr(joining, "PIECE", 11)
        parts = JoinedGallery(galleries, ["a", "b", "c"], 64)
        assert isinstance(parts.ids.raw, MappedColumn) and isinstance(whole.ids.raw, np.ndarray)
        assert list(parts.ids) == list(whole.ids) == sorted(f"s{number}" for number in range(300))
        for (_, read), (_, other_read) in zip(parts.pieces(), whole.pieces(), strict=True):
            one, other = read(), other_read()
            assert list(one.ids) == list(other.ids)
            for feature in ("a", "b", "c"):
                assert np.array_equal(one.features[feature].vectors, other.features[feature].vectors)
                lacking = [(block.lacking or {}).get(feature, np.zeros(64)) for block in (one, other)]
                assert lacking[0].tolist() == lacking[1].tolist()
                there = one.features[feature].vectors[:, 1] > 0
                numbers = [int(id[1:]) for id in np.array(list(one.ids))[there]]
                assert one.features[feature].vectors[there, 0].tolist() == numbers
        assert parts.gaps(["a", "b"]) == whole.gaps(["a", "b"])
        assert parts.gaps(["a", "c"]) == {} and parts.count(["a", "b"], every=True) == 190
        assert parts.complete(20, 90) == whole.complete(20, 90)
        assert parts.places(["s17", "s4"]).tolist() == whole.places(["s17", "s4"]).tolist()


def test_gaps_count_all_shots_and_name_the_first(names: list[str]) -> None:
    with Galleries(names) as galleries:
        joined = JoinedGallery(galleries, ["a", "b", "c"], 64)
        gap = joined.gaps(["a", "b"])["b"]
        held = set(galleries.features["b"].ids)
        lost = [id for id in sorted(galleries.features["a"].ids) if id not in held]
        assert (gap.shots, gap.rich, gap.first) == (60, "a", lost[:4])
        assert joined.described_gap("b", gap).endswith(f"lacks 60 shots that {names[0]}::a, {names[1]}::a has: "
                                                       f"{', '.join(lost[:3])}, …")  # fmt: skip


def test_a_duplicate_is_found_whatever_part_its_digest_is_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "COMPARED", 16)
    ids = np.array([f"s{number}" for number in range(200)], "S")
    assert texts.twin([ids[:120], ids[120:]]) is None
    for number in range(0, 200, 17):
        assert texts.twin([ids, np.array([b"other", f"s{number}".encode()])]) == (f"s{number}".encode(), 0, 1)
        assert texts.twin([np.append(ids, ids[number : number + 1])]) == (f"s{number}".encode(), 0, 0)


def test_ids_stay_in_the_file(names: list[str]) -> None:
    with Galleries(names) as galleries:
        (column,) = galleries.features["b"].columns
        assert isinstance(column, MappedColumn) and isinstance(column[5:9], MappedColumn)
        assert column[5:9].tolist() == np.asarray(column)[5:9].tolist() == [column[k] for k in range(5, 9)]


def test_some_shots_are_described_as_all_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "PIECE", 3)
    shots = [Shot(f"s{number}", f"video{number % 3}.mp4", float(number), number + 0.5) for number in range(10)]
    with StoreWriter(tmp_path / "s.h5", "a", 2, {"model": "tiny"}) as writer:
        writer.add([Item(shot, shot.id, np.ones(2)) for shot in shots])
        writer.finish([])
    with Galleries([str(tmp_path / "s.h5")]) as galleries:
        joined = JoinedGallery(galleries, ["a"], 64)
        whole = joined.shots()
        assert whole == {shot.id: shot for shot in shots}
        assert joined.some_shots(["s7", "s0", "x"]) == {id: whole[id] for id in ("s0", "s7")}
        assert joined.some_shots(["x"]) == joined.some_shots([]) == {}
