"""A Dask cluster gives the bytes that this machine gives, whatever happens to its workers."""

import json
import logging
import multiprocessing.forkserver
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image
from stores import store

# Workers are forks of a server that has loaded what takes seconds to load, and they die by the dozen here.
os.environ["DASK_DISTRIBUTED__WORKER__MULTIPROCESSING_METHOD"] = "forkserver"
LOADED = ["distributed", "open_clip", "torch._dynamo", "avs_cli.cluster", "avs_cli.core.encoders"]
dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")

from avs_cli import cluster as module  # noqa: E402
from avs_cli.cluster import Cluster, cluster  # noqa: E402
from avs_cli.core import encoders as package  # noqa: E402
from avs_cli.core.models.described import describe, rebuild  # noqa: E402
from avs_cli.core.models.layers import Input  # noqa: E402
from avs_cli.core.models.text.words import Corpus  # noqa: E402
from avs_cli.errors import AvsError, FormatError, IncompleteError, SpecError, UnavailableError  # noqa: E402
from avs_cli.io.head_file import save_head  # noqa: E402
from avs_cli.io.store.reader import open_store  # noqa: E402
from avs_cli.stages import distill_heads, vector_cache  # noqa: E402
from avs_cli.stages.extract import extract  # noqa: E402
from avs_cli.stages.extract_heads import extract_heads  # noqa: E402
from avs_cli.stages.index import index  # noqa: E402
from avs_cli.stages.rerank import rerank_runs  # noqa: E402
from avs_cli.stages.search import search, search_heads, searching_heads  # noqa: E402
from avs_cli.types import Judgment  # noqa: E402

DATA = Path(__file__).with_name("data")
# Workers know the tests' own encoders.
PRELOAD = f"from avs_cli.core import encoders\nencoders.__path__ = [*encoders.__path__, {str(DATA / 'encoders')!r}]\n"
Here = Callable[..., Any]


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """The address of a scheduler with two workers; a task is given up when one worker died of it."""
    server = multiprocessing.forkserver._forkserver  # type: ignore[attr-defined]
    server._stop()  # that of the tests before, which has loaded less
    server.set_forkserver_preload(LOADED)
    server.ensure_running()
    settings = {"distributed.worker.daemon": False, "distributed.scheduler.allowed-failures": 0}
    with (
        dask.config.set(settings),
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
            preload=[PRELOAD],
        ) as running,
    ):
        yield running.scheduler_address
    server._stop()


