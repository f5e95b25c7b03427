"""The feature store: what is written is read, what is broken is refused, and no kill loses or changes anything."""

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avs_cli.core.search.exact import Dot, best_shots, every_score, top_shots
from avs_cli.core.search.subset import Held
from avs_cli.errors import AvsError, FormatError, MismatchError
from avs_cli.io.store import reader
from avs_cli.io.store.reader import Store, features, open_gallery, open_store
from avs_cli.io.store.writer import Item, StoreWriter, StoreWriters
from avs_cli.types import Failure, Shot

DIM = 4
QUERIES = np.array([[1, 2, 0, -1], [0, 1, 1, 0]], np.float32)
MADE_BY = {"model": "tiny", "spec": "tiny", "versions": {"numpy": "2"}}


def items(count: int, frame_level: bool = False, first: int = 0) -> list[Item]:
    """Items s0, s1 …: the vectors of item i hold i, frame-level ones i % 3 + 1 rows; every fourth lacks a thumbnail."""
    made = []
    for i in range(first, first + count):
        vectors = np.full((i % 3 + 1, DIM), i, np.float32) if frame_level else np.full(DIM, i, np.float32)
        shot = Shot(f"s{i}", f"video{i // 5}.mp4", float(i), i + 1.5)
        made.append(Item(shot, f"s{i}", vectors, f"jpeg {i}".encode() if i % 4 else None))
    return made


def ids(made: Sequence[Item]) -> list[str]:
    return [item.id for item in made]


def write(path: Path, made: Sequence[Item], batch: int = 100, feature: str = "tiny", **settings: Any) -> Path:
    with StoreWriter(path, feature, DIM, settings.pop("provenance", MADE_BY), **settings) as writer:
        for first in range(0, len(made), batch):
            writer.add(made[first : first + batch])
        writer.finish(ids(made))
    return path


def beside(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.parent.iterdir() if entry.name != path.name)


# What is written is read


@pytest.mark.parametrize("frame_level", [False, True])
def test_a_store_gives_back_its_items_in_blocks_of_whole_items(tmp_path: Path, frame_level: bool) -> None:
    made = items(20, frame_level)
    write(tmp_path / "a.h5", made, frame_level=frame_level)
    with open_store(f"{tmp_path}/a.h5::tiny") as store:
        assert (store.ids, len(store), store.dim, store.frame_level) == (ids(made), 20, DIM, frame_level)
        assert (store.dtype, store.provenance) == (np.float16, MADE_BY)
        seen: list[str] = []
        for block in store.blocks(rows=6):
            assert len(block.vectors) <= 6
            offsets = np.arange(len(block.ids) + 1) if block.offsets is None else block.offsets
            for id, low, high in zip(block.ids, offsets[:-1], offsets[1:], strict=True):
                assert block.vectors[low:high].tolist() == np.atleast_2d(made[int(id[1:])].vectors).tolist()
                seen.append(id)
        assert seen == ids(made)


@pytest.mark.parametrize("frame_level", [False, True])
def test_items_are_read_by_id_in_the_order_asked_for(tmp_path: Path, frame_level: bool) -> None:
    with Store(write(tmp_path / "a.h5", items(9, frame_level), frame_level=frame_level)) as store:
        block = store.read(["s7", "s2", "s7"])
        assert list(block.ids) == ["s7", "s2", "s7"]
        lengths = [2, 3, 2] if frame_level else [1, 1, 1]
        assert block.vectors[:, 0].tolist() == np.repeat([7, 2, 7], lengths).tolist()
        with pytest.raises(MismatchError, match="tiny has no item 's9'"):
            store.read(["s9"])


def test_shots_and_thumbnails_come_with_the_vectors(tmp_path: Path) -> None:
    with Store(write(tmp_path / "a.h5", items(9), batch=4)) as store:
        assert store.shots()["s7"] == Shot("s7", "video1.mp4", 7.0, 8.5)
        assert (store.thumbnail("s7"), store.thumbnail("s8"), store.thumbnail("nobody")) == (b"jpeg 7", None, None)


