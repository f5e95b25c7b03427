"""Stores and heads that are damaged in their structure: one line and an exit code of ours, in bounded time and memory.

What damages them is in `data/damaged.py`. More cases than run here: AVS_DAMAGED=2000 pytest tests/test_damaged.py
"""

import json
import os
import random
import resource
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import damaged
import h5py
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from avs_cli.errors import FormatError, MismatchError
from avs_cli.io.head_file import load_head
from avs_cli.io.store.reader import Store, features

IDS, store = damaged.IDS, damaged.store

Here = Callable[..., Any]
CASES = int(os.environ.get("AVS_DAMAGED", "300"))
BATCHES = 10
CAPTIONS = [f"{video}#enc#{k}" for video in IDS for k in range(2)]
SECONDS = 5
MEGABYTES = 300


@pytest.fixture
def held(avs_here: Here) -> Iterator[Here]:
    """Runs a command; one that ends in a traceback or another code, takes long or much memory fails the test."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt  # which ends in an exit code that no input should give

    def run(what: str, *line: object) -> Any:
        signal.alarm(60)
        began, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        ran = avs_here(*line)
        signal.alarm(0)
        told = f"{what}: avs {' '.join(map(str, line))}: {ran.stderr}"
        # A training that diverges says so in one line too, and ends with 1.
        assert ran.returncode in (0, 2, 3, 5) or "the loss is" in ran.stderr, told
        assert "Traceback" not in ran.stderr, told
        assert time.process_time() - began < SECONDS, told
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEGABYTES << 10, told
        return ran

    old = signal.signal(signal.SIGALRM, stop)
    yield run
    signal.alarm(0)
    signal.signal(signal.SIGALRM, old)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of sound files: stores of shots, frames, topics and captions, captions, a run and heads."""
    folder = tmp_path_factory.mktemp("sound")
    store(folder / "shots.h5", IDS)
    store(folder / "frames.h5", IDS, frames=True)
    store(folder / "framed.h5", IDS, frames=True, feature="framed")
    store(folder / "topics.h5", ["661", "662"], shots=False)
    store(folder / "texts.h5", ["661", "662"], shots=False, feature="text")
    store(folder / "words.h5", ["661", "662"], frames=True, shots=False, feature="words")
    store(folder / "captions.h5", CAPTIONS, shots=False, feature="text")
    (folder / "captions.txt").write_text("".join(f"{caption} a dog runs {k}\n" for k, caption in enumerate(CAPTIONS)))
    (folder / "topics.txt").write_text("661 a dog runs\n662 a cat\n")
    rows = (f"{t} Q0 {id} {n} {9 - n} x\n" for t in (661, 662) for n, id in enumerate(IDS, 1))
    (folder / "a.run").write_text("".join(rows))
    damaged.heads(folder)
    return folder


@pytest.fixture
def here(sound: Path, tmp_path: Path) -> Path:
    """The sound files, in the working folder."""
    shutil.copytree(sound, tmp_path, dirs_exist_ok=True)
    return tmp_path


def chances(batch: int) -> Iterator[random.Random]:
    yield from map(random.Random, range(batch, CASES, BATCHES))


TRAIN = ["train", "captions.txt", "-o", "h.safetensors", "--epochs", "1", "--device", "cpu"]
SEARCH = ["search", "--depth", "9", "--device", "cpu"]
# What is done with a store, by the sound store that it was.
USES: dict[str, list[list[str]]] = {
    "shots.h5": [
        [*SEARCH, "bad.h5", "--vectors", "topics.h5"],
        ["rerank", "a.run", "--method", "neighbours", "-g", "bad.h5", "--vectors", "topics.h5"],
        [*TRAIN, "--head", "laff:dim=8,heads=2", "--video", "bad.h5", "--text", "captions.h5"],
        ["view", "a.run", "-g", "bad.h5"],
    ],
    "frames.h5": [
        [*SEARCH, "bad.h5", "--vectors", "topics.h5"],
        ["rerank", "a.run", "--method", "framemax", "-g", "bad.h5", "--vectors", "topics.h5"],
        [*TRAIN, "--head", "afa:dim=8", "--video", "bad.h5", "--text", "captions.h5"],
    ],
    "topics.h5": [
        [*SEARCH, "shots.h5", "--vectors", "bad.h5"],
        ["rerank", "a.run", "--method", "hubness", "-g", "shots.h5", "--vectors", "topics.h5", "--bank", "bad.h5"],
    ],
}