@pytest.fixture
def engine(scheduler: str) -> Iterator[Cluster]:
    with cluster(scheduler) as found:
        yield found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """images/a_0.png … of one colour each, in the working folder, and the tests' own encoders."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(DATA / "encoders")])
    monkeypatch.setenv("AVS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "images").mkdir()
    for number, red in enumerate((10, 20, 255, 40, 50, 60)):
        Image.new("RGB", (16, 16), (red, 255, 255)).save(tmp_path / "images" / f"a_{number}.png")
    return tmp_path


def ledger(store: str) -> set[str]:
    return {json.loads(line)["id"] for line in Path(f"{store}.errors.jsonl").read_text().splitlines()}


# Extraction


def test_a_store_is_the_local_one_byte_for_byte_and_so_is_what_is_said(
    avs_here: Here, folder: Path, scheduler: str
) -> None:
    (folder / "images" / "b.png").write_bytes(b"no image")
    line = ("extract", "images", "--model", "colour:gain=2", "--pool", "none", "--workers", 1, "-o")
    here = avs_here(*line, "here.h5")
    there = avs_here(*line, "there.h5", "--engine", "dask", "--scheduler", scheduler)
    assert (here.returncode, there.returncode) == (5, 5)
    assert there.stderr == here.stderr.replace("here.h5", "there.h5") and "b.png" in there.stderr
    assert Path("there.h5").read_bytes() == Path("here.h5").read_bytes()
    assert ledger("there.h5") == ledger("here.h5") == {"b"}
    assert sorted(path.name for path in folder.glob("there.h5*")) == ["there.h5", "there.h5.errors.jsonl"]


def test_features_of_several_models_are_those_of_this_machine(folder: Path, engine: Cluster) -> None:
    models = ["colour", "colour:gain=2", "colour:gain=3"]
    extract("images", "here.h5", models, workers=1)
    extract("images", "there.h5", models[1], shard=(1, 2), workers=1)  # done before, in part
    assert extract("images", "there.h5", models, workers=1, engine=engine) == [
        f"there.h5::colour{gain}" for gain in ("", "-2", "-3")
    ]
    for name in ("colour", "colour-2", "colour-3"):
        with open_store(f"there.h5::{name}") as there, open_store(f"here.h5::{name}") as here:
            assert sorted(there.ids) == here.ids
            assert np.array_equal(there.read(here.ids).vectors, here.vectors)
    extract("images", "again.h5", models, workers=1, engine=engine)
    assert Path("again.h5").read_bytes() == Path("here.h5").read_bytes()


def test_a_killed_worker_costs_nothing_but_time(folder: Path, engine: Cluster) -> None:
    extract("images", "here.h5", "deadly", workers=1)
    Path("deadly").write_text("once")
    extract("images", "there.h5", "deadly", workers=1, engine=engine)
    assert not Path("deadly").exists()  # a worker was there, and died
    assert Path("there.h5").read_bytes() == Path("here.h5").read_bytes()
    assert not Path("there.h5.parts").exists() and not Path("there.h5.errors.jsonl").exists()


def test_a_shot_that_kills_every_worker_is_a_line_of_the_ledger_and_can_be_retried(
    folder: Path, engine: Cluster
) -> None:
    extract("images", "here.h5", "deadly", workers=1)
    Path("deadly").write_text("always")
    with pytest.raises(IncompleteError, match=r"1 of 6 shots are missing"):
        extract("images", "there.h5", "deadly", workers=1, engine=engine)
    assert ledger("there.h5") == {"a_2"}
    assert "workers that encoded it died" in Path("there.h5.errors.jsonl").read_text()
    Path("deadly").unlink()
    extract("images", "there.h5", "deadly", workers=1, retry_failed=True, engine=engine)
    assert Path("there.h5").read_bytes() == Path("here.h5").read_bytes()


def test_an_error_of_a_worker_is_that_of_this_machine(folder: Path, engine: Cluster) -> None:
    for message, given in (("is not a device", {"device": "gpu"}), ("fixed|fps", {"model": "colour:fps=2"})):
        with pytest.raises(AvsError, match=message) as raised:
            extract("images", "s.h5", **{"model": "colour", **given}, engine=engine)
        assert isinstance(raised.value, SpecError)


def test_an_index_is_that_of_this_machine_with_what_failed(folder: Path, engine: Cluster) -> None:
    for number in range(4):
        with av.open(f"images/{number}.mp4", "w") as container:
            stream = container.add_stream("mpeg4", rate=4)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for _ in range(4 * (number + 1)):
                picture = np.full((48, 64, 3), 60 * number, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
            container.mux(stream.encode())
    Path("images/broken.mp4").write_bytes(b"no video")
    for output, elsewhere in (("here.h5", None), ("there.h5", engine)):
        with pytest.raises(IncompleteError, match="1 of 5 videos could not be indexed"):
            index("images", output, ["colour", "tower"], shots="fixed:seconds=1", workers=1, engine=elsewhere)
    assert Path("there.h5").read_bytes() == Path("here.h5").read_bytes()
    assert Path("there.h5.errors.jsonl").read_bytes() == Path("here.h5.errors.jsonl").read_bytes()
    assert {path.name for path in Path().glob("there.h5*")} == {"there.h5", "there.h5.errors.jsonl"}


# Search and reranking

DRAW = np.random.default_rng(3)
SHOTS = {f"shot{number:04}": DRAW.normal(size=6) for number in range(700)}
COLOURS = {id: DRAW.normal(size=3) for id in list(SHOTS)[50:]}
QUERIES = {"1": DRAW.normal(size=6), "2": DRAW.normal(size=6), "3": DRAW.normal(size=6)}


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery in two shards, another feature of most of its shots, topics, and heads on both features."""
    folder = tmp_path_factory.mktemp("stores")
    ids = list(SHOTS)
    written = {
        "odd.h5": ("clip", {id: SHOTS[id] for id in ids[1::2]}),
        "even.h5": ("clip", {id: SHOTS[id] for id in ids[::2]}),
        "colour.h5": ("colour", COLOURS),
        "topics.h5": ("clip", QUERIES),
        "bank.h5": ("clip", {f"b{number}": DRAW.normal(size=6) for number in range(9)}),
        "texts.h5": ("text", {id: vector[:4] for id, vector in QUERIES.items()}),
    }
    for name, (feature, vectors) in written.items():
        store(folder / name, feature, vectors)
    provenances = {"videos": {"clip": {"model": "tiny"}, "colour": {"model": "tiny"}}, "texts": {}}
    for seed, name in enumerate(("one", "two")):
        videos = [Input("clip", 6), Input("colour", 3)][: seed + 1]
        description = describe("laff:dim=8,heads=2", videos, [Input("text", 4)], [], Corpus(), provenances)
        torch.manual_seed(seed)
        save_head(folder / f"{name}.safetensors", description, rebuild(description).state_dict())
    return folder


