"""One decode, many encoders: several models in one extraction write what one extraction per model writes."""

import json
import shutil
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from avs_cli.core import encoders as package
from avs_cli.core.encoders import encoders
from avs_cli.errors import IncompleteError, MismatchError, SpecError
from avs_cli.io.store.reader import features, open_store
from avs_cli.stages.extract import extract

ENCODERS = Path(__file__).resolve().parents[1] / "data" / "encoders"
# Of other sizes, crops, samplings, clips and poolings; the second sees what the first does.
TOWERS = [
    "tower:gain=1",
    "tower:gain=2",
    "tower:gain=3,size=48,resize=64",
    "tower:gain=4,size=16,resize=64,crops=10",
    "tower:gain=5,fps=0.5,pooling=none",
    "tower:gain=6,fps=none,count=3,pooling=max",
    "tower:gain=7,size=24,clip=4",
]
NAMES = ["tower-1", "tower-2", "tower-3-48-64", "tower-4-16-64-10", "tower-5-0.5-none", "tower-6-none-3-max"]
NAMES += ["tower-7-24-4"]


def noise(path: Path, seconds: int, size: tuple[int, int] = (96, 64), seed: int = 0) -> None:
    """A video of pictures that all differ, eight frames a second."""
    draw = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(8))
        (stream.width, stream.height), stream.pix_fmt, stream.bit_rate = size, "yuv420p", 1_000_000
        for _ in range(8 * seconds):
            cells = draw.integers(0, 256, (4, 4, 3), dtype=np.uint8)
            picture = np.asarray(Image.fromarray(cells).resize(size, Image.Resampling.BILINEAR))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with media/ of two videos and two images, and a shot table of them, some of whose shots overlap."""
    folder = tmp_path_factory.mktemp("made")
    media = folder / "media"
    media.mkdir()
    noise(media / "wide.mp4", 6)
    noise(media / "tall.mp4", 3, (64, 112), seed=1)
    draw = np.random.default_rng(2)
    for name, size in {"large.jpg": (900, 1400), "small.png": (40, 30)}.items():
        Image.fromarray(draw.integers(0, 256, (*size, 3), dtype=np.uint8)).save(media / name)
    rows = ["shot\tvideo\tstart\tend", "w1\twide.mp4\t0\t2.5", "w2\twide.mp4\t2.5\t6", "w3\twide.mp4\t1\t4"]
    rows += ["t1\ttall.mp4\t0\t0.3", "t2\ttall.mp4\t0.3\t3", "l\tlarge.jpg\t0\t0", "s\tsmall.png\t0\t0"]
    (folder / "shots.tsv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(autouse=True)
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """In a folder of the test's own with those."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(ENCODERS)])
    monkeypatch.setenv("AVS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("AVS_WORKERS", "1")
    yield tmp_path
    tower().SEEN.clear()
    tower().LOADED.clear()


def tower() -> Any:
    return encoders.module("tower")


def separate(output: str, models: list[str] = TOWERS, **settings: Any) -> bytes:
    for model in models:
        extract("media", output, model, workers=1, batch_size=4, **settings)
    return Path(output).read_bytes()


def together(output: str, models: list[str] = TOWERS, **settings: Any) -> bytes:
    extract("media", output, models, workers=1, batch_size=4, **settings)
    return Path(output).read_bytes()


def test_a_store_of_several_features_has_the_bytes_of_one_run_per_model() -> None:
    tower().SEEN.clear()  # tests of other files count there too
    one_by_one = separate("separate.h5", shots="shots.tsv")
    seen = dict(tower().SEEN)
    tower().SEEN.clear()
    names = extract("media", "together.h5", TOWERS, shots="shots.tsv", workers=1, batch_size=4)
    assert names == [f"together.h5::{name}" for name in NAMES]
    assert features("together.h5") == NAMES
    assert Path("together.h5").read_bytes() == one_by_one
    assert dict(tower().SEEN) == seen
    with open_store(names[0]) as store:
        assert store.ids == ["w1", "w2", "w3", "t1", "t2", "l", "s"] and store.thumbnails == 7
    assert sorted(path.name for path in Path().glob("together.h5*")) == ["together.h5"]


@pytest.mark.parametrize(
    "settings",
    [
        {"fps": 1.0, "max_frames": 2, "dtype": "float32"},
        {"pool": "none", "frame_norm": "l2", "thumbnails": 0},
        {"shard": (2, 2), "thumbnails": 16},
    ],
    ids=["sampling", "pooling", "shard"],
)
def test_other_parameters_apply_to_every_model(settings: dict[str, Any]) -> None:
    models = [TOWERS[0], TOWERS[2], TOWERS[4]]
    assert together("together.h5", models, **settings) == separate("separate.h5", models, **settings)


@pytest.mark.parametrize("frames", ["name", "folder"])
def test_extracted_frames_are_read_once_for_all(frames: Any, folder: Path) -> None:
    draw = np.random.default_rng(3)
    for shot, count in {"a": 9, "b": 1}.items():
        for number in range(count):
            path = folder / "frames" / shot / f"{shot}_{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw.integers(0, 256, (400, 800, 3), dtype=np.uint8)).save(path)
    for model in TOWERS:
        extract("frames", "separate.h5", model, frames=frames, workers=1)
    extract("frames", "together.h5", TOWERS, frames=frames, workers=1)
    assert Path("together.h5").read_bytes() == Path("separate.h5").read_bytes()


def test_a_file_that_one_model_cannot_take_is_missing_from_its_feature_only(folder: Path) -> None:
    """An image that is too narrow for a resize, and a video whose end is cut, which sparse samples do not reach."""
    Image.new("RGB", (4, 4096), (9, 99, 200)).save("media/narrow.png")
    noise(folder / "whole.mkv", 12, seed=4)
    data = (folder / "whole.mkv").read_bytes()
    (folder / "media" / "cut.mkv").write_bytes(data[: len(data) * 7 // 10])
    models = ["tower:gain=1", "tower:gain=2,size=48,resize=256", "tower:gain=3,fps=none,count=1"]
    for model, missing in zip(models, (1, 2, 0), strict=True):
        if missing:
            with pytest.raises(IncompleteError, match=rf"{missing} of 6 shots are missing"):
                extract("media", "separate.h5", model, workers=1)
        else:
            extract("media", "separate.h5", model, workers=1)
    told = r"^together\.h5: of 6 shots, 1 of tower-1, 2 of tower-2-48-256 are missing; see together\.h5\.errors\.jsonl$"
    for _ in range(2):  # again, the failures are told and not tried
        with pytest.raises(IncompleteError, match=told):
            extract("media", "together.h5", models, workers=1)
        assert Path("together.h5").read_bytes() == Path("separate.h5").read_bytes()
        ledgers = [
            sorted(Path(f"{name}.h5.errors.jsonl").read_text().splitlines()) for name in ("together", "separate")
        ]
        assert ledgers[0] == ledgers[1]
    failed = [json.loads(line) for line in ledgers[0]]
    assert sorted((one["feature"], one["id"]) for one in failed) == [
        ("tower-1", "cut"), ("tower-2-48-256", "cut"), ("tower-2-48-256", "narrow"),
    ]  # fmt: skip

    # Mended, each is retried by the models that lack it.
    (folder / "media" / "cut.mkv").write_bytes(data)
    Image.new("RGB", (40, 4096), (9, 99, 200)).save("media/narrow.png")
    tower().SEEN.clear()
    extract("media", "together.h5", models, workers=1, retry_failed=True, batch_size=1)
    assert tower().SEEN == {1.0: 24, 2.0: 25}


def test_a_broken_video_is_missing_from_every_feature_and_stops_none(folder: Path) -> None:
    (folder / "media" / "broken.mp4").write_bytes(b"no video" * 99)
    with pytest.raises(IncompleteError, match=r"of 5 shots, 1 of tower-1, 1 of tower-3-48-64 are missing"):
        extract("media", "s.h5", [TOWERS[0], TOWERS[2]], workers=1)
    with open_store("s.h5::tower-3-48-64") as store:
        assert store.ids == ["large", "small", "tall", "wide"]


def test_a_model_that_is_added_is_the_only_one_that_runs(folder: Path) -> None:
    weights = {model: folder / f"{number}.bin" for number, model in enumerate(TOWERS[:3])}
    for number, path in enumerate(weights.values()):
        path.write_bytes(bytes([number]))
    first = dict(list(weights.items())[:2])
    extract("media", "s.h5", list(first), weights=first, workers=1)
    assert tower().LOADED == [1, 2]
    tower().LOADED.clear()
    tower().SEEN.clear()
    names = extract("media", "s.h5", list(weights), weights=weights, workers=1)
    assert (tower().LOADED, set(tower().SEEN)) == ([3], {3})
    whole = Path("s.h5").read_bytes()
    tower().LOADED.clear()
    assert extract("media", "s.h5", list(weights), weights=weights, workers=1) == names
    assert not tower().LOADED and Path("s.h5").read_bytes() == whole
    with open_store(names[2]) as store:
        assert store.provenance["weights"] != ""
    for model, path in weights.items():
        extract("media", "separate.h5", model, weights=path, workers=1)
    assert Path("separate.h5").read_bytes() == whole


# When SIGKILL comes, one run after the other; the store has another feature before.
WRITER = "avs_cli.io.store.writer"
KILLS = [
    ("avs_cli.core.extraction.batches.ShotEncoder.add", 3, False),
    (f"{WRITER}.StoreWriter.add", 1, True),
    (f"{WRITER}.StoreWriter.add", 2, False),
    (f"{WRITER}.StoreWriter.add", 5, True),
    (f"{WRITER}.flush", 2, False),
    (f"{WRITER}.StoreWriter._join", 1, True),
    (f"{WRITER}.StoreWriter._tidy", 1, False),
    (f"{WRITER}.StoreWriter._tidy", 1, True),
    (f"{WRITER}.StoreWriter._refresh", 1, False),
    (f"{WRITER}.StoreWriter._join", 1, False),
    (f"{WRITER}.StoreWriter._tidy", 2, True),
    (f"{WRITER}.StoreWriter.finish", 3, True),
]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_killed_extraction_of_several_features_goes_on_and_ends_in_the_same_bytes(
    avs_here: Callable[..., Any], killed: Callable[..., bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("avs_cli.stages.encoding.PART_SHOTS", 2)
    models = [TOWERS[0], TOWERS[4], TOWERS[6]]
    options = [option for model in models for option in ("--model", model)]
    line = ["extract", "media", "--shots", "shots.tsv", "--workers", 1, *options, "-o", "killed.h5"]
    for name in ("whole.h5", "killed.h5"):
        extract("media", name, "colour", shots="shots.tsv", shard=(1, 2), workers=1)
    whole = together("whole.h5", models, shots="shots.tsv")
    for called, count, done in KILLS:
        assert killed(line, called, count, done), f"it ended before {called} was called"
    ran = avs_here(*line)
    assert ran.returncode == 0, ran.stderr
    assert Path("killed.h5").read_bytes() == whole
    assert not [path for path in Path().iterdir() if "parts" in path.name or path.name.endswith(".part")]


@pytest.mark.parametrize("moment", range(1, 9))
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_run_killed_once_ends_in_the_same_bytes(
    killed: Callable[..., bool], monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    """At each fsync of parts and of the store, and then one model after the other, as other users might go on."""
    monkeypatch.setattr("avs_cli.stages.encoding.PART_SHOTS", 3)
    models = [TOWERS[0], TOWERS[5]]
    whole = together("whole.h5", models, shots="shots.tsv")
    line = ["extract", "media", "--shots", "shots.tsv", "--workers", 1, "--model", models[0], "--model", models[1]]
    assert killed([*line, "-o", "killed.h5"], f"{WRITER}.flush", moment, moment % 2 == 0)
    assert separate("killed.h5", models, shots="shots.tsv") == whole


@pytest.mark.parametrize(
    ("output", "models", "settings", "said"),
    [
        ("s.h5", ["tower", "tower"], {}, "tower is given twice"),
        ("s.h5", ["tower:2", "tower:gain=2"], {}, "tower:2 and tower:gain=2 are both 'tower-2'"),
        ("s.h5::mine", ["tower", "colour"], {}, "s.h5::mine names one feature, and 2 models give"),
        ("s.h5", ["tower", "colour"], {"weights": "a.pt"}, "a.pt: weights of which of the 2 models"),
        ("s.h5", ["tower", "colour"], {"weights": {"clip": "a.pt"}}, "weights of clip, which is none of the models"),
        ("s.h5", ["tower", "tower:fps=none,count=2"], {"fps": 1.0}, "count=2 has a fixed number of frames"),
        ("s.h5", ["tower", "minilm"], {}, "minilm encodes text only"),
        ("s.h5", [], {}, "no model"),
    ],
)  # fmt: skip
def test_what_several_models_cannot_mean_is_refused_before_a_frame_is_read(
    output: str, models: list[str], settings: dict[str, Any], said: str, folder: Path
) -> None:
    if "minilm" in models:
        pytest.importorskip("transformers")
    with pytest.raises(SpecError, match=said.replace("(", r"\(")):
        extract("media", output, models, workers=1, **settings)
    assert not list(folder.glob("s.h5*"))


def test_a_feature_made_otherwise_is_refused_before_a_frame_is_read() -> None:
    extract("media", "s.h5", TOWERS[0], workers=1)
    whole = Path("s.h5").read_bytes()
    tower().SEEN.clear()
    with pytest.raises(MismatchError, match="pooling"):
        extract("media", "s.h5", TOWERS[:3], pool="max", workers=1)
    assert not tower().SEEN and Path("s.h5").read_bytes() == whole


def test_the_command_takes_a_model_several_times_and_weights_by_model(
    avs_here: Callable[..., Any], folder: Path
) -> None:
    for name in ("a,b=c.bin", "d.bin"):
        (folder / name).write_bytes(name.encode())
    models = ["tower:gain=1", "colour", "tower:gain=2"]
    options = [option for model in models for option in ("--model", model)]
    line = ("extract", "media", "--workers", 1, *options, "-o", "s.h5")
    weights = "tower:gain=1=a,b=c.bin,tower:gain=2=d.bin"
    assert avs_here(*line, "--weights", weights).returncode == 0
    by_model = {"tower:gain=1": "a,b=c.bin", "tower:gain=2": "d.bin"}
    extract("media", "python.h5", models, weights=by_model, workers=1)
    assert Path("python.h5").read_bytes() == (folder / "s.h5").read_bytes()
    refused = avs_here(*line, "--weights", "d.bin")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "--weights d.bin: of which model? write tower:gain=1=PATH" in refused.stderr
    texts = avs_here("extract", "--text", "t.txt", *options, "-o", "t.h5")
    assert (texts.returncode, "--text takes one --model" in texts.stderr) == (2, True)


def test_the_shots_are_the_steps_of_the_progress(hearing: Callable[[], Any]) -> None:
    report = hearing()
    extract("media", "s.h5", TOWERS, shots="shots.tsv", workers=1, report=report)
    assert report.totals == {"encoding": 7}
    assert report.advanced["encoding"] == pytest.approx(7)