@pytest.mark.parametrize("batch", range(BATCHES))
def test_no_accident_to_the_structure_of_a_store_ends_in_a_traceback(held: Here, here: Path, batch: int) -> None:
    for chance in chances(batch):
        base = chance.choice(["shots.h5", "shots.h5", *USES])
        shutil.copy(here / base, here / "bad.h5")
        what = "; ".join(damaged.damage(here / "bad.h5", chance) for _ in range(chance.choice([1, 1, 2])))
        for line in (["info", "bad.h5"], chance.choice(USES[base])):
            held(f"{base}: {what}", *line)
        for left in here.glob("h.safetensors*"):
            left.unlink()


@pytest.mark.parametrize("batch", range(BATCHES))
def test_no_changed_byte_of_a_store_ends_in_a_traceback(held: Here, here: Path, batch: int) -> None:
    for chance in [*chances(batch)][: max(10, CASES // 30)]:
        base = chance.choice([*USES])
        data = bytearray((here / base).read_bytes())
        for _ in range(chance.choice([1, 1, 3])):
            place = chance.randrange(min(len(data), chance.choice([2000, 6000, 1 << 20])))
            kind = chance.randrange(4)
            if kind == 0:
                data[place] ^= 1 << chance.randrange(8)
            elif kind == 1:
                data[place : place + 8] = chance.choice([b"\xff" * 8, bytes(8), b"\xff\xff\xff\x7f\0\0\0\0"])
            elif kind == 2:
                del data[place : place + chance.randrange(1, 9)]
            else:
                data[place] = chance.randrange(256)
        (here / "bad.h5").write_bytes(data)
        for line in (["info", "bad.h5"], chance.choice(USES[base][:2])):
            held(f"{base}: bytes", *line)


@pytest.mark.parametrize("batch", range(BATCHES))
def test_no_accident_to_a_head_ends_in_a_traceback(held: Here, here: Path, batch: int) -> None:
    needs = {"laff": ["shots.h5", "framed.h5"], "sea": ["shots.h5"], "w2vvpp": ["shots.h5"]}
    for chance in [*chances(batch)][: max(20, CASES // 15)]:
        kind = chance.choice(["laff", "sea", "w2vvpp", "afa", "xpool", "xclip", "student"])
        what = damaged.damaged_head(here / f"{kind}.safetensors", here / "bad.safetensors", chance)
        held(f"{kind}: {what}", "info", "bad.safetensors")
        stores = needs.get(kind, ["framed.h5"])
        if kind == "student":
            line = ["extract", "--text", "topics.txt", "--model", "teachclip", "-o", "made.h5", "--device", "cpu"]
            held(f"{kind}: {what}", *line, "--weights", "bad.safetensors")
        elif kind == "xclip" or chance.random() < 0.7:
            vectors = "words.h5" if kind == "xclip" else "texts.h5"
            line = [*SEARCH, *stores, "--head", "bad.safetensors", "--topics", "topics.txt", "--vectors", vectors]
            held(f"{kind}: {what}", *line)
        else:
            videos = [argument for name in stores for argument in ("--video", name)]
            held(f"{kind}: {what}", *TRAIN, *videos, "--text", "captions.h5", "--init", "bad.safetensors")
        for left in (*here.glob("h.safetensors*"), *here.glob("made.h5*")):
            left.unlink()


def test_no_accident_to_what_a_training_goes_on_from_ends_in_a_traceback(held: Here, here: Path) -> None:
    line = [*TRAIN, "--head", "laff:dim=8,heads=2", "--video", "shots.h5", "--text", "captions.h5"]
    assert held("", *line).returncode == 0
    shutil.copy("h.safetensors.last", "sound.safetensors")
    line[line.index("--epochs") + 1] = "2"
    for chance in map(random.Random, range(CASES // 15)):
        what = damaged.damaged_head(here / "sound.safetensors", here / "h.safetensors.last", chance)
        held(what, *line)


# Stores


def changed(path: Path, change: Callable[[Any], object], frames: bool = False) -> Path:
    store(path, IDS, frames=frames)
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def instead(name: str, *values: Any, **settings: Any) -> Callable[[Any], object]:
    def change(file: Any) -> None:
        del file[name]
        file.create_dataset(name, *values, **settings)

    return change


def linked(name: str, link: object) -> Callable[[Any], object]:
    def change(file: Any) -> None:
        del file[name]
        file[name] = link

    return change


TEXTS = h5py.string_dtype()
LONG = ["x" * 256, *IDS[1:]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            linked("tiny/ids", h5py.ExternalLink("pipe", "/x")),
            "ids is a link; a feature store must contain its data itself",
        ),
        (linked("tiny", h5py.ExternalLink("pipe", "/x")), "tiny is a link"),
        (linked("shots", h5py.SoftLink("/tiny")), "shots is a link"),
        (linked("thumbnails/jpeg", h5py.SoftLink("/tiny/vectors")), "jpeg is a link"),
        (
            instead("tiny/vectors", (6, 4), "f2", external=[("pipe", 0, 48)]),
            "vectors are in another file; use h5repack",
        ),
        (instead("tiny/ids", data=LONG, dtype=TEXTS), "a text of 256 bytes; the maximum is 255"),
        (instead("tiny/ids", data=np.array(LONG, "S256")), "ids are texts of 256 bytes; the maximum is 255"),
        (instead("shots/videos", data=np.zeros(3, "S5000")), "videos are texts of 5000 bytes; the maximum is 4096"),
        (instead("tiny/ids", data=[b"\xff", *IDS[1:]], dtype=TEXTS), "is not an id: 1 to 255 bytes of UTF-8"),
        (instead("tiny/ids", data=["a b", *IDS[1:]], dtype=TEXTS), "b'a b' is not an id"),
        (instead("tiny/ids", data=["a\u3000b", *IDS[1:]], dtype=TEXTS), "is not an id"),
        (instead("tiny/ids", data=["", *IDS[1:]], dtype=TEXTS), "b'' is not an id"),
        (instead("tiny/ids", data=np.array([b"a\0b", *(id.encode() for id in IDS[1:])])), "is not an id"),
        (instead("tiny/vectors", (6, 4), ">f2", data=np.zeros((6, 4))), "not .M, D. of float16 or float32"),
        (instead("tiny/vectors", (6, 0), "f2"), r"vectors are \(6, 0\) float16"),
        (instead("shots/video", data=np.zeros(6)), "video are .* not a column of integers"),
        (instead("shots/start", data=np.zeros(5)), "columns are incompatible: 6 ids, 6 video, 5 start, 6 end"),
        (instead("thumbnails/offsets", data=np.arange(3)), "columns are incompatible: 3 ids, 3 offsets"),
        (instead("thumbnails/jpeg", (10**12,), "u1", chunks=(1000,)), "jpeg claim 1000000000000 bytes, .* holds 0 of"),
        (instead("shots/start", (10**9,), "f8"), "start claim 8000000000 bytes"),
        (lambda file: file["tiny"].attrs.modify("provenance", "[" * 100_000), "its provenance is not a JSON object"),
        (lambda file: file["tiny"].attrs.modify("provenance", '{"a": "\\ud800"}'), "its provenance is not a JSON"),
        (lambda file: file["tiny"].attrs.create("provenance", np.arange(3)), "its provenance is not a JSON object"),
        (lambda file: file.attrs.create("format", np.arange(3)), "not a feature store"),
        (lambda file: file.attrs.create("format_version", np.array([1, 1])), "feature store of version"),
    ],
)
def test_a_store_is_checked_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Any], object], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")  # whoever follows a link to it waits for ever
    with pytest.raises(FormatError, match=message) as caught:
        Store(changed(tmp_path / "a.h5", change), "tiny")
    assert "\n" not in str(caught.value)


def test_a_listing_of_features_follows_no_link(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    path = changed(tmp_path / "a.h5", lambda file: file.__setitem__("other", h5py.ExternalLink("pipe", "/x")))
    with pytest.raises(FormatError, match="other is a link"):
        features(path)


@pytest.mark.parametrize(
    "offsets",
    [
        np.array([0, 1, 3, 2**64 - 5, 7, 9, 12], np.uint64),
        np.array([0, 3, 1, 6, 7, 9, 12]),
        np.array([0, -1, 3, 6, 7, 9, 12]),
        np.array([0, np.nan, 3, 6, 7, 9, 12]),
    ],
    ids=["huge", "decreasing", "negative", "NaN"],
)
def test_offsets_are_whole_numbers_that_rise(tmp_path: Path, offsets: np.ndarray) -> None:
    path = changed(tmp_path / "a.h5", instead("tiny/offsets", data=offsets), frames=True)
    with pytest.raises(FormatError, match=r"offsets (do not divide the 12 vectors|are .* not a column of integers)"):
        Store(path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("shots/video", 3, "rows 0 to 3 of 3 videos"),
        ("shots/start", np.nan, "a time is NaN or infinite"),
        ("shots/end", -1.0, "a shot ends before it starts"),
        ("shots/ids", b"video1", "duplicate id 'video1'"),
    ],
)
def test_shots_are_checked_when_they_are_read(tmp_path: Path, name: str, value: Any, message: str) -> None:
    path = changed(tmp_path / "a.h5", lambda file: file[name].__setitem__(0, value))
    with Store(path) as opened, pytest.raises(FormatError, match=f"a.h5::shots: .*{message}"):
        opened.shots()


def test_a_video_may_have_a_line_break_in_its_name(tmp_path: Path) -> None:
    path = changed(tmp_path / "a.h5", instead("shots/videos", data=["a\nb.mp4", "c.mp4", "d.mp4"], dtype=TEXTS))
    with Store(path) as opened:
        assert [shot.video for shot in opened.shots().values()][::2] == ["a\nb.mp4", "c.mp4", "d.mp4"]


# Heads


def rewritten(source: Path, target: Path, change: Callable[[dict[str, Any], dict[str, torch.Tensor]], object]) -> Path:
    with safe_open(source, "pt") as file:
        header = json.loads(file.metadata()["avs"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(header["head"], tensors)
    save_file(tensors, target, {"avs": json.dumps(header)})
    return target


REQUIRED = [
    (["kind"], "its header lacks 'kind'"),
    (["settings"], "its header lacks 'settings'"),
    (["videos"], "its header lacks 'videos'"),
    (["encoders"], "its header lacks 'encoders'"),
    (["videos", 0, "name"], "its header: videos 1 lacks 'name'"),
    (["videos", 1, "dim"], "its header: videos 2 lacks 'dim'"),
    (["texts", 0, "frames"], "its header: texts 1 lacks 'frames'"),
    (["encoders", 0, "words"], "its header: encoders 1 lacks 'words'"),
    (["encoders", 0, "settings"], "its header: encoders 1 lacks 'settings'"),
]


@pytest.mark.parametrize(("way", "message"), REQUIRED)
def test_a_header_that_lacks_a_key_is_one_line(avs_here: Here, here: Path, way: list[Any], message: str) -> None:
    def change(head: dict[str, Any], tensors: object) -> None:
        holder: Any = head
        for key in way[:-1]:
            holder = holder[key]
        del holder[way[-1]]

    rewritten(here / "laff.safetensors", here / "bad.safetensors", change)
    ran = avs_here("info", "bad.safetensors")
    assert (ran.returncode, ran.stderr) == (3, f"avs: bad.safetensors: not a head file ({message})\n")


def test_a_setting_that_a_head_file_lacks_is_at_its_default(avs_here: Here, here: Path) -> None:
    rewritten(here / "laff.safetensors", here / "old.safetensors", lambda head, _: head["settings"].pop("split"))
    line = ["shots.h5", "framed.h5", "--topics", "topics.txt", "--vectors", "texts.h5", "--head"]
    assert avs_here("info", "old.safetensors").returncode == 0
    old, new = (avs_here(*SEARCH, *line, f"{name}.safetensors").stdout for name in ("old", "laff"))
    assert old and old == new


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda head, _: head.update(kind="mlp"), "unknown head 'mlp'; this version of avs has afa, laff"),
        (lambda head, _: head["encoders"][0].update(name="bert"), "unknown text encoder 'bert'"),
        (lambda head, _: head["settings"].update(dim="8"), "the head 'laff' cannot have dim '8'"),
        (lambda head, _: head["settings"].update(dim=10**12), "the head 'laff' cannot have dim 1000000000000"),
        (lambda head, _: head["settings"].update(dim=10**6), "and its description says"),
        (lambda head, _: head["settings"].update(fusion="sum"), "the head 'laff' cannot have fusion 'sum'"),
        (lambda head, _: head["settings"].update(heads=0), "does not build one"),
        (lambda head, _: head["settings"].update(gates=1), "the head 'laff' has no setting 'gates'"),
        (lambda head, _: head["encoders"][0].update(words=["a", "a", "b"]), "a word occurs twice"),
        (lambda head, _: head["videos"].clear(), "the head takes no feature of videos"),
        (lambda head, tensors: tensors.pop("text.fusion.a"), "its weights lack 'text.fusion.a'"),
        (lambda head, tensors: tensors.update({"text.fusion.a": torch.ones(2, 4).long()}), "is torch.int64"),
    ],
)
def test_a_head_that_cannot_be_built_is_one_line_with_its_file(
    held: Here, here: Path, change: Callable[[dict[str, Any], dict[str, torch.Tensor]], object], message: str
) -> None:
    rewritten(here / "laff.safetensors", here / "bad.safetensors", change)
    line = ["shots.h5", "framed.h5", "--topics", "topics.txt", "--vectors", "texts.h5", "--head", "bad.safetensors"]
    ran = held("", *SEARCH, *line)
    assert ran.returncode == 3 and ran.stdout == ""
    assert ran.stderr.startswith("avs: bad.safetensors: ") and message in ran.stderr and ran.stderr.count("\n") == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("kind", ["laff", "student"])
def test_weights_that_are_no_numbers_are_refused(here: Path, avs_here: Here, kind: str, value: float) -> None:
    def change(_: object, tensors: dict[str, torch.Tensor]) -> None:
        next(tensor for name, tensor in tensors.items() if "text" in name and tensor.is_floating_point())[0] = value

    path = rewritten(here / f"{kind}.safetensors", here / "bad.safetensors", change)
    with pytest.raises(FormatError, match=r"weight 'tower|weight 'te.*' is NaN or infinite"):
        load_head(path)
    ran = avs_here("extract", "--text", "topics.txt", "--model", "teachclip", "--weights", path, "-o", "x.h5")
    assert ran.returncode == 3 and (kind == "laff" or "is NaN or infinite" in ran.stderr)


def test_weights_of_a_student_are_floating_point_numbers(here: Path, avs_here: Here) -> None:
    def change(_: object, tensors: dict[str, torch.Tensor]) -> None:
        tensors["towers.network.ln_final.bias"] = torch.zeros(8, dtype=torch.uint8)

    rewritten(here / "student.safetensors", here / "bad.safetensors", change)
    line = ["extract", "--text", "topics.txt", "--model", "teachclip", "-o", "x.h5", "--weights", "bad.safetensors"]
    ran = avs_here(*line)
    assert (ran.returncode, "is torch.uint8" in ran.stderr, ran.stderr.count("\n")) == (3, True, 1)


def test_scores_that_are_no_numbers_are_refused(here: Path, avs_here: Here) -> None:
    def change(_: object, tensors: dict[str, torch.Tensor]) -> None:
        for name in ("video.weight", "text.weight"):
            tensors[name].fill_(3e38)

    rewritten(here / "xpool.safetensors", here / "bad.safetensors", change)
    line = ["framed.h5", "--topics", "topics.txt", "--vectors", "texts.h5", "--head", "bad.safetensors"]
    ran = avs_here(*SEARCH, *line)
    assert (ran.returncode, ran.stdout) == (3, "")
    assert "NaN or infinite" in ran.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("config"), "it lacks 'config'"),
        (lambda s: s["config"].update(custom_text=True), "its config is not that of two plain transformers"),
        (lambda s: s["config"]["text_cfg"].update(hf_model_name="x"), "its config is not that of two plain"),
        (lambda s: s["config"]["vision_cfg"].update(width=10**5 * 64), "its config is not"),
        (lambda s: s["config"]["vision_cfg"].update(layers=10**6), "its config is not"),
        (lambda s: s["config"].update(embed_dim=16), "and its settings say"),
        (lambda s: s.update(frames=78), "78 frames and 8 words; at most 77"),
        (lambda s: s.update(words=1), "4 frames and 1 words"),
        (lambda s: s.update(std=[0.5, 0, 0.5]), "std .* must have three channels"),
        (lambda s: s.update(aggregate="max"), "a student cannot have aggregate 'max'"),
        (lambda s: s.update(interpolation="nearest"), "interpolation 'nearest' is neither bicubic nor bilinear"),
    ],
)
def test_a_student_is_what_its_header_says(
    held: Here, here: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    rewritten(here / "student.safetensors", here / "bad.safetensors", lambda head, _: change(head["settings"]))
    line = ["extract", "--text", "topics.txt", "--model", "teachclip", "--device", "cpu", "-o"]
    assert held("", *line, "good.h5", "--weights", "student.safetensors").returncode == 0
    ran = held("", *line, "bad.h5", "--weights", "bad.safetensors")
    assert ran.returncode == 3
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(ran.stderr)


def test_an_optimizer_remembers_its_own_arrays_alone() -> None:
    from avs_cli.core.training.loop import RMSprop, restore_optimizer

    weight = torch.nn.Parameter(torch.ones(2, 3))
    for arrays in (
        {"0/x": torch.ones(2, 3)},
        {"1/square_avg": torch.ones(2, 3)},
        {"x/square_avg": torch.ones(2, 3)},
        {"0/square_avg": torch.ones(3, 2)},
        {"0/square_avg": torch.ones(2, 3).long()},
    ):
        with pytest.raises(MismatchError, match="optimizer"):
            restore_optimizer(RMSprop([weight], 0.1), arrays)