def test_texts_have_neither_shots_nor_thumbnails(tmp_path: Path) -> None:
    path = write(tmp_path / "t.h5", [Item(None, "661", np.ones(DIM))])
    with Store(path) as store, h5py.File(path) as file:
        assert (store.shots(), store.thumbnail("661"), list(file)) == ({}, None, ["tiny"])


def test_ids_may_be_of_any_script_and_length(tmp_path: Path) -> None:
    names = ["日本", "é", "e" * 255, "shot00001_1"]
    with Store(write(tmp_path / "a.h5", [Item(None, name, np.ones(DIM)) for name in names])) as store:
        assert (store.ids, list(store.read(["日本"]).ids)) == (names, ["日本"])


def test_the_schema_is_the_one_that_is_written_down(tmp_path: Path) -> None:
    with h5py.File(write(tmp_path / "a.h5", items(6, True), frame_level=True)) as file:
        assert dict(file.attrs) == {"format": "avs-features", "format_version": 1}
        columns = [file[f"{group}/{name}"] for group in file for name in file[group]]
        found = {column.name[1:]: (column.shape, column.dtype.kind) for column in columns}
        assert found == {
            "tiny/ids": ((6,), "S"),
            "tiny/vectors": ((12, DIM), "f"),
            "tiny/offsets": ((7,), "i"),
            "shots/ids": ((6,), "S"),
            "shots/video": ((6,), "i"),
            "shots/start": ((6,), "f"),
            "shots/end": ((6,), "f"),
            "shots/videos": ((2,), "S"),
            "thumbnails/ids": ((4,), "S"),
            "thumbnails/jpeg": ((24,), "u"),
            "thumbnails/offsets": ((5,), "i"),
        }
        assert h5py.check_string_dtype(file["tiny/ids"].dtype).encoding == "utf-8"
        assert json.loads(file["tiny"].attrs["provenance"]) == MADE_BY


# Equal inputs, equal bytes


@settings(max_examples=12, deadline=None)
@given(st.permutations(range(12)), st.lists(st.integers(1, 5), min_size=12, max_size=12), st.booleans())
def test_batches_and_arrival_leave_no_trace(
    tmp_path_factory: pytest.TempPathFactory, arrival: list[int], sizes: list[int], frame_level: bool
) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    made = items(12, frame_level)
    whole = write(folder / "whole.h5", made, frame_level=frame_level)
    with StoreWriter(folder / "parts.h5", "tiny", DIM, MADE_BY, frame_level=frame_level) as writer:
        while arrival:
            size = sizes.pop()
            writer.add([made[i] for i in arrival[:size]])
            arrival = arrival[size:]
        writer.finish(ids(made))
    assert (folder / "parts.h5").read_bytes() == whole.read_bytes()


def test_time_leaves_no_trace(tmp_path: Path) -> None:
    first = write(tmp_path / "a.h5", items(5)).read_bytes()
    time.sleep(1.01 - time.time() % 1)  # times are kept in whole seconds
    assert write(tmp_path / "b.h5", items(5)).read_bytes() == first