def test_a_search_of_shards_is_the_local_one(
    stores: Path, engine: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(stores)
    options = {"vectors": "topics.h5", "depth": 100}
    here = search(["odd.h5", "even.h5"], **options)
    assert [*map(list, here.values())] == [*map(list, search(["odd.h5", "even.h5"], **options, engine=engine).values())]
    assert here == search(["odd.h5", "even.h5"], **options, engine=engine)
    with pytest.raises(SpecError, match="- is stdin"):
        search(["-"], **options, engine=engine)


def test_a_search_of_stored_vectors_of_a_head_is_the_local_one(
    stores: Path, engine: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(stores)
    parts = [str(tmp_path / f"part{number}.h5") for number in (1, 2)]
    for number, part in enumerate(parts, start=1):
        extract_heads(["odd.h5", "even.h5"], part, "one.safetensors", shard=(number, 2))
    texts = {id: "any" for id in QUERIES}
    here, there = (
        search_heads(parts, texts, "one.safetensors", vectors="texts.h5", depth=300, engine=workers)["one"]
        for workers in (None, engine)
    )
    assert [[*shots.items()] for shots in here.values()] == [[*shots.items()] for shots in there.values()]


@pytest.mark.parametrize("missing", ["skip", "zero"])
def test_a_search_with_heads_is_the_local_one(
    stores: Path, engine: Cluster, monkeypatch: pytest.MonkeyPatch, missing: Any
) -> None:
    monkeypatch.chdir(stores)
    texts = {id: "any" for id in QUERIES}
    heads = ["one.safetensors", "two.safetensors"]
    options: dict[str, Any] = {"vectors": "texts.h5", "missing": missing, "depth": 680}
    galleries = ["odd.h5", "even.h5", "colour.h5"]
    here = search_heads(galleries, texts, heads, **options)
    with searching_heads(galleries, texts, heads, **options, engine=engine) as found:
        there = {name: timed.run for name, timed in found.runs.items()}
        assert all(timed.seconds > 0 for timed in found.runs.values())
    assert there == here
    assert [list(run["2"]) for run in there.values()] == [list(run["2"]) for run in here.values()]


@pytest.mark.parametrize(
    "options",
    [
        {"method": "neighbours"},
        {"method": "hubness:kind=qbnorm", "bank": "bank.h5"},
        {"method": "hubness:kind=dbsn,tau=0.1", "bank": "bank.h5", "gallery_bank": "bank.h5"},
        {"method": "scores", "scores": {"": {f"shot{number:04}": number / 7 for number in range(0, 700, 3)}}},
        {"method": "feedback", "qrels": {"2": {"shot0007": Judgment(1), "shot0600": Judgment(0)}}},
        {"method": "diverse:fold=0.8", "vectors": ""},
    ],
    ids=lambda options: options["method"],
)
def test_reranked_runs_are_the_local_ones(
    stores: Path, engine: Cluster, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    monkeypatch.chdir(stores)
    run = search(["odd.h5", "even.h5"], vectors="topics.h5", depth=50)
    runs = {"a": run, "b": {"2": run["2"]}}
    if options["method"] != "scores":
        options = {"gallery": ["odd.h5", "even.h5"], "vectors": "topics.h5", **options}
    here = rerank_runs(runs, depth=20, **options)
    there = rerank_runs(runs, depth=20, **options, engine=engine)
    assert there == here and here["a"] != run
    assert json.dumps(there) == json.dumps(here)  # in this order


def test_the_commands_write_what_they_write_here(avs_here: Here, stores: Path, scheduler: str, tmp_path: Path) -> None:
    elsewhere = ("--engine", "dask", "--scheduler", scheduler)
    for line in (
        ("search", "odd.h5", "even.h5", "--vectors", "topics.h5"),
        ("rerank", tmp_path / "here0", "--method", "neighbours:kind=hubs", "-g", "odd.h5", "-g", "even.h5"),
    ):
        number = 0 if line[0] == "search" else 1
        assert avs_here(*line, "-o", tmp_path / f"here{number}", cwd=stores).returncode == 0
        assert avs_here(*line, "-o", tmp_path / f"there{number}", *elsewhere, cwd=stores).returncode == 0
        assert (tmp_path / f"there{number}").read_bytes() == (tmp_path / f"here{number}").read_bytes()


def test_without_a_scheduler_a_cluster_runs_on_this_machine(avs_here: Here, stores: Path, tmp_path: Path) -> None:
    line = ("search", "odd.h5", "--vectors", "topics.h5", "-o")
    assert avs_here(*line, tmp_path / "here", cwd=stores).returncode == 0
    assert avs_here(*line, tmp_path / "there", "--engine", "dask", cwd=stores).returncode == 0
    assert (tmp_path / "there").read_bytes() == (tmp_path / "here").read_bytes()


def test_the_confidences_of_parts_are_those_of_the_gallery(avs_here: Here, scheduler: str) -> None:
    for name, sentences in (
        ("three", "dog a dog runs\ncar a car drives\ncat a cat sleeps\n"),
        ("one", "boat a boat\n"),
    ):
        Path(f"{name}.txt").write_text(sentences)
        assert avs_here("extract", "--text", f"{name}.txt", "--model", "minilm", "-o", f"{name}.h5").returncode == 0
    line = ("search", "three.h5", "one.h5", "--query", "a puppy by the sea", "--at-least", 0.1, "--confidence")
    here = avs_here(*line, "here.run")
    there = avs_here(*line, "there.run", "--engine", "dask", "--scheduler", scheduler)
    assert (here.returncode, there.returncode, there.stdout) == (0, 0, here.stdout)
    assert Path("there.run").read_bytes() == Path("here.run").read_bytes() and "boat" in here.stdout


# Distillation


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.h5*"))}


@pytest.mark.parametrize("teacher", ["one", "two"])
def test_the_vectors_of_a_head_that_teaches_are_those_of_this_machine(
    stores: Path, engine: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, teacher: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(vector_cache, "PART", 50)
    ids = [*COLOURS][:120]
    captions = {f"{id}#enc#{k}": DRAW.normal(size=4) for id in ids for k in range(2)}
    Path("c.txt").write_text("".join(f"{caption} a sentence\n" for caption in captions))
    store("texts.h5", "text", captions)
    galleries = [stores / f"{name}.h5" for name in ("odd", "even", "colour")]
    for workers, name in ((None, "here"), (engine, "there")):
        distill_heads.distill(
            "c.txt", galleries, "texts.h5", teachers=stores / f"{teacher}.safetensors", student="w2vvpp:dim=4",
            epochs=1, output=f"{name}.safetensors", cache=name, device="cpu", threads=1, engine=workers,
        )  # fmt: skip
    assert files(Path("there")) == files(Path("here")) and len(files(Path("here"))) == 2
    assert Path("there.safetensors").read_bytes() == Path("here.safetensors").read_bytes()


def test_the_vectors_of_a_teacher_of_clips_are_those_of_this_machine(
    avs_here: Here, films: list[str], scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_cache, "PART", 2)
    line = ["distill", *films, "--captions", "c.txt", "--weights", "clip", "--frames", 2, "--words", 8, "--epochs", 1]
    line += ["--batch-size", 4, "--workers", 1, "--device", "cpu", "--threads", 1]
    assert avs_here(*line, "--student", "xclip", "-o", "t.safetensors").returncode == 0
    line += ["--teacher", "xclip=t.safetensors"]
    elsewhere = ["--engine", "dask", "--scheduler", scheduler]
    for name, more in (("here", []), ("there", elsewhere)):
        ran = avs_here(*line, "--cache", name, "-o", f"{name}.safetensors", *more)
        assert ran.returncode == 0, ran.stderr
    here, there = (files(Path(name)) for name in ("here", "there"))
    assert there == here and len(here) == 2
    assert Path("there.safetensors").read_bytes() == Path("here.safetensors").read_bytes()


# The cluster itself


def fail_twice(path: str) -> str:
    """Fails as long as it is called for the first or the second time."""
    with open(path, "a+") as file:
        file.write("x")
        file.seek(0)
        calls = len(file.read())
    if calls < 3:
        raise OSError("not yet")
    return os.getcwd()


def refuse(path: str) -> None:
    raise FormatError(path, "no such run", 3)


def be_daemons(daemon: bool) -> None:
    multiprocessing.current_process()._config["daemon"] = daemon  # type: ignore[attr-defined]


@pytest.fixture
def by_value() -> Iterator[None]:
    """Workers cannot import this file."""
    cloudpickle = pytest.importorskip("cloudpickle")
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def test_tasks_run_in_the_folder_of_the_command_and_are_tried_again(
    engine: Cluster, by_value: None, folder: Path
) -> None:
    assert list(engine.map(fail_twice, ["calls"])) == [("calls", str(folder))]
    with pytest.raises(FormatError, match=r"^a\.run:3: no such run$"):
        list(engine.map(refuse, ["a.run"]))
    assert list(engine.map(len, [])) == []


def test_a_worker_that_does_not_see_the_files_says_so(
    engine: Cluster, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = folder / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    before = list(engine.map(len, ["ab"]))
    assert before == [("ab", 2)]
    monkeypatch.setattr(os, "getcwd", lambda: str(folder / "nowhere"))
    with pytest.raises(UnavailableError, match=r"does not see .*nowhere; share it between all machines"):
        list(engine.map(len, ["ab"]))


def test_daemonic_workers_are_told_how_to_be_started(folder: Path, scheduler: str, by_value: None) -> None:
    with distributed.Client(scheduler) as client, cluster(scheduler) as engine:
        client.run(be_daemons, True)
        try:
            with pytest.raises(UnavailableError, match="DASK_DISTRIBUTED__WORKER__DAEMON=False"):
                list(engine.map(len, ["ab"], starts_processes=True))
        finally:
            client.run(be_daemons, False)
        assert list(engine.map(len, ["ab"], starts_processes=True)) == [("ab", 2)]


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        (("--engine", "dask", "--scheduler", "tcp://127.0.0.1:9"), 4, "no scheduler answers; start one with"),
        (("--engine", "dask", "--scheduler", "ftp://a"), 2, "not the address of a scheduler"),
        (("--engine", "dask", "--scheduler", "nowhere.json"), 3, "nowhere.json: no such file"),
        (("--scheduler", "tcp://127.0.0.1:9"), 2, "--scheduler has no effect without --engine dask"),
    ],
)
def test_a_scheduler_that_cannot_be_reached_is_one_line(
    avs_here: Here, folder: Path, monkeypatch: pytest.MonkeyPatch, given: tuple[str, ...], code: int, message: str
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.3)
    ran = avs_here("extract", "images", "--model", "colour", "-o", "s.h5", *given)
    assert (ran.returncode, ran.stderr.count("\n")) == (code, 1) and message in ran.stderr
    assert not list(folder.glob("s.h5*"))


def test_a_scheduler_is_named_by_hand_only(avs_here: Here, folder: Path) -> None:
    ran = avs_here("extract", "images", "-o", "s.h5", "--engine", "dask", env={"AVS_SCHEDULER": "tcp://127.0.0.1:9"})
    assert ran.returncode == 2 and "AVS_SCHEDULER" in ran.stderr
    (folder / "avs.toml").write_text('[extract]\nscheduler = "tcp://127.0.0.1:9"\n')
    ran = avs_here("extract", "images", "-o", "s.h5", "--engine", "dask")
    assert ran.returncode == 3 and "on the command line only" in ran.stderr


def test_a_missing_package_is_named_with_its_cure(
    avs_here: Here, stores: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.delitem(sys.modules, "avs_cli.cluster")
    ran = avs_here("search", "odd.h5", "--vectors", "topics.h5", "--engine", "dask", "-o", "a.run", cwd=stores)
    assert ran.returncode == 4
    assert ran.stderr == "avs: --engine dask needs a package: pip install 'avs-cli[dask]'\n"