def test_a_finished_store_stands_alone_and_finishing_it_again_leaves_it(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", items(5), batch=2)
    before = path.read_bytes(), path.stat().st_mtime_ns
    assert beside(path) == []
    write(path, [])
    with StoreWriter(path, "tiny", DIM, MADE_BY) as writer:
        assert writer.done == set(ids(items(5)))
        writer.finish(ids(items(5)))
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_more_items_join_a_finished_store_as_if_they_had_come_at_once(tmp_path: Path) -> None:
    at_once = write(tmp_path / "a.h5", items(10)).read_bytes()
    path = write(tmp_path / "b.h5", items(4))
    with StoreWriter(path, "tiny", DIM, MADE_BY) as writer:
        writer.add(items(6, first=4))
        writer.finish(ids(items(10)))
    assert path.read_bytes() == at_once


def test_items_that_the_order_does_not_name_are_kept(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", items(2))
    write(path, items(2, first=2))
    with Store(path) as store:
        assert store.ids == ["s0", "s1", "s2", "s3"]


def test_a_second_feature_keeps_the_first(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", items(7), feature="blip2")
    write(path, items(9, frame_level=True), feature="aaa", frame_level=True, dtype="float32")
    assert features(path) == ["aaa", "blip2"]
    with Store(path, "blip2") as old, Store(path, "aaa") as new:
        assert (old.ids, old.read(["s6"]).vectors[0, 0]) == (ids(items(7)), 6)
        assert (new.ids, new.dtype, new.read(["s8"]).vectors.shape) == (ids(items(9)), np.float32, (3, DIM))
        assert len(old.shots()) == 9 and old.thumbnail("s5") == b"jpeg 5" and old.thumbnail("s7") == b"jpeg 7"


# Killed and started again


def test_a_writer_killed_at_random_moments_ends_with_the_undisturbed_bytes(tmp_path: Path) -> None:
    started = time.monotonic()
    _write_in_batches(tmp_path / "whole.h5")
    needed = time.monotonic() - started
    path = tmp_path / "killed.h5"
    # Forked, not started anew: the imports would take longer than the writing.
    context = multiprocessing.get_context("fork")
    chance = random.Random(7)
    kills = 0
    while True:
        child = context.Process(target=_write_in_batches, args=(path,))
        child.start()
        child.join(chance.uniform(0, needed * (0.5 + kills / 10)))
        if child.exitcode is None:
            os.kill(child.pid or 0, signal.SIGKILL)
            child.join()
        if child.exitcode == 0:
            break
        assert child.exitcode == -signal.SIGKILL
        kills += 1
    assert kills >= 2
    assert path.read_bytes() == (tmp_path / "whole.h5").read_bytes()
    assert beside(path) == ["whole.h5"]


def _write_in_batches(path: Path) -> None:
    made = items(40, True)
    with StoreWriter(path, "tiny", DIM, MADE_BY, frame_level=True) as writer:
        todo = [item for item in made if item.id not in writer.done]
        for first in range(0, len(todo), 3):
            writer.add(todo[first : first + 3])
        writer.finish(ids(made))


def test_a_kill_loses_at_most_the_batch_in_hand(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    program = f"""
        import os, signal, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_store import *
        with StoreWriter(Path({str(path)!r}), "tiny", DIM, MADE_BY) as writer:
            writer.add(items(3))
            writer.add(items(3, first=3))
            writer.fail(Failure("s6", "decode", "no frames"))
            os.kill(os.getpid(), signal.SIGKILL)
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(program)])
    assert killed.returncode == -signal.SIGKILL and not path.exists()
    with StoreWriter(path, "tiny", DIM, MADE_BY) as writer:
        assert writer.done == {"s0", "s1", "s2", "s3", "s4", "s5"}
        assert writer.failed == {"s6": Failure("s6", "decode", "no frames")}


def test_what_a_kill_left_half_written_is_swept_away(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    parts = tmp_path / "a.h5.parts"
    parts.mkdir()
    (parts / ".000001.h5.x7.part").write_bytes(b"half")
    (tmp_path / ".a.h5.x8.part").write_bytes(b"half")
    (tmp_path / ".b.h5.x9.part").write_bytes(b"another store's")
    write(path, items(2))
    assert beside(path) == [".b.h5.x9.part"]


def test_parts_of_another_feature_wait_for_their_own_writer(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with StoreWriter(path, "one", DIM, MADE_BY) as writer:
        writer.add(items(3))
    write(path, items(2), feature="two")
    assert beside(path) == ["a.h5.parts"]
    with StoreWriter(path, "one", DIM, MADE_BY) as writer:
        assert writer.done == {"s0", "s1", "s2"}
        writer.finish(ids(items(3)))
    assert features(path) == ["one", "two"] and beside(path) == []


# Several features at once


def pair(path: Path) -> StoreWriters:
    return StoreWriters([StoreWriter(path, name, DIM, MADE_BY) for name in ("two", "one")])


@pytest.mark.parametrize("before", [0, 5])
def test_features_that_are_written_at_once_have_the_bytes_of_one_after_the_other(tmp_path: Path, before: int) -> None:
    made = items(12)
    path = tmp_path / "a.h5"
    for name in (path, tmp_path / "b.h5"):
        if before:
            write(name, made[:before], feature="three")
    write(tmp_path / "b.h5", made[1:], feature="two")
    write(tmp_path / "b.h5", made[:-1], feature="one")
    with pair(path) as writers:
        two, one = writers.writers
        for first in (0, 4, 8):
            one.add([item for item in made[first : first + 4] if item.id != "s11"])
            two.add([item for item in made[first : first + 4] if item.id != "s0"])
        writers.finish(ids(made))
    with Store(path, "one") as store:
        assert store.ids == ids(made[:-1]) and store.thumbnails == 9
    assert features(path) == sorted(["one", "two"] + ["three"] * bool(before))
    assert path.read_bytes() == (tmp_path / "b.h5").read_bytes()
    assert beside(path) == ["b.h5"]


def test_a_thumbnail_is_kept_once_and_another_writer_finds_it(tmp_path: Path) -> None:
    path, made = tmp_path / "a.h5", items(6)
    with pair(path) as writers:
        for writer in writers.writers:
            writer.add(made)
    sizes = [Store(part).thumbnails for part in sorted(path.with_name("a.h5.parts").iterdir())]
    assert sizes == [4, 0]  # of "two", which is finished first, and of "one"
    write(path, [], feature="one")  # goes on alone
    with StoreWriter(path, "one", DIM, MADE_BY) as writer:
        writer.finish(ids(made))
    with Store(path, "one") as store:
        assert store.ids == ids(made) and store.thumbnails == 4
    assert beside(path) == ["a.h5.parts"]
    with StoreWriter(path, "two", DIM, MADE_BY) as writer:
        writer.finish(ids(made))
    assert features(path) == ["one", "two"] and beside(path) == []


def test_features_that_are_written_at_once_have_one_lock_and_one_writer_each(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with pair(path), pytest.raises(AvsError, match="in use"), StoreWriter(path, "three", DIM, MADE_BY):
        pass
    with pytest.raises(MismatchError, match="feature 'one' has two writers"):
        StoreWriters([StoreWriter(path, "one", DIM, MADE_BY) for _ in range(2)])
    assert beside(path) == []


# One writer


def test_a_second_writer_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with (
        StoreWriter(path, "tiny", DIM, MADE_BY),
        pytest.raises(AvsError, match=r"a\.h5: in use by another avs process"),
        StoreWriter(path, "other", DIM, MADE_BY),
    ):
        pass
    with StoreWriter(path, "tiny", DIM, MADE_BY):
        assert beside(path) == ["a.h5.lock"]
    assert beside(path) == []


def test_the_lock_file_of_a_dead_writer_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / "a.h5.lock").touch()
    write(tmp_path / "a.h5", items(1))
    assert beside(tmp_path / "a.h5") == []


@pytest.mark.parametrize(
    ("otherwise", "message"),
    [
        ({"provenance": {**MADE_BY, "model": "large"}}, 'model is "tiny" and "large"'),
        ({"provenance": {**MADE_BY, "pooling": "max"}}, 'pooling is null and "max"'),
        # What a gallery warns of is refused in a store, whose provenance speaks for all its vectors.
        ({"provenance": {**MADE_BY, "precision": "bf16"}}, 'precision is null and "bf16"'),
        ({"provenance": {**MADE_BY, "sampling": {"fps": 1.0}}}, "sampling.fps is null and 1.0"),
        ({"dtype": "float32"}, "vectors are float16 of 4 and float32 of 4"),
        ({"frame_level": True}, "vectors are float16 of 4 and frame-level float16 of 4"),
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_a_feature_made_otherwise_is_not_mixed_in(
    tmp_path: Path, otherwise: dict[str, Any], message: str, finished: bool
) -> None:
    path = tmp_path / "a.h5"
    with StoreWriter(path, "tiny", DIM, MADE_BY) as writer:
        writer.add(items(2))
        if finished:
            writer.finish(["s0", "s1"])
    with pytest.raises(MismatchError, match=message):
        write(path, items(1, first=2), **otherwise)
    assert "a.h5.lock" not in beside(path)


def test_other_versions_of_the_programs_go_on_with_a_store(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", items(1))
    write(path, items(1, first=1), provenance={**MADE_BY, "versions": {"numpy": "3"}})
    with Store(path) as store:
        assert (len(store), store.provenance["versions"]) == (2, {"numpy": "3"})


# The ledger


def test_failures_are_kept_until_their_items_are_done(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with StoreWriter(path, "tiny", DIM, MADE_BY) as writer:
        writer.fail(Failure("s0", "decode", "empty file"))
        writer.fail(Failure("s1", "decode", "größe"))
        writer.add(items(1, first=2))
        writer.finish(["s0", "s1", "s2"])
    ledger = tmp_path / "a.h5.errors.jsonl"
    lines = [json.loads(line) for line in ledger.read_text(encoding="utf-8").splitlines()]
    assert lines[1] == {"feature": "tiny", "id": "s1", "stage": "decode", "message": "größe"}
    with StoreWriter(path, "tiny", DIM, MADE_BY) as writer:
        assert writer.failed["s0"].message == "empty file"
        writer.add(items(1))
        writer.finish(["s0", "s1", "s2"])
        assert list(writer.failed) == ["s1"]
    with Store(path) as store:
        assert store.ids == ["s0", "s2"]
    write(path, items(1, first=1))
    assert not ledger.exists()


def test_a_line_torn_by_a_kill_is_dropped_and_a_strange_one_is_named(tmp_path: Path) -> None:
    ledger = tmp_path / "a.h5.errors.jsonl"
    ledger.write_text('{"feature": "tiny", "id": "a", "stage": "x", "message": "m"}\n{"feature": "ti')
    with StoreWriter(tmp_path / "a.h5", "tiny", DIM, MADE_BY) as writer:
        assert list(writer.failed) == ["a"]
    ledger.write_text("[]\n")
    with pytest.raises(FormatError, match=r"errors\.jsonl:1: not a line of an error ledger"):
        write(tmp_path / "a.h5", [])


# What a writer refuses


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (Item(None, "shot 1", np.ones(DIM)), "'shot 1' cannot be an id"),
        (Item(None, "", np.ones(DIM)), "'' cannot be an id"),
        (Item(None, "x" * 256, np.ones(DIM)), "cannot be an id"),
        (Item(None, "a", np.ones(DIM + 1)), r"a: vectors are \(5,\), not \(D,\) with D = 4"),
        (Item(None, "a", np.ones((2, DIM))), r"a: vectors are \(2, 4\), not \(D,\)"),
        (Item(None, "a", np.full(DIM, 70000.0)), "a: 70000 is beyond float16; store it as float32"),
        (Item(None, "a", np.array([1, 2, np.nan, 0])), "a: a value is NaN or infinite"),
        (Item(None, "a", np.array([1, 2, -np.inf, 0])), "a: a value is NaN or infinite"),
        (Item(None, "s0", np.ones(DIM)), "duplicate id 's0'"),
        (Item(Shot("s0", "video0.mp4", 0.0, 9.0), "b", np.ones(DIM)), r"shot 's0' is .* in the store and"),
    ],
)
def test_a_bad_item_is_named_and_nothing_is_written(tmp_path: Path, item: Item, message: str) -> None:
    with StoreWriter(tmp_path / "a.h5", "tiny", DIM, MADE_BY) as writer:
        writer.add(items(1))
        with pytest.raises((MismatchError, FormatError), match=message):
            writer.add([*items(1, first=1), item])
        writer.add(items(1, first=1))
        writer.finish(["s0", "s1"])
    with Store(tmp_path / "a.h5") as store:
        assert store.ids == ["s0", "s1"]


def test_float32_takes_what_float16_cannot(tmp_path: Path) -> None:
    with Store(write(tmp_path / "a.h5", [Item(None, "a", np.full(DIM, 70000.0))], dtype="float32")) as store:
        assert store.read(["a"]).vectors.tolist() == [[70000.0] * DIM]


@pytest.mark.parametrize("name", ["shots", "thumbnails", "a/b", "", "..", "a::b", "a b"])
def test_a_feature_has_a_name_of_its_own(tmp_path: Path, name: str) -> None:
    with pytest.raises(MismatchError, match="invalid feature name"):
        StoreWriter(tmp_path / "a.h5", name, DIM, MADE_BY)


# What a reader refuses


def broken(path: Path, change: Any, frame_level: bool = False) -> Path:
    write(path, items(6, frame_level), frame_level=frame_level)
    with h5py.File(path, "r+") as file:
        change(file)
    return path


@pytest.mark.parametrize("group", ["tiny", "shots", "thumbnails"])
def test_a_group_that_is_something_else_is_refused(tmp_path: Path, group: str) -> None:
    path = broken(tmp_path / "a.h5", replaced(group, np.zeros(3)))
    with pytest.raises(FormatError, match=r"a\.h5: damaged or incomplete"), open_store(f"{path}::tiny") as store:
        store.shots()
        store.thumbnail("s1")


def replaced(name: str, values: Any) -> Any:
    def change(file: Any) -> None:
        del file[name]
        file[name] = values

    return change


NAMES = np.array([b"s0", b"s1", b"s2", b"s3", b"s4", b"s5"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda file: file.attrs.modify("format_version", 2),
            "feature store of version 2; this version of avs reads version 1",
        ),
        (lambda file: file.attrs.modify("format", "other"), "not a feature store"),
        (lambda file: file.attrs.__delitem__("format"), "not a feature store"),
        (lambda file: file["tiny"].attrs.modify("provenance", "[]"), "its provenance is not a JSON object"),
        (lambda file: file["tiny"].attrs.modify("provenance", "{"), "its provenance is not a JSON object"),
        (lambda file: file["tiny"].__delitem__("vectors"), "damaged or incomplete feature store"),
        (lambda file: file["tiny"].__delitem__("ids"), "damaged or incomplete feature store"),
        (replaced("tiny/ids", np.array([b"s0", b"s1", b"s2", b"s3", b"s1", b"s5"])), "duplicate id 's1'"),
        (replaced("tiny/ids", NAMES[:5]), "5 ids for 6 items"),
        (replaced("tiny/ids", np.arange(6)), "not a column of texts"),
        (replaced("tiny/vectors", np.zeros((6, 2, 2), np.float16)), r"vectors are \(6, 2, 2\) float16, not \(M, D\)"),
        (replaced("tiny/vectors", np.zeros((6, 4))), "not .* of float16 or float32"),
        (lambda file: [file.__delitem__(name) for name in list(file)], "contains no feature"),
    ],
)
def test_a_store_that_breaks_the_schema_is_refused(tmp_path: Path, change: Any, message: str) -> None:
    with pytest.raises(FormatError, match=message) as caught:
        open_store(str(broken(tmp_path / "a.h5", change)))
    assert str(caught.value).startswith(f"{tmp_path}/a.h5") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "offsets", [[0, 1, 3, 6, 7, 9], [0, 1, 3, 6, 7, 9, 11], [1, 2, 3, 6, 7, 9, 12], [0, 3, 3, 6, 7, 9, 12]]
)
def test_offsets_divide_the_vectors_among_the_items(tmp_path: Path, offsets: list[int]) -> None:
    path = broken(tmp_path / "a.h5", replaced("tiny/offsets", np.array(offsets)), frame_level=True)
    with pytest.raises(FormatError, match=r"offsets do not divide the 12 vectors among|6 ids for 5 items"):
        open_store(str(path))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -np.inf])
def test_a_value_that_is_no_number_is_found_in_the_stream_and_its_item_named(
    tmp_path: Path, dtype: str, value: float
) -> None:
    path = write(tmp_path / "a.h5", items(9, True), frame_level=True, dtype=dtype)
    with h5py.File(path, "r+") as file:
        file["tiny/vectors"][file["tiny/offsets"][5] + 2, 3] = value
    with open_store(str(path)) as store:
        with pytest.raises(FormatError, match=r"a\.h5::tiny: s5: a value is NaN or infinite"):
            list(store.blocks(4))
        with pytest.raises(FormatError, match="s5"):
            store.read(["s1", "s5"])
        assert store.read(["s4"]).vectors.shape == (2, DIM)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    "search",
    [
        lambda gallery: top_shots([QUERIES], gallery, 3, 2),
        lambda gallery: best_shots([Dot(QUERIES, 1e6)], gallery, 3, 2),
        lambda gallery: every_score(QUERIES, gallery, 2),
        lambda gallery: Held(gallery),
    ],
    ids=["cosine", "dot", "every", "held"],
)
def test_whatever_searches_names_the_first_item_with_a_value_that_is_no_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, value: float, search: Any
) -> None:
    path = write(tmp_path / "a.h5", items(300), dtype=dtype)
    with h5py.File(path, "r+") as file:
        for row in (250, 171, 290, 172):
            file["tiny/vectors"][row, 3] = value
    monkeypatch.setattr(reader, "BLOCK_BYTES", 64)
    with open_gallery([str(path)]) as gallery, pytest.raises(FormatError, match=r"a\.h5::tiny: s171: a value is NaN"):
        search(gallery)


def test_the_largest_numbers_are_numbers(tmp_path: Path) -> None:
    extremes = np.array([65504.0, -65504.0, 6e-8, 0.0])
    with Store(write(tmp_path / "a.h5", [Item(None, "a", extremes)])) as store:
        assert [block.vectors.max() for block in store.blocks()] == [65504.0]


@pytest.mark.parametrize("keep", [1, 100, 1000, 3000, -1])
def test_a_truncated_store_is_refused(tmp_path: Path, keep: int) -> None:
    whole = write(tmp_path / "a.h5", items(50)).read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[:keep])
    with pytest.raises(FormatError, match=r"cut\.h5: (not a feature store|truncated feature store|damaged)"):
        open_store(str(tmp_path / "cut.h5"))


def test_no_flipped_byte_ends_in_a_traceback(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.h5", items(6, True), frame_level=True).read_bytes()
    path = tmp_path / "b.h5"
    chance, refused = random.Random(3), 0
    for _ in range(200):
        data = bytearray(whole)
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
        try:
            with open_store(str(path)) as store:
                list(store.blocks())
                store.shots()
                store.thumbnail("s1")
        except AvsError:
            refused += 1
    assert 0 < refused < 200  # what is flipped in a vector is another number


def test_files_that_are_not_stores_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "empty.h5").touch()
    (tmp_path / "text.h5").write_text("661 a hang glider")
    for name, message in [("empty.h5", "an empty file"), ("text.h5", "not a feature store")]:
        with pytest.raises(FormatError, match=message):
            open_store(str(tmp_path / name))
    with pytest.raises(FileNotFoundError):
        open_store(str(tmp_path / "none.h5"))


def test_a_file_of_several_features_asks_which(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", items(1), feature="clip")
    write(path, items(1), feature="blip2")
    with pytest.raises(FormatError, match=r"has 2 features; choose one, as in .*a\.h5::blip2 \(blip2, clip\)"):
        open_store(str(path))
    with pytest.raises(FormatError, match="has no feature 'siglip2'; it has: blip2, clip"):
        open_store(f"{path}::siglip2")
    with open_store(f"{path}::clip") as store:
        assert store.feature == "clip"


def test_texts_of_variable_length_which_other_programs_write_are_read(tmp_path: Path) -> None:
    path = broken(tmp_path / "a.h5", replaced("tiny/ids", ["s0", "s1", "s2", "s3", "s4", "日本"]))
    with open_store(str(path)) as store:
        assert store.ids[-2:] == ["s4", "日本"]


def test_chunked_vectors_are_refused_with_the_cure(tmp_path: Path) -> None:
    def change(file: Any) -> None:
        del file["tiny/vectors"]
        file.create_dataset("tiny/vectors", data=np.zeros((6, 4), np.float16), compression="gzip")

    with pytest.raises(FormatError, match="not contiguous; h5repack -l CONTI"):
        open_store(str(broken(tmp_path / "a.h5", change)))


# Galleries


@pytest.mark.parametrize("frame_level", [False, True])
def test_a_gallery_is_the_union_of_its_stores(tmp_path: Path, frame_level: bool) -> None:
    made = items(10, frame_level)
    names = [str(write(tmp_path / f"{k}.h5", made[k::3], frame_level=frame_level)) for k in range(3)]
    with open_gallery(names) as gallery:
        assert gallery.ids == ids(made[0::3] + made[1::3] + made[2::3]) and len(gallery) == 10
        assert [id for block in gallery.blocks(2) for id in block.ids] == gallery.ids
        block = gallery.take(np.array([9, 0, 5]))
        assert list(block.ids) == [gallery.ids[9], "s0", gallery.ids[5]] == ["s8", "s0", "s4"]
        lengths = [3, 1, 2] if frame_level else [1, 1, 1]
        assert block.vectors[:, 0].tolist() == np.repeat([8, 0, 4], lengths).tolist()
        assert gallery.shots()["s8"].start == 8.0 and gallery.thumbnail("s5") == b"jpeg 5"


def test_an_id_in_two_stores_of_a_gallery_is_named_with_both(tmp_path: Path) -> None:
    names = [str(write(tmp_path / "a.h5", items(5))), str(write(tmp_path / "b.h5", items(5, first=4)))]
    with pytest.raises(MismatchError, match=r"'s4' is in both .*a\.h5::tiny and .*b\.h5::tiny"):
        open_gallery(names)


@pytest.mark.parametrize(
    ("otherwise", "message"),
    [
        ({"provenance": {**MADE_BY, "model": "large"}}, 'model is "tiny" and "large"'),
        ({"frame_level": True}, "float16 of 4 and frame-level float16 of 4"),
    ],
)
def test_stores_of_different_features_make_no_gallery(tmp_path: Path, otherwise: dict[str, Any], message: str) -> None:
    names = [str(write(tmp_path / "a.h5", items(2))), str(write(tmp_path / "b.h5", items(2, first=2), **otherwise))]
    with pytest.raises(MismatchError, match=f"are incompatible: .*{message}"):
        open_gallery(names)


# Memory


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to see a process's memory")
def test_a_store_is_streamed_and_looked_up_in_little_memory(tmp_path: Path) -> None:
    """160 MB of vectors, and less than 60 MB more in memory at any moment."""
    path = tmp_path / "large.h5"
    rows = np.ones((40_000, 2048), np.float16)
    with StoreWriter(path, "large", 2048, MADE_BY) as writer:
        for first in range(0, 40_000, 4000):
            writer.add([Item(None, f"s{i}", rows[i]) for i in range(first, first + 4000)])
        writer.finish([f"s{i}" for i in range(40_000)])
    program = f"""
        import numpy
        from pathlib import Path
        from avs_cli.io.store.reader import open_store
        # getrusage would give the parent's peak where that is higher.
        peak = lambda: int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
        before = peak()
        with open_store({str(path)!r}) as store:
            print(sum(len(block.vectors) for block in store.blocks()))
            for first in range(0, 40_000, 2000):
                store.take(numpy.arange(first, first + 2000, 50))
        print(peak() - before)
    """
    ran = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)
    count, grown = map(int, ran.stdout.split())
    assert count == 40_000 and 4_000 < grown < 60_000


def test_stores_of_other_processes_become_parts_and_their_room_is_removed(tmp_path: Path) -> None:
    def writer(path: Path, model: str = "m") -> StoreWriter:
        return StoreWriter(path, "clip", 2, {"model": model})

    rows = {id: np.array([number, 1.0]) for number, id in enumerate("abcd")}
    with writer(tmp_path / "here.h5") as here:
        here.add([Item(None, id, row) for id, row in rows.items()])
        here.finish(list(rows))
    with writer(tmp_path / "joined.h5") as joined:
        room = joined.room()
        for ids in ("cd", "ab"):
            with writer(room / f"{ids}.h5") as other:
                other.add([Item(None, id, rows[id]) for id in ids])
                other.finish(list(ids))
            joined.adopt(room / f"{ids}.h5")
        assert joined.done == set(rows)
        joined.finish(list(rows))
    assert (tmp_path / "joined.h5").read_bytes() == (tmp_path / "here.h5").read_bytes()
    with writer(tmp_path / "failed.h5") as failed:
        room = failed.room()
        with writer(room / "a.h5", "another") as other:
            other.add([Item(None, "a", rows["a"])])
            other.finish(["a"])
        with pytest.raises(MismatchError, match="different provenance"):
            failed.adopt(room / "a.h5")
    assert not room.parent.exists()
