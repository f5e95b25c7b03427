"""`avs distill`: students that teachers teach, over stores and from raw clips; what is kept, and how it goes on."""

import functools
import importlib
import json
import math
import os
import resource
import shutil
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from films import noise_film
from pytest import approx
from safetensors.torch import save_file
from stores import store

from avs_cli import cli
from avs_cli.core.encoders import Runtime, encoders
from avs_cli.core.evaluation.captions import both_ways
from avs_cli.core.models.clip import checkpoints
from avs_cli.core.models.clip.sampling import counted
from avs_cli.core.models.clip.student import ClipBatch, ClipStudent
from avs_cli.core.models.described import describe, rebuild
from avs_cli.core.models.heads.framed import framed
from avs_cli.core.models.layers import Input, Ragged
from avs_cli.core.models.teachers import teachers
from avs_cli.core.models.teachers.clip_teacher import ClipTeacher
from avs_cli.core.models.text.words import Corpus
from avs_cli.core.training.contrast import Contrast
from avs_cli.core.training.distillation import Recipe, Targets
from avs_cli.core.training.pairs import Batch, score_matrix
from avs_cli.core.training.teaching import HeadStudent, Lesson, Teaching, packed, unpacked
from avs_cli.errors import FormatError
from avs_cli.io import weights as reader
from avs_cli.io.frame_cache import FrameCache
from avs_cli.io.head_file import load_head
from avs_cli.io.store.reader import Store
from avs_cli.io.text.trec import read_run
from avs_cli.stages import vector_cache
from avs_cli.stages.clip_frames import CacheSettings, decode_clips
from avs_cli.stages.clip_teachers import ModelTeacher
from avs_cli.stages.footage import clip_scores_of, footage_of
from avs_cli.stages.heads import load_heads
from avs_cli.stages.team import Team
from avs_cli.stages.training_data import TrainingData
from avs_cli.types import Pixels, Sampling

CLIPS = Path(__file__).resolve().parents[3] / "shared" / "data" / "clips"
# Those that take half a second each to decode.
SLOW = ("intel_bottle", "intel_car", "intel_one", "mpy_big", "sam2", "skv")
QUICK = [path for path in sorted(CLIPS.glob("*.*")) if path.suffix != ".tsv" and not path.stem.startswith(SLOW)]
# A few of the others, of three formats.
SOME = ("intel_asl_book", "intel_asl_eat", "intel_asl_walk", "intel_classroom", "mpy_example2", "mpy_example3")
needs_clips = pytest.mark.skipif(not CLIPS.exists(), reason="needs the clips of ../shared/data")
THINGS = 6
Avs = Callable[..., Any]
PLACE = ("--threads", 1, "--device", "cpu")
XPOOL = ("--head", "xpool:dim=16,frames=4", "--objective", "contrastive", "--optimizer", "adamw")
STUDENT = ("--student", "afa:dim=16,frames=4", "--batch-size", 20, "--learning-rate", 0.01)


@pytest.fixture
def avs(avs_here: Avs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Avs:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("AVS_CACHE", str(tmp_path / "cache"))
    return avs_here


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos of one to five frames, each of which shows a thing; a caption names one of them, and its vector does.

    Of a caption's two or three words the last names the thing, and the others are noise.
    """
    folder, draw = tmp_path_factory.mktemp("drawn"), np.random.default_rng(0)
    for name, videos in (("a", 40), ("v", 20)):
        seen, whole, read, spelled, lines = {}, {}, {}, {}, []
        for number in range(videos):
            shown = draw.integers(0, THINGS, int(draw.integers(1, 6)))
            video = f"{name}{number}"
            seen[video] = np.eye(THINGS)[shown] + draw.normal(0, 0.2, (len(shown), THINGS))
            whole[video] = np.eye(THINGS)[shown].max(0)
            for k in range(2):
                caption, thing = f"{video}#enc#{k}", shown[k % len(shown)]
                read[caption] = np.eye(THINGS)[thing] + draw.normal(0, 0.2, THINGS)
                others = np.zeros((1 + k, THINGS)) + 0.1
                spelled[caption] = np.concatenate([others, read[caption][None]])
                lines.append(f"{caption} thing{thing}\n")
        store(folder / f"{name}-frames.h5", "frames", seen, frames=True)
        store(folder / f"{name}-whole.h5", "whole", whole)
        store(folder / f"{name}-text.h5", "sent", read)
        store(folder / f"{name}-words.h5", "words", spelled, frames=True)
        (folder / f"{name}.txt").write_text("".join(lines))
    return folder


@pytest.fixture
def data(drawn: Path, tmp_path: Path) -> Path:
    """Those in a folder of the test's own."""
    shutil.copytree(drawn, tmp_path, dirs_exist_ok=True)
    return tmp_path


def stores(feature: str = "frames", option: str = "--video") -> list[str]:
    return [part for name in "av" for part in (option, f"{name}-{feature}.h5")]


TEXTS = stores("text", "--text")


TRAINED: dict[tuple[object, ...], bytes] = {}


def teacher(avs: Avs, *line: object, name: str = "t.safetensors") -> None:
    """A head on the drawn data, which is trained once for all tests."""
    if line not in TRAINED:
        ran = avs("train", "a.txt", *TEXTS, *line, "--epochs", 5, "--learning-rate", 0.01, "-o", name, *PLACE)
        assert ran.returncode == 0, ran.stderr
        TRAINED[line] = Path(name).read_bytes()
    Path(name).write_bytes(TRAINED[line])


def distilled(*more: object, name: str = "s.safetensors") -> list[object]:
    return ["distill", *stores(), *TEXTS, "--captions", "a.txt", "-o", name, *STUDENT, *PLACE, *more]


def values(path: str) -> list[dict[str, float]]:
    names, *rows = [line.split(",") for line in Path(path).read_text().splitlines()]
    return [dict(zip(names, map(float, row), strict=True)) for row in rows]


def scores(path: str, *texts: str) -> torch.Tensor:
    """A head's scores of the validation captions and videos."""
    (loaded,) = load_heads([path])
    with TrainingData(["v-frames.h5"], texts or ["v-text.h5"]) as data:
        return score_matrix(loaded.head, data.pairs(["v.txt"]))


def correlation(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1])


# Over stores


def test_a_student_comes_closer_to_its_teacher_than_it_began(avs: Avs, data: Path) -> None:
    teacher(avs, *stores(), *XPOOL)
    ran = avs(*distilled("--teacher", "t.safetensors", "--validate", "v.txt", "--epochs", 8))
    assert ran.returncode == 0, ran.stderr
    rows = values("s.safetensors.csv")
    assert [*rows[0]][:7] == ["epoch", "loss", "R@1", "R@5", "R@10", "SumR", "v2t R@1"]
    assert rows[-1]["loss"] < 0.8 * rows[0]["loss"]
    assert max(row["SumR"] for row in rows) > 1.5 * 100 * (1 + 5 + 10) / 20  # what chance would give
    begun = avs(*distilled("--teacher", "t.safetensors", "--epochs", 1, "--learning-rate", 0, name="begun.safetensors"))
    assert begun.returncode == 0
    taught = scores("t.safetensors")
    assert correlation(taught, scores("s.safetensors")) > correlation(taught, scores("begun.safetensors")) + 0.1


def test_without_a_teacher_the_student_learns_from_its_captions(avs: Avs, data: Path) -> None:
    ran = avs(*distilled("--validate", "v.txt", "--epochs", 8))
    assert ran.returncode == 0, ran.stderr
    rows = values("s.safetensors.csv")
    assert rows[-1]["loss"] < 0.8 * rows[0]["loss"]
    assert max(row["SumR"] for row in rows) > 1.5 * 100 * (1 + 5 + 10) / 20  # what chance would give
    told = load_head(data / "s.safetensors").head
    assert (told["teachers"], told["training"].keys() & {"coarse", "fine", "loss_weights"}) == ({}, set())
    assert not Path("s.safetensors.kept").exists()
    # As with a teacher whose losses do not count.
    teacher(avs, *stores(), *XPOOL)
    deaf = distilled("--teacher", "t.safetensors", "--loss-weights", "1,0,0", "--epochs", 8, name="deaf.safetensors")
    assert avs(*deaf).returncode == 0
    alone = avs(*distilled("--epochs", 8, name="alone.safetensors"))
    assert alone.returncode == 0
    one = load_head(data / "alone.safetensors").weights
    for key, value in load_head(data / "deaf.safetensors").weights.items():
        torch.testing.assert_close(one[key], value, atol=1e-5, rtol=1e-4)


def test_weight_decay_takes_away_from_the_students_weights(avs: Avs, data: Path) -> None:
    teacher(avs, *stores(), *XPOOL)
    lengths = {}
    for decay in (0, 20):
        line = ["--teacher", "t.safetensors", "--epochs", 2, "--weight-decay", decay]
        ran = avs(*distilled(*line, name=f"{decay}.safetensors"))
        assert ran.returncode == 0, ran.stderr
        kept = load_head(data / f"{decay}.safetensors")
        assert kept.head["training"]["weight_decay"] == decay
        lengths[decay] = float(kept.weights["video.weight"].norm())
    assert lengths[20] < 0.5 * lengths[0]


class Pointing(NamedTuple):
    """A teacher to whom all pairs are the same, and in each video one frame is all that matters: its rows say which."""

    def targets(self, texts: torch.Tensor, videos: torch.Tensor) -> Targets:
        return Targets(texts.new_zeros(len(texts), len(videos)), videos)


def test_frames_that_a_teacher_finds_relevant_come_to_count() -> None:
    told = describe("afa:dim=16,frames=3", [Input("frames", 4, True)], [Input("sent", 2)], [], Corpus([], dim=1), {})
    torch.manual_seed(0)
    student = HeadStudent(rebuild(told), 0.05)
    frames = torch.eye(4)[torch.tensor([0, 1, 2, 1, 3, 0, 2, 3, 0])]  # what matters is the first of the four
    batch = Batch([Ragged(frames, torch.tensor([0, 3, 6, 9]))], [torch.zeros(3, 2)], ["", "", ""], torch.arange(3),
                  [], [], torch.zeros(0, dtype=torch.int64))  # fmt: skip
    lesson = Lesson(batch, [(torch.zeros(3, 1), (frames[:, 0].view(3, 3)))])
    loss = Teaching(student, [Pointing()], Recipe(matching_weight=0, coarse_weight=0, fine_weight=1))
    optimizer = torch.optim.AdamW(student.parameters(), 0.01)
    for _ in range(40):
        optimizer.zero_grad()
        loss(lesson).backward()
        optimizer.step()
    logits = student.watch(batch).logits
    assert logits is not None
    assert logits.softmax(1)[0, 0] > 0.9
    assert logits.softmax(1)[1, 2] > 0.9


def test_what_teachers_make_of_items_is_kept_and_not_made_again(
    avs: Avs, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher(avs, *stores(), *XPOOL)
    line = ["--teacher", "t.safetensors", "--epochs", 2, "--cache", "kept"]
    assert avs(*distilled(*line)).returncode == 0
    assert sorted(path.name.split("-")[-1] for path in (data / "kept").iterdir()) == ["texts.h5", "videos.h5"]
    monkeypatch.setattr(vector_cache, "_write", None)
    ran = avs(*distilled(*line, name="again.safetensors"))
    assert ran.returncode == 0, ran.stderr
    assert (data / "again.safetensors").read_bytes() == (data / "s.safetensors").read_bytes()
    # Other vectors under the same names are other inputs.
    store(data / "a-frames.h5.new", "frames", {f"a{k}": np.ones((2, THINGS)) for k in range(40)}, frames=True)
    (data / "a-frames.h5.new").replace(data / "a-frames.h5")
    monkeypatch.undo()
    monkeypatch.chdir(data)
    assert avs(*distilled(*line, name="other.safetensors")).returncode == 0
    assert len([*(data / "kept").iterdir()]) == 4


def test_a_distillation_that_stops_goes_on_to_the_same_bytes(avs: Avs, data: Path) -> None:
    teacher(avs, *stores(), *XPOOL)
    line = ["--teacher", "t.safetensors", "--validate", "v.txt", "--epochs", 3, "--cache", "kept"]
    assert avs(*distilled(*line)).returncode == 0
    cut = distilled(*line, name="cut.safetensors")
    assert "no time for epoch 2; the same command resumes there" in avs(*cut, "--time-limit", 0.00001).stderr
    assert "resuming after epoch 1" in avs(*cut).stderr
    for end in ("", ".last"):
        one, other = (load_head(data / f"{name}.safetensors{end}", training=True) for name in ("s", "cut"))
        assert all(torch.equal(one.weights[key], value) for key, value in other.weights.items())
        assert one.training.keys() == other.training.keys()
        assert bool(other.training) == (end == ".last")
        assert all(torch.equal(one.training[key], value) for key, value in other.training.items())
    ran = avs(*cut, "--coarse", "ce")
    assert ran.returncode == 3
    assert "cut.safetensors.last is from a training with" in ran.stderr


def test_several_teachers_teach_together_over_features_that_the_student_never_sees(avs: Avs, data: Path) -> None:
    teacher(avs, *stores(), *XPOOL)
    teacher(avs, *stores("whole"), "--head", "w2vvpp:dim=8", name="w.safetensors")
    teacher(avs, *stores(), "--head", "laff:dim=8,heads=2", name="l.safetensors")
    line = [part for name in "twl" for part in ("--teacher", f"{name}.safetensors")] + ["--epochs", 2]
    ran = avs(*distilled(*line))
    assert ran.returncode == 3
    assert "w.safetensors was trained with the feature 'whole'; the stores have frames" in ran.stderr
    ran = avs(*distilled(*line, *stores("whole", "--teacher-video")))
    assert ran.returncode == 0, ran.stderr
    told = load_head(data / "s.safetensors").head
    assert [video["name"] for video in told["videos"]] == ["frames"]
    assert told["teachers"]["w"] == {"products": 8, "gates": 0, "stored": 32}
    assert told["teachers"]["t"]["products"] == 2 * 4 * 16 + 16**2 + 16


def test_frames_and_whole_videos_of_one_name_are_not_taken_for_each_other(avs: Avs, data: Path) -> None:
    teacher(avs, *stores(), *XPOOL)
    store(data / "w.h5", "frames", {f"a{k}": np.ones(THINGS) for k in range(40)})
    ran = avs(*distilled("--teacher", "t.safetensors", "--teacher-video", "w.h5"))
    assert (ran.returncode, len(ran.stderr.splitlines())) == (3, 1)
    assert "w.h5::frames are two features of one name" in ran.stderr
    assert "avs extract -o FILE::frames" in ran.stderr


def test_a_teacher_that_reads_words_teaches_a_student_that_reads_sentences(avs: Avs, data: Path) -> None:
    teacher(avs, *stores(), *stores("words", "--text"), "--head", "xclip:dim=16,frames=4,words=3", *XPOOL[2:])
    line = distilled("--teacher", "t.safetensors", "--epochs", 8)
    ran = avs(*line)
    assert (ran.returncode, "t.safetensors was trained with the feature 'words'" in ran.stderr) == (3, True)
    told = avs(*line, *stores("words", "--teacher-text"))
    assert told.returncode == 0, told.stderr
    assert [text["name"] for text in load_head(data / "s.safetensors").head["texts"]] == ["sent"]
    assert load_head(data / "s.safetensors").head["teachers"]["t"]["stored"] == 4 * 16 * (1 + 4)
    assert avs(*line[:-1], 1, *stores("words", "--teacher-text"), "--learning-rate", 0, "-o", "begun").returncode == 0
    taught = scores("t.safetensors", "v-text.h5", "v-words.h5")
    assert correlation(taught, scores("s.safetensors")) > correlation(taught, scores("begun")) + 0.1

    (data / "topics.txt").write_text("\n".join((data / "v.txt").read_text().splitlines()[:3]) + "\n")
    ran = avs("search", "v-frames.h5", "--head", "t.safetensors", "--topics", "topics.txt", "--vectors", "v-text.h5",
              "--vectors", "v-words.h5", "-o", "v.run", *PLACE)  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    for row, ranking in enumerate(read_run("v.run").values()):
        assert [ranking[f"v{k}"] for k in range(20)] == approx(taught[row].tolist(), abs=1e-5)


@pytest.mark.parametrize("head", ["t", "s"])
def test_teacher_and_student_are_searched_as_any_head(avs: Avs, data: Path, head: str) -> None:
    teacher(avs, *stores(), *XPOOL)
    assert avs(*distilled("--teacher", "t.safetensors", "--epochs", 1)).returncode == 0
    (data / "topics.txt").write_text("\n".join((data / "v.txt").read_text().splitlines()[:3]) + "\n")
    ran = avs("search", "v-frames.h5", "--head", f"{head}.safetensors", "--topics", "topics.txt", "--vectors",
              "v-text.h5", "-o", "v.run", *PLACE)  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    run, expected = read_run("v.run"), scores(f"{head}.safetensors")
    for row, ranking in enumerate(run.values()):
        assert [ranking[f"v{k}"] for k in range(20)] == approx(expected[row].tolist(), abs=1e-5)


@pytest.fixture
def together(avs: Avs, forked: Callable[..., int]) -> Callable[[list[object]], tuple[Any, int]]:
    """Two processes of a torchrun: what ran here, and the other's exit code."""

    def run(line: list[object]) -> tuple[Any, int]:
        with socket.socket() as free:
            free.bind(("localhost", 0))
            team = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(free.getsockname()[1])}
        with pytest.MonkeyPatch.context() as environment:
            for name, value in {**team, "RANK": "0"}.items():
                environment.setenv(name, value)
            other = forked(line, lambda: os.environ.update(RANK="1"))
            ran = avs(*line)
            return ran, os.waitstatus_to_exitcode(os.waitpid(other, 0)[1])

    return run


Together = Callable[[list[object]], tuple[Any, int]]
FORKS = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@FORKS
def test_two_processes_distil_what_one_does(avs: Avs, together: Together, data: Path) -> None:
    teacher(avs, *stores(), *XPOOL)
    line = distilled("--teacher", "t.safetensors", "--epochs", 1, "--cache", "kept", name="two.safetensors")
    ran, other = together(line)
    assert (ran.returncode, other) == (0, 0), ran.stderr
    assert avs(*line, "--batch-size", 40, "-o", "one.safetensors").returncode == 0
    one, two = (load_head(data / f"{name}.safetensors").weights for name in ("one", "two"))
    # A softmax takes no notice of this one: its gradient is rounding, of which AdamW makes a step.
    for key in one.keys() - {"pool.attention.second.bias"}:
        np.testing.assert_allclose(two[key], one[key], atol=2e-5)


@pytest.mark.parametrize(
    ("more", "code", "told"),
    [
        (["--fine", "l1"], 2, "--fine has no effect without --teacher"),
        (["--cache", "kept"], 2, "--cache has no effect without INPUT clips or --teacher"),
        (["--teacher-text", "a-text.h5"], 2, "--teacher-text has no effect without --teacher"),
        (["--teacher", "none.safetensors"], 3, "none.safetensors: no such file"),
        (["--teacher", "a.txt"], 3, "a.txt: not a head file"),
        (["--teacher", "t.safetensors", "--student", "xpool:dim=16,frames=4"], 2, "are trained by avs train --head"),
        (["--student", "xclip"], 2, "on stored features, a student is a head with one vector per shot, such as afa"),
        (["--teacher", "t.safetensors", "--student", "laf"], 2, "did you mean 'laff'?"),
        (["--teacher", "t.safetensors", "--student", "afa:dim=16,frames=3"], 3, "uses 4 frames, the student 3"),
        (["--teacher", "t.safetensors", "--loss-weights", "1,2"], 2, "expected three numbers"),
        (["--teacher", "t.safetensors", "clip.mp4"], 2, "either on INPUT clips or on the stores"),
        (["--teacher", "t.safetensors", "--weights", "w"], 2, "--weights has no effect without INPUT clips"),
        (["--teacher", "t.safetensors", "-o", "-"], 2, "needs --output FILE"),
    ],
)
def test_mistakes_are_told_in_one_line(avs: Avs, data: Path, more: list[str], code: int, told: str) -> None:
    teacher(avs, *stores(), *XPOOL)
    ran = avs(*distilled(*more))
    assert ran.returncode == code, ran.stderr
    assert told in ran.stderr
    assert "Traceback" not in ran.stderr


def test_the_student_needs_frames(avs: Avs, data: Path) -> None:
    teacher(avs, *stores("whole"), "--head", "w2vvpp:dim=8")
    line = ["distill", *stores("whole"), *TEXTS, "--captions", "a.txt", "-o", "s.safetensors"]
    ran = avs(*line, "--teacher", "t.safetensors", *STUDENT, *PLACE)
    assert (ran.returncode, len(ran.stderr.splitlines())) == (2, 1)
    assert "afa looks at the frames of one video feature" in ran.stderr


# Options that apply in some uses only


VALUES = {
    "--captions": "c.txt", "--teacher": "xclip=t.st", "--output": "s.st", "--student": "clip", "--validate": "c.txt",
    "--coarse": "ce", "--fine": "l1", "--loss-weights": "1,1,1", "--cache": "kept", "--optimizer": "adamw",
    "--learning-rate": 1, "--weight-decay": 1, "--epochs": 1, "--batch-size": 2, "--precision": "bf16", "--seed": 1,
    "--time-limit": 1, "--skip-missing": None, "--tensorboard": "curves", "--device": "cpu", "--threads": 1,
    "--engine": "local", "--scheduler": "nowhere.json",
}  # fmt: skip
CLIPS_ALONE = {
    "--weights": "w", "--frames": 4, "--words": 9, "--aggregate": "mean", "--pool-temperature": 1, "--masked": None,
    "--tower-rate": 1, "--chunk": 1, "--workers": 1, "--cache-frames": "jpeg", "--cache-limit": 1,
}  # fmt: skip
STORES_ALONE = {
    "--text": "bow", "--word-vectors": "w", "--teacher-video": "v.h5", "--teacher-text": "t.h5", "--temperature": 1,
    "--allow-mismatch": None,
}  # fmt: skip
# Without the other option that it is about, one of these says nothing.
BESIDE = {
    "--metric": ("R@1", "--validate", "c.txt"), "--word-vectors": ("w", "--text", "bow"),
    "--scheduler": ("nowhere.json", "--engine", "dask"),
}  # fmt: skip


def written(option: str) -> list[object]:
    value = {**VALUES, **CLIPS_ALONE, **STORES_ALONE, "--metric": "R@1"}[option]
    return [option] if value is None else [option, value]


def test_the_uses_of_all_options_are_known_here() -> None:
    (command,) = cli.build(["distill"]).commands.values()
    options = {max(one.opts, key=len) for one in command.params if one.param_type_name == "option"} - {"--help"}
    assert options - {"--video"} == {*VALUES, *CLIPS_ALONE, *STORES_ALONE, "--metric"}


@pytest.mark.parametrize("option", sorted({*VALUES, *CLIPS_ALONE, *STORES_ALONE, "--metric"}))
@pytest.mark.parametrize("use", ["--video", "INPUT clips"])
def test_an_option_that_would_have_no_effect_is_refused(avs: Avs, option: str, use: str) -> None:
    source, foreign = (["--video", "v.h5"], CLIPS_ALONE) if use == "--video" else (["v.mp4"], STORES_ALONE)
    line = ["distill", *source, "--captions", "c.txt", "--teacher", "xclip=t.st", "-o", "s.st"]
    ran = avs(*line, *written(option), *(() if option in foreign else BESIDE.get(option, ())[1:]))
    if option in foreign:
        other = "INPUT clips" if use == "--video" else "--video"
        assert (ran.returncode, ran.stderr) == (2, f"avs: {option} has no effect without {other}\n")
    else:
        assert ran.returncode in (3, 4), ran.stderr  # there are no such files
    if option in BESIDE and option not in foreign:
        ran = avs(*line, *written(option))
        assert (ran.returncode, f"avs: {option} has no effect without " in ran.stderr) == (2, True)


@pytest.mark.parametrize("more", [["--masked"], ["--pool-temperature", 1]])
@pytest.mark.parametrize("aggregate", ["seqtransf", "mean"])
def test_a_mean_of_frames_has_no_attention_to_be_set(avs: Avs, more: list[object], aggregate: str) -> None:
    line = ["distill", "v.mp4", "--captions", "c.txt", "--teacher", "xclip=t.st", "-o", "s.st"]
    ran = avs(*line, "--aggregate", aggregate, *more)
    assert (ran.returncode, ran.stderr) == (2, f"avs: {more[0]} has no effect without --aggregate attention\n")


def test_settings_for_other_runs_are_no_mistake(avs: Avs, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher(avs, *stores(), *XPOOL)
    (data / "avs.toml").write_text("[distill]\nframes = 4\n")
    monkeypatch.setenv("AVS_WORKERS", "1")
    ran = avs(*distilled("--teacher", "t.safetensors", "--epochs", 1))
    assert ran.returncode == 0, ran.stderr


def test_a_student_reads_pretrained_word_vectors(avs: Avs, data: Path) -> None:
    teacher(avs, *stores(), *XPOOL)
    line = [part for part in distilled("--teacher", "t.safetensors", "--epochs", 1, "--text", "word2vec")]
    ran = avs(*line)
    assert (ran.returncode, "give them with --word-vectors" in ran.stderr) == (2, True)
    (data / "vectors.txt").write_text("".join(f"thing{k} {k} 1 0\n" for k in range(THINGS)))
    ran = avs(*line, "--word-vectors", "vectors.txt")
    assert ran.returncode == 0, ran.stderr
    (encoder,) = load_head(data / "s.safetensors").head["encoders"]
    assert (encoder["name"], encoder["word_dim"], len(encoder["words"])) == ("word2vec", 3, THINGS)


# Parts


def test_frames_are_spread_as_linspace_does_and_short_items_end_with_zeros() -> None:
    lengths = [1, 3, 4, 9, 120]
    ends = torch.tensor([0, *np.cumsum(lengths)])
    rows = torch.cat([torch.arange(1, n + 1) for n in lengths]).float()[:, None]
    for count in (1, 4, 50):
        frames, there = framed(Ragged(rows, ends), count)
        for item, length in enumerate(lengths):
            kept = np.linspace(0, length - 1, count).astype(int) if length > count else np.arange(length)
            assert frames[item, : len(kept), 0].tolist() == (kept + 1).tolist()
            assert not frames[item, len(kept) :].any()
            assert there[item].tolist() == [True] * len(kept) + [False] * (count - len(kept))


def test_arrays_come_back_out_of_one_row_per_item() -> None:
    arrays = {"words": torch.randn(3, 2, 4), "mask": torch.ones(3, 2), "a": torch.randn(3, 4)}
    rows = packed(arrays)
    assert rows.shape == (3, 8 + 2 + 4)
    again = unpacked(rows, {name: tuple(array.shape[1:]) for name, array in arrays.items()})
    assert all(torch.equal(array, again[name]) for name, array in arrays.items())


def test_both_directions_are_measured() -> None:
    # Captions 0 and 1 are of video 0, caption 2 is of video 1; caption 1 finds the other video first.
    scores = torch.tensor([[0.9, 0.1], [0.2, 0.3], [0.4, 0.5]])
    found = both_ways(scores.__getitem__, np.array([0, 0, 1]), 2)
    assert found["R@1"] == approx(2 / 3)
    assert found["SumR"] == approx(100 * 2 / 3 + 200)
    assert found["v2t R@1"] == 1


def test_pictures_that_repeat_at_the_end_are_no_frames() -> None:
    one, other = np.zeros((2, 2, 3), np.uint8), np.ones((2, 2, 3), np.uint8)
    assert counted(np.stack([one, other, other, other])).tolist() == [True, True, False, False]
    assert counted(np.stack([one, one, other])).tolist() == [True, True, True]
    assert counted(np.stack([one, one])).tolist() == [True, False]


# From clips


DIM = 16  # of the towers' vectors, and the width of the text tower: its 49408 pieces of words are most of a file
TOWER = {"image_size": 32, "layers": 1, "width": 64, "head_width": 64, "patch_size": 16}
CONFIG: dict[str, Any] = {
    "embed_dim": DIM, "quick_gelu": True, "vision_cfg": TOWER,
    "text_cfg": {"width": DIM, "heads": 1, "layers": 1, "context_length": 16, "vocab_size": 49408},
}  # fmt: skip
FRAMES, WORDS = 3, 12


@functools.cache
def clip(seed: int) -> dict[str, torch.Tensor]:
    import open_clip

    torch.manual_seed(seed)
    return {key: value.clone() for key, value in open_clip.CLIP(**CONFIG).state_dict().items()}


@functools.cache
def published(name: str, seed: int) -> dict[str, torch.Tensor]:
    """A teacher with random weights, as its authors would publish it."""
    names = importlib.import_module(f"avs_cli.core.models.teachers.{name}").PUBLISHED
    torch.manual_seed(seed)
    own = teachers.load(name if name == "xpool" else f"{name}:layers=1")(DIM, FRAMES, WORDS).state_dict()
    theirs = {ours: key for key, ours in names.items()}
    renamed = {checkpoints.renamed(key, theirs) or key: value for key, value in own.items() if key != "logit_scale"}
    return renamed | {f"clip.{key}": value for key, value in clip(seed).items()}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny CLIP and two teachers."""
    folder = tmp_path_factory.mktemp("weights")
    (folder / "clip").mkdir()
    save_file(clip(0), folder / "clip" / "open_clip_model.safetensors")
    (folder / "clip" / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG}))
    for seed, name in enumerate(("xclip", "ts2net"), start=1):
        save_file(published(name, seed), folder / f"{name}.safetensors")
    return folder


@pytest.fixture
def towers(avs: Avs, weights: Path, tmp_path: Path) -> Path:
    """The same in a folder of the test's own, where no test writes to them."""
    shutil.copytree(weights, tmp_path, copy_function=os.link, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture(scope="module")
def decoded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The frames of clips: to decode them takes longer than to learn from them."""
    folder = tmp_path_factory.mktemp("decoded")
    sampling, pixels = Sampling(fps=1.0, count=FRAMES, clip=FRAMES), Pixels(32, 32)
    inputs, ids = [*map(str, QUICK)], {path.stem for path in QUICK}
    return decode_clips(Team("cpu"), inputs, ids, CacheSettings(folder), sampling, pixels, 1).cache.folder


@pytest.fixture
def footage(towers: Path, decoded: Path) -> Path:
    """Those, captions of a few clips, and their frames."""
    (towers / "kept").mkdir()
    (towers / "kept" / decoded.name).symlink_to(decoded)
    lines = [line.split("\t") for line in (CLIPS / "captions.tsv").read_text().splitlines()[1:]]
    (towers / "c.txt").write_text(
        "".join(f"{Path(file).stem}#enc#{k} {caption}\n" for file, _, caption in lines for k in (0, 1)
                if Path(file).stem in SOME)
    )  # fmt: skip
    return towers


def from_clips(*more: object, name: str = "s.safetensors", inputs: Sequence[object] = ()) -> list[object]:
    videos = inputs or [path for path in sorted(CLIPS.iterdir()) if path.stem in SOME]
    return [
        "distill", *videos, "--captions", "c.txt", "--weights", "clip", "--frames", FRAMES, "--words", WORDS,
        "--teacher", "xclip:layers=1=xclip.safetensors", "--batch-size", 6, "--learning-rate", 3e-3, "--tower-rate",
        1, "--cache", "kept", "--workers", 1, "-o", name, *PLACE, *more,
    ]  # fmt: skip


def taught(path: Path, name: str) -> torch.Tensor:
    """A teacher's scores from what was kept of it."""
    rows = {}
    for end in ("texts", "videos"):
        with Store(next(path.glob(f"kept/{name}-*-{end}.h5"))) as kept:
            shapes = {key: tuple(shape) for key, shape in kept.provenance["shapes"].items()}
            rows[end] = unpacked(torch.from_numpy(kept.vectors.astype(np.float32)), shapes)
    model = teachers.load(f"{name}:layers=1")(DIM, FRAMES, WORDS)
    model.load_published(published(name, {"xclip": 1, "ts2net": 2}[name]))
    with torch.inference_mode():
        return model.eval().similarities(rows["texts"], rows["videos"])


def asked(path: Path, student: str) -> torch.Tensor:
    """A student's scores, as a feature: captions against clips."""
    feature = encoders.load("teachclip")(Runtime(reader, weights=str(path / student)))
    with Store(path / "g.h5") as gallery:
        vectors = gallery.read(sorted(SOME)).vectors.astype(np.float32)
    lines = (path / "c.txt").read_text().splitlines()
    texts = feature.encode_text([line.partition(" ")[2] for line in lines])
    # Videos in the order in which captions first name them, as the teachers' rows are.
    order = [sorted(SOME).index(id) for id in dict.fromkeys(line.partition("#")[0] for line in lines)]
    one, other = (torch.nn.functional.normalize(torch.from_numpy(x)) for x in (texts, vectors[order]))
    return one @ other.T


@needs_clips
def test_from_clips_the_student_learns_goes_on_and_is_a_feature_like_any_other(avs: Avs, footage: Path) -> None:
    line = ["--teacher", "ts2net:layers=1=ts2net.safetensors", "--validate", "c.txt", "--epochs", 12]
    ran = avs(*from_clips(*line))
    assert ran.returncode == 0, ran.stderr
    rows = values("s.safetensors.csv")
    assert rows[-1]["loss"] < rows[0]["loss"]

    cut = from_clips(*line, name="cut.safetensors")
    assert "the same command resumes there" in avs(*cut, "--time-limit", 0.00001).stderr
    assert "resuming after epoch 1" in avs(*cut).stderr
    for end in ("", ".last"):
        one, other = (load_head(footage / f"{name}.safetensors{end}", training=True) for name in ("s", "cut"))
        assert all(torch.equal(one.weights[key], value) for key, value in other.weights.items())
        assert one.training.keys() == other.training.keys()
        assert bool(other.training) == (end == ".last")
        assert all(torch.equal(one.training[key], value) for key, value in other.training.items())

    closer = []
    begun = from_clips("--epochs", 1, "--learning-rate", 0, name="begun.safetensors")
    assert avs(*begun).returncode == 0
    for student in ("begun.safetensors", "s.safetensors.last"):
        (footage / "g.h5").unlink(missing_ok=True)
        (footage / "student.safetensors").unlink(missing_ok=True)
        (footage / "student.safetensors").write_bytes((footage / student).read_bytes())
        videos = [path for path in sorted(CLIPS.iterdir()) if path.stem in SOME]
        extracted = ["extract", *videos, "--model", "teachclip", "--weights", "student.safetensors", "-o", "g.h5"]
        ran = avs(*extracted, "--dtype", "float32", "--workers", 1, *PLACE)
        assert ran.returncode == 0, ran.stderr
        scored = asked(footage, "student.safetensors")
        assert scored.shape == (12, 6)
        closer.append(correlation(scored, taught(footage, "xclip")) + correlation(scored, taught(footage, "ts2net")))
    assert closer[1] > closer[0]
    ran = avs("search", "g.h5", "--query", "a dog", "--weights", "student.safetensors", "-o", "q.run", *PLACE)
    assert ran.returncode == 0, ran.stderr
    assert {*read_run("q.run")["query"]} == {*SOME}
    ran = avs("search", "g.h5", "--query", "a dog", "--head", "s.safetensors", *PLACE)
    assert (ran.returncode, "extract with --model teachclip" in ran.stderr) == (2, True)
    told = load_head(footage / "s.safetensors").head
    assert told["teachers"]["ts2net"]["products"] == FRAMES * DIM


def closeness(path: Path, student: str, videos: Sequence[Path]) -> list[float]:
    """How a student's scores of all captions against all of these clips correlate with those of either teacher."""
    told = load_head(path / student)
    model = ClipStudent(**{key: value for key, value in told.head["settings"].items() if key != "interpolation"})
    model.load_state_dict(told.weights)
    sampling, ids = Sampling(fps=1.0, count=FRAMES, clip=FRAMES), {video.stem for video in videos}
    found = decode_clips(
        Team("cpu"), [*map(str, videos)], ids, CacheSettings(path / "kept"), sampling, Pixels(32, 32), 1
    )
    told = footage_of([str(path / "c.txt")], found, WORDS, False)
    scored = clip_scores_of(model, told)(np.arange(len(told.pairs.captions)))
    assert scored.shape == (len(videos), len(videos))
    return [correlation(scored, taught(path, name)) for name in ("xclip", "ts2net")]


@pytest.fixture
def quick_clips(footage: Path) -> list[Path]:
    """All clips that are decoded, with a caption each."""
    lines = [line.split("\t") for line in (CLIPS / "captions.tsv").read_text().splitlines()[1:]]
    told = {CLIPS / file: caption for file, _, caption in lines}
    (footage / "c.txt").write_text("".join(f"{path.stem}#enc#0 {told[path]}\n" for path in QUICK))
    return QUICK


@needs_clips
def test_on_clips_the_loss_falls_and_the_students_scores_approach_the_teachers(
    avs: Avs, quick_clips: list[Path], footage: Path
) -> None:
    line = ["--teacher", "ts2net:layers=1=ts2net.safetensors", "--batch-size", len(quick_clips)]
    for name, more in (
        ("begun", ["--epochs", 1, "--learning-rate", 0]),
        ("untaught", ["--epochs", 12, "--loss-weights", "1,0,0"]),
        ("s", ["--epochs", 12]),
    ):
        ran = avs(*from_clips(*line, *more, name=f"{name}.safetensors", inputs=quick_clips))
        assert ran.returncode == 0, ran.stderr
    rows = values("s.safetensors.csv")
    assert rows[-1]["loss"] < 0.8 * rows[0]["loss"]
    assert load_head(footage / "s.safetensors").head["training"]["weight_decay"] == 0.2
    begun, untaught, after = (
        closeness(footage, f"{name}.safetensors", quick_clips) for name in ("begun", "untaught", "s")
    )
    for less in (begun, untaught):
        assert [late > early + 0.15 for early, late in zip(less, after, strict=True)] == [True, True]
    assert len([*footage.glob("kept/frames-*")]) == 1  # decoded once


@needs_clips
def test_a_bad_video_is_told_and_the_others_are_learned_from(avs: Avs, footage: Path) -> None:
    (footage / "bad.mp4").write_bytes(b"no video" * 100)
    with (footage / "c.txt").open("a") as captions:
        captions.write("bad#enc#0 nothing\n")
    ran = avs(*from_clips("bad.mp4", "--epochs", 1))
    assert ran.returncode == 5
    assert "s.safetensors: trained without 1 unreadable videos" in ran.stderr
    assert "1 of 13 captions skipped: no video" in ran.stderr
    assert (footage / "s.safetensors").exists()
    with (footage / "c.txt").open("a") as captions:
        captions.write("gone#enc#0 nothing\n")
    ran = avs(*from_clips("bad.mp4", "--epochs", 1))
    assert ran.returncode == 3
    assert "the inputs lack 1 of the videos in c.txt: gone; --skip-missing skips them" in ran.stderr


@needs_clips
@pytest.mark.parametrize("aggregate", ["attention", "seqtransf", "mean"])
def test_towers_that_stay_as_they_are_are_asked_once(avs: Avs, footage: Path, aggregate: str) -> None:
    line = from_clips("--epochs", 2, "--tower-rate", 0, "--aggregate", aggregate)
    attends = aggregate == "attention"
    ran = avs(*line, *(["--masked", "--pool-temperature", 0.2] if attends else []))
    assert ran.returncode == 0, ran.stderr
    settings = load_head(footage / "s.safetensors").head["settings"]
    assert (settings["masked"], settings["temperature"]) == ((True, 0.2) if attends else (False, 0.1))
    weights = load_head(footage / "s.safetensors").weights
    assert all(torch.equal(weights[f"towers.network.{key}"], value) for key, value in clip(0).items())
    assert any(key.startswith("student.temporal.") for key in weights) == (aggregate != "mean")
    assert any(key.startswith("student.attention.") for key in weights) == (aggregate == "attention")
    # The mean of the frames has nothing to learn but the scale, whose rate is the towers'.
    if aggregate != "mean":
        assert not torch.equal(weights["student.temporal.positions"], clip(0)["positional_embedding"])


@needs_clips
@pytest.mark.parametrize(
    ("more", "code", "told"),
    [
        (["--teacher", "xclip.safetensors"], 2, "a teacher is NAME=FILE, such as xclip=xclip.safetensors"),
        (["--teacher", "xclop=xclip.safetensors"], 2, "did you mean 'xclip'?"),
        (["--teacher", "xclip:layers=1=none.safetensors"], 3, "none.safetensors: no such file"),
        (["--teacher", "xpool=xclip.safetensors"], 3, "in the published weights of X-Pool"),
        (["--teacher", "xclip:layers=1=clip/open_clip_model.safetensors"], 3, "no CLIP model"),
        (["--student", "minilm"], 2, "give clip, open-clip:NAME/TAG"),
        (["--words", 17], 2, "at most 16"),
        (["--words", 9], 3, "xclip.safetensors was trained with --frames 3 --words 12; use these options"),
        (["--text", "bow"], 2, "--text has no effect without --video"),
    ],
)
def test_mistakes_with_clips_are_told_in_one_line(
    avs: Avs, footage: Path, more: list[str], code: int, told: str
) -> None:
    ran = avs(*from_clips("--epochs", 1, *more))
    assert ran.returncode == code, ran.stderr
    assert told in ran.stderr
    assert "Traceback" not in ran.stderr


def test_frames_in_chunks_give_the_same_gradients() -> None:
    draw = torch.Generator().manual_seed(0)
    batch = ClipBatch(
        torch.randint(0, 255, (4, FRAMES, 32, 32, 3), dtype=torch.uint8, generator=draw),
        torch.tensor([[True] * 3, [True, True, False], [True, False, False], [True] * 3]),
        torch.randint(1, 400, (5, WORDS), generator=draw),
        torch.tensor([0, 1, 2, 3, 3]),
        torch.tensor([5, 6, 7, 8, 8]),
    )
    torch.manual_seed(0)
    student = ClipStudent(CONFIG, FRAMES, WORDS, layers=1)
    found = []
    for chunk in (0, 5):
        student.chunk = chunk
        student.zero_grad()
        loss = Teaching(student, [], Recipe())(Lesson(batch, []))
        loss.backward()
        found.append({name: p.grad.clone() for name, p in student.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, atol=1e-5, rtol=1e-3)


def test_the_authors_student_gives_the_vectors_of_ours(tmp_path: Path) -> None:
    torch.manual_seed(1)
    ours = ClipStudent(CONFIG, 12, WORDS, layers=1).eval()
    theirs = {name: key for key, name in checkpoints.STUDENT.items()}
    state = {}
    for key, value in ours.state_dict().items():
        if key.startswith("towers.network."):
            state[key.replace("towers.network.", "clip.")] = value
        elif (name := key.removeprefix("student.")) != "logit_scale":
            state[checkpoints.renamed(name, theirs) or name] = value
    save_file(state, tmp_path / "teachclip.safetensors")
    feature = encoders.load(f"teachclip:words={WORDS}")(
        Runtime(reader, weights=str(tmp_path / "teachclip.safetensors"))
    )
    pictures = np.random.default_rng(0).integers(0, 255, (12, 32, 32, 3), np.uint8)
    with torch.inference_mode():
        expected = ours.watched(torch.from_numpy(pictures)[None], torch.ones(1, 12)).vectors
    torch.testing.assert_close(torch.from_numpy(feature.encode_frames(pictures)), expected)


# What decoded frames take


def test_what_frames_take_is_told_and_bounded(avs: Avs, films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Four films of 3 frames of 32 x 32 pixels, three bytes each, and 128 bytes for each file's header.
    taken = 4 * (3 * 32 * 32 * 3)
    line = alone("--epochs", 1, inputs=["shots.tsv"])
    ran = avs(*line, "--cache-limit", (taken - 1) / 1e9)
    assert ran.returncode == 2
    assert "avs: frames of 4 clips need 3.69e-05 GB as raw pixels in kept/frames-" in ran.stderr
    assert "more than --cache-limit allows (3.69e-05 GB); --cache-frames jpeg needs about a seventh; or give a lar" in (
        ran.stderr
    )
    assert not Path("kept").exists()
    with monkeypatch.context() as full:
        full.setattr("avs_cli.stages.clip_frames.disk_usage", lambda folder: SimpleNamespace(free=1000))
        ran = avs(*line)
    assert (ran.returncode, "has only 1e-06 GB free; give --cache FOLDER on a larger disk" in ran.stderr) == (2, True)
    ran = avs(*line, "--cache-limit", (taken + 4 * 128) / 1e9)
    assert ran.returncode == 0, ran.stderr
    assert "frames of 4 clips need 3.69e-05 GB as raw pixels, cached in kept/frames-" in ran.stderr
    again = avs(*line, "--cache-limit", 0, "-o", "other.safetensors")  # nothing is to be decoded
    assert (again.returncode, "frames of" in again.stderr) == (0, False), again.stderr


def test_jpeg_is_bounded_by_what_it_takes_and_goes_on_from_there(avs: Avs, films: Path) -> None:
    line = alone("--epochs", 1, "--cache-frames", "jpeg", inputs=["shots.tsv"])
    ran = avs(*line, "--cache-limit", 1e-5)
    assert ran.returncode == 2
    assert "more than --cache-limit allows (1e-05 GB); give a larger --cache-limit" in ran.stderr
    done = {path.name: path.stat().st_mtime_ns for path in Path("kept").glob("frames-*/*.npz")}
    assert 0 < len(done) < 4
    ran = avs(*line)
    assert ran.returncode == 0, ran.stderr
    now = {path.name: path.stat().st_mtime_ns for path in Path("kept").glob("frames-*/*.npz")}
    assert len(now) == 4
    assert done.items() <= now.items()
    ran = avs(*alone("--epochs", 1, inputs=["shots.tsv"]))
    assert (ran.returncode, "from a training with cache_frames 'jpeg', not None" in ran.stderr) == (
        3, True,
    )  # fmt: skip


@needs_clips
def test_frames_as_jpeg_are_nearly_those_of_the_clips_in_a_quarter_of_the_bytes(avs: Avs, footage: Path) -> None:
    videos = [path for path in sorted(CLIPS.iterdir()) if path.stem in SOME]
    found = []
    for jpeg in (False, True):
        sampling, pixels = Sampling(fps=1.0, count=12, clip=12), Pixels(224, 224)
        keep = CacheSettings(footage / "kept", jpeg)
        seen = decode_clips(Team("cpu"), [*map(str, videos)], {*SOME}, keep, sampling, pixels, 1)
        found.append(footage_of([str(footage / "c.txt")], seen, WORDS, False))
    raw, small = found
    assert raw.key() != small.key()
    taken = [sum(one.cache.path(name).stat().st_size for name in one.names) for one in found]
    assert taken[1] < taken[0] / 4
    for place in range(len(raw.names)):
        (pictures, there), (others, also) = raw.frames(place), small.frames(place)
        assert torch.equal(there, also)  # what fills a clip up still does
        assert float((pictures.float() - others.float()).abs().mean()) < 3


@pytest.mark.parametrize("jpeg", [False, True])
@pytest.mark.parametrize("damage", [b"", b"no frames", None])
def test_damaged_frames_are_told(tmp_path: Path, jpeg: bool, damage: bytes | None) -> None:
    cache = FrameCache(tmp_path, jpeg)
    frames = np.random.default_rng(0).integers(0, 255, (3, 16, 16, 3), np.uint8)
    frames[2] = frames[1]
    cache.write("a", frames, 2)
    path, (pixels, there) = cache.path("a"), cache.read("a")
    assert pixels.shape == frames.shape
    assert there == (2 if jpeg else None)
    assert np.array_equal(pixels[2], pixels[1])
    path.write_bytes(path.read_bytes()[:200] if damage is None else damage)
    with pytest.raises(FormatError, match="not decoded frames; remove it"):
        cache.read("a")


# From clips, without teachers; and teachers


def alone(*more: object, name: str = "s.safetensors", inputs: Sequence[object] = ()) -> list[object]:
    """The same without a teacher."""
    line = from_clips(*more, name=name, inputs=inputs)
    place = line.index("--teacher")
    return line[:place] + line[place + 2 :]


@needs_clips
def test_from_captions_alone_the_loss_falls_and_more_captions_find_their_clips(
    avs: Avs, quick_clips: list[Path], footage: Path
) -> None:
    line = ["--batch-size", 8, "--validate", "c.txt", "--metric", "SumR", "--learning-rate", 1e-3]
    for student in ("clip", *teachers.names()):
        rows = {}
        for name, more in (("begun", ["--epochs", 1, "--learning-rate", 0]), ("s", ["--epochs", 6])):
            name = f"{student}-{name}.safetensors"
            ran = avs(*alone(*line, "--student", student, *more, name=name, inputs=quick_clips))
            assert ran.returncode == 0, ran.stderr
            rows[name] = values(f"{name}.csv")
        begun, learned = rows.values()
        assert learned[-1]["loss"] < 0.9 * learned[0]["loss"], student
        assert learned[-1]["SumR"] > 1.3 * begun[-1]["SumR"], student
        told = load_head(footage / f"{student}-s.safetensors").head
        assert told["training"]["teachers"] == []
        if student == "clip":
            assert (told["kind"], told["settings"]["aggregate"]) == ("teachclip", "mean")
        else:
            assert (told["kind"], told["settings"]["teacher"]) == ("clip-teacher", student)
    assert len([*footage.glob("kept/frames-*")]) == 1  # decoded once


@needs_clips
@pytest.mark.parametrize("name", teachers.names())
def test_a_teacher_that_learned_from_clips_teaches_as_a_published_one(avs: Avs, footage: Path, name: str) -> None:
    ran = avs(*alone("--student", name, "--epochs", 2, name="t.safetensors"))
    assert ran.returncode == 0, ran.stderr
    # Its file has the names of the authors' file, and no others.
    theirs = published(name, 0).keys()
    assert load_head(footage / "t.safetensors").weights.keys() == theirs
    ran = avs(*alone("--teacher", f"{name}=t.safetensors", "--epochs", 1))
    assert ran.returncode == 0, ran.stderr
    assert f"{name} trained on clips, {DIM} dimensions, 3 frames, 12 tokens" in avs("info", "t.safetensors").stdout
    # What it makes of captions and clips for a student is what it was trained on.
    told = load_head(footage / "t.safetensors")
    model = ClipTeacher(**{key: value for key, value in told.head["settings"].items() if key != "interpolation"})
    model.load_state_dict(told.weights)
    videos = [path for path in sorted(CLIPS.iterdir()) if path.stem in SOME]
    sampling, pixels = Sampling(fps=1.0, count=FRAMES, clip=FRAMES), Pixels(32, 32)
    seen = decode_clips(Team("cpu"), [*map(str, videos)], {*SOME}, CacheSettings(footage / "kept"), sampling, pixels, 1)
    found = footage_of([str(footage / "c.txt")], seen, WORDS, False)
    taught = ModelTeacher(name, str(footage / "t.safetensors"), FRAMES, WORDS, clip(5), pixels, "cpu")
    with torch.inference_mode():
        scores = taught.teacher.similarities(taught.texts(found.tokens), taught.videos(found.cache, found.names))
        expected = clip_scores_of(model, found)(np.arange(len(found.pairs.captions))) * model.teacher.logit_scale.exp()
    torch.testing.assert_close(scores, expected, atol=1e-3, rtol=1e-4)


@needs_clips
def test_towers_that_stay_as_they_are_give_a_teacher_its_words_once(
    avs: Avs, footage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = alone("--student", "xclip", "--epochs", 2, "--tower-rate", 0, "--validate", "c.txt", name="t.safetensors")
    ran = avs(*line)
    assert ran.returncode == 0, ran.stderr
    weights = load_head(footage / "t.safetensors.last").weights
    assert all(torch.equal(weights[f"clip.{key}"], value) for key, value in clip(0).items())
    assert not torch.equal(weights["global_mat_weight"], torch.eye(DIM))
    with Store(next(footage.glob("kept/student-*-texts.h5"))) as kept:
        assert kept.provenance["shapes"] == {"sentence": [1 + WORDS, DIM]}


@pytest.mark.parametrize(
    ("more", "code", "told"),
    [
        (
            ["--student", "xclip", "--teacher", "xclip=t.st"],
            2,
            "--teacher has no effect without a --student that has one",
        ),
        (
            ["--student", "xclip", "--aggregate", "mean"],
            2,
            "--aggregate has no effect without a --student that has one",
        ),
        (["--student", "xclip", "--fine", "l1"], 2, "--fine has no effect without --teacher"),
        (["--masked"], 2, "--masked has no effect without --aggregate attention"),
        (["--student", "xclip:layer=1"], 2, "teacher 'xclip' has no parameter 'layer'; it has: header, masked"),
        (["--student", "clip:output=words"], 2, "or one of ts2net, xclip, xpool to train a teacher"),
    ],
)
def test_mistakes_without_teachers_are_told_in_one_line(
    avs: Avs, films: Path, more: list[str], code: int, told: str
) -> None:
    ran = avs(*alone("--epochs", 1, *more, inputs=["shots.tsv"]))
    assert (ran.returncode, told in ran.stderr, len(ran.stderr.splitlines())) == (code, True, 1), ran.stderr


@pytest.mark.parametrize(
    ("more", "code", "told"),
    [
        (["--teacher", "xclip=none.safetensors"], 3, "none.safetensors: no such file"),
        (["--teacher", "xclap=xclip.safetensors"], 2, "did you mean 'xclip'?"),
        (["--weights", "none"], 3, "none: no such file"),
    ],
)
def test_weights_that_are_missing_are_told_before_anything_is_decoded(
    avs: Avs, films: Path, more: list[str], code: int, told: str
) -> None:
    ran = avs(*alone("--epochs", 1, *more, inputs=["shots.tsv"]))
    assert (ran.returncode, told in ran.stderr) == (code, True), ran.stderr
    assert not Path("kept").exists()


def test_a_file_of_another_teacher_or_of_a_student_teaches_nobody(avs: Avs, films: Path) -> None:
    for name, student in (("t.safetensors", "xclip"), ("c.safetensors", "clip")):
        assert avs(*alone("--student", student, "--epochs", 1, name=name, inputs=["shots.tsv"])).returncode == 0
    ran = avs(*alone("--teacher", "xpool=t.safetensors", inputs=["shots.tsv"]))
    assert (ran.returncode, "holds the teacher xclip, not xpool; give --teacher xclip=" in ran.stderr) == (3, True)
    ran = avs(*alone("--teacher", "xclip=c.safetensors", inputs=["shots.tsv"]))
    assert (ran.returncode, "c.safetensors is a head or a student, not a teacher trained on clips" in ran.stderr) == (
        3,
        True,
    )
    (films / "g.h5").touch()
    ran = avs("search", "g.h5", "--query", "a dog", "--head", "t.safetensors", *PLACE)
    assert ran.returncode != 0
    assert "t.safetensors is a teacher trained on clips, not a head" in ran.stderr


def batch_of(captions: int, place: list[int], vectors: torch.Tensor, sentences: torch.Tensor) -> ClipBatch:
    """What frozen towers made of videos of one frame."""
    there = torch.ones(len(vectors), 1, dtype=torch.bool)
    return ClipBatch(vectors[:, None], there, sentences, torch.tensor(place), torch.tensor(place))


def test_alone_the_loss_is_the_cross_entropy_of_the_scaled_cosines_in_both_directions() -> None:
    vectors, sentences = torch.zeros(2, DIM), torch.zeros(3, DIM)
    vectors[0, 0] = vectors[1, 1] = 3.0
    sentences[0, 0], sentences[1, 0], sentences[2, 1] = 2.0, 2.0, 5.0
    sentences[1, 1] = 2.0  # at 45 degrees to both
    # Captions 0 and 1 are of video 0: neither is a negative of the other's.
    batch = batch_of(3, [0, 0, 1], vectors, sentences)
    half = 2**0.5
    scale = 4.0
    rows = [
        -math.log(math.exp(scale) / (math.exp(scale) + 1)),  # caption 0: its own, and video 1 at right angles
        -math.log(0.5),  # caption 1: as near to one as to the other
        -math.log(math.exp(scale) / (math.exp(scale) + 2)),  # caption 2: its own, and video 0 twice
    ]
    columns = [
        -math.log(math.exp(scale) / (math.exp(scale) + 1)),  # video 0 and caption 0: caption 2 is a negative
        -math.log(math.exp(scale / half) / (math.exp(scale / half) + 1)),
        -math.log(math.exp(scale) / (math.exp(scale) + 1 + math.exp(scale / half))),
    ]
    expected = (sum(rows) + sum(columns)) / 6

    student = ClipStudent(CONFIG, 1, 1, aggregate="mean")
    with torch.no_grad():
        student.student.logit_scale.fill_(math.log(scale))
    loss = Teaching(student, [], Recipe(matching_weight=1.0))(Lesson(batch, []))
    assert float(loss.detach()) == approx(expected, rel=1e-5)

    # Of one frame and one word, which is the sentence, and with matrices that change nothing, X-CLIP's four scores are
    # the cosine.
    model = ClipTeacher(CONFIG, 1, 1, "xclip", {"header": "meanp"})
    with torch.no_grad():
        model.teacher.logit_scale.fill_(math.log(scale))
    twice = batch._replace(texts=torch.stack([sentences, sentences], 1))
    assert float(Contrast(model)(Lesson(twice, [])).detach()) == approx(expected, rel=1e-5)


def test_the_scale_is_clips_and_stays_below_a_hundred() -> None:
    model = ClipTeacher(CONFIG, 1, 1, "xclip", {"layers": 1})
    assert model.towers.network.logit_scale is model.teacher.logit_scale
    with torch.no_grad():
        model.teacher.logit_scale.fill_(9.0)
    Contrast(model)(Lesson(batch_of(2, [0, 1], torch.eye(DIM)[:2], torch.eye(DIM)[:2, None].expand(-1, 2, -1)), []))
    assert float(model.state_dict()["clip.logit_scale"]) == approx(math.log(100))


@pytest.mark.parametrize("name", teachers.names())
def test_a_teachers_frames_in_chunks_give_the_same_gradients(name: str) -> None:
    draw = torch.Generator().manual_seed(0)
    batch = ClipBatch(
        torch.randint(0, 255, (4, FRAMES, 32, 32, 3), dtype=torch.uint8, generator=draw),
        torch.tensor([[True] * 3, [True, True, False], [True, False, False], [True] * 3]),
        torch.randint(1, 400, (5, WORDS), generator=draw),
        torch.tensor([0, 1, 2, 3, 3]),
        torch.tensor([5, 6, 7, 8, 8]),
    )
    torch.manual_seed(0)
    model = ClipTeacher(CONFIG, FRAMES, WORDS, name, {} if name == "xpool" else {"layers": 1})
    # As if the only block of this tower were one of the two in which TS2-Net shifts patches.
    model.towers.shifted = (0,) if name == "ts2net" else ()
    found = []
    for chunk in (0, 5):
        model.chunk = chunk
        model.zero_grad()
        torch.manual_seed(1)
        Contrast(model)(Lesson(batch, [])).backward()
        found.append({key: p.grad.clone() for key, p in model.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    for key, gradient in found[0].items():
        torch.testing.assert_close(found[1][key], gradient, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize(
    ("shape", "kind"), [((), "<f2"), ((7, 3, 1), "<f4"), ((7, 3), "|u1"), ((10**9, 10**3, 10**3, 3), "|u1")]
)
def test_frames_of_another_shape_are_no_frames(tmp_path: Path, shape: tuple[int, ...], kind: str) -> None:
    header = {"descr": kind, "fortran_order": False, "shape": shape}
    with FrameCache(tmp_path).path("a").open("wb") as out:
        np.lib.format.write_array_header_1_0(out, header)
        out.write(bytes(84))
    with pytest.raises(FormatError, match=r"a\.npy: not decoded frames; remove it"):
        FrameCache(tmp_path).read("a")


def test_a_teachers_file_without_its_training_is_told_of(avs: Avs, tmp_path: Path) -> None:
    learned(tmp_path / "t.st", lambda head, tensors: None)
    assert avs("info", "t.st").returncode == 0


# Killed and begun again


class Moment(NamedTuple):
    """When SIGKILL comes: before or after the how-manieth call of what; and what it finds done.

    given   what is taken over from the run that is not killed
    frames  films whose pictures are kept
    stores  whole ones of what teachers made
    parts   of those that are not whole
    epochs  whole ones; None: there is nothing to go on from
    """

    called: str
    count: int
    done: bool
    given: str
    frames: int = 4
    stores: int = 4
    parts: int = 0
    epochs: int | None = None


WRITER = "avs_cli.io.store.writer"
BEFORE, DECODED, TAUGHT = "", "frames-*", "*"
# Four films; of each teacher a store of eight captions in four parts, and one of the films in two. The student is
# written before the first epoch; an epoch is two steps, after which it is written if it is better, and what goes on.
FROM_CLIPS = [
    Moment("avs_cli.io.frame_cache.FrameCache.write", 3, False, BEFORE, frames=2, stores=0),
    Moment("os.replace", 3, True, BEFORE, frames=3, stores=0),
    Moment(f"{WRITER}.StoreWriter.add", 2, False, DECODED, stores=0, parts=1),
    Moment(f"{WRITER}.flush", 3, False, DECODED, stores=0, parts=2),
    Moment(f"{WRITER}.StoreWriter._tidy", 2, False, DECODED, stores=2, parts=2),
    Moment(f"{WRITER}.StoreWriter.add", 4 + 2 + 4, True, DECODED, stores=2, parts=4),
    Moment(f"{WRITER}.StoreWriter.finish", 4, True, DECODED),
    Moment("avs_cli.core.training.bert_adam.BertAdam.step", 1, True, TAUGHT),
    Moment("avs_cli.io.tensors.save_file", 2, True, TAUGHT),
    Moment("avs_cli.core.training.bert_adam.BertAdam.step", 3, False, TAUGHT, epochs=1),
    Moment("avs_cli.core.training.bert_adam.BertAdam.step", 4, True, TAUGHT, epochs=1),
]
# The same films and captions without teachers.
FROM_CAPTIONS = [
    Moment("avs_cli.io.frame_cache.FrameCache.write", 3, False, BEFORE, frames=2, stores=0),
    Moment("avs_cli.core.training.bert_adam.BertAdam.step", 1, True, DECODED, stores=0),
    Moment("avs_cli.io.tensors.save_file", 2, True, DECODED, stores=0),
    Moment("avs_cli.core.training.bert_adam.BertAdam.step", 3, False, DECODED, stores=0, epochs=1),
    Moment("avs_cli.io.tensors.save_file", 4, False, DECODED, stores=0, epochs=1),
]
# Eighty captions in three parts, forty videos in two; four steps an epoch.
OVER_STORES = [
    Moment(f"{WRITER}.flush", 2, False, BEFORE, frames=0, stores=0, parts=1),
    Moment(f"{WRITER}.StoreWriter.add", 3 + 1, True, BEFORE, frames=0, stores=1, parts=1),
    Moment("avs_cli.core.training.loop.AdamW.step", 3, True, TAUGHT, frames=0, stores=2),
    Moment("avs_cli.core.training.loop.AdamW.step", 5, False, TAUGHT, frames=0, stores=2, epochs=1),
]


@pytest.fixture
def films(towers: Path) -> Path:
    """Four films of three seconds, of noise in some colour, with two captions each."""
    draw = np.random.default_rng(0)
    shots, captions = ["shot\tvideo\tstart\tend\n"], []
    for number, colour in enumerate(("red", "green", "blue", "grey")):
        path = towers / f"{colour}.mp4"
        noise_film(path, draw, number, 6)
        shots.append(f"{colour}\t{path}\t0\t3\n")
        captions += [f"{colour}#enc#{k} {text} {colour}\n" for k, text in enumerate(("it is", "all is"))]
    (towers / "shots.tsv").write_text("".join(shots))
    (towers / "c.txt").write_text("".join(captions))
    return towers


def reached(name: str) -> tuple[int, int, int, int | None]:
    """What a run has left: films' pictures, whole stores, parts of others, epochs to go on from."""
    last, kept = Path(f"{name}.st.last"), Path(f"{name}.kept")
    epochs = len(load_head(last).head["state"]["log"]["rows"]) if last.exists() else None
    frames, stores, parts = (len([*kept.glob(what)]) for what in ("frames-*/[!.]*.npy", "[!.]*.h5", "*/[!.]*.h5"))
    return frames, stores, parts, epochs


def same(one: str, other: str) -> bool:
    """Whether two runs ended in the same bytes of the student, and in the same numbers to go on from."""
    ends = [load_head(f"{name}.st.last", training=True) for name in (one, other)]
    pairs = [(ends[0].weights, ends[1].weights), (ends[0].training, ends[1].training)]
    return Path(f"{one}.st").read_bytes() == Path(f"{other}.st").read_bytes() and all(
        left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left) for left, right in pairs
    )


def goes_on(avs: Avs, killed: Callable[..., bool], run: Callable[[str], list[object]], moments: list[Moment]) -> None:
    """Kill a run at each of these moments and begin it again; it ends as one does that nobody kills."""
    assert avs(*run("whole")).returncode == 0
    whole, kills = reached("whole"), 0
    for number, moment in enumerate(moments):
        name = f"cut{number}"
        Path(f"{name}.kept").mkdir()
        for path in Path("whole.kept").glob(moment.given) if moment.given else ():
            Path(f"{name}.kept", path.name).symlink_to(path.resolve())
        kills += killed(run(name), *moment[:3])
        assert reached(name) == moment[4:], moment
        ran = avs(*run(name))
        assert (ran.returncode, "resuming after epoch" in ran.stderr) == (0, moment.epochs is not None), ran.stderr
        assert same(name, "whole"), moment
        assert reached(name) == whole, moment
    assert kills == len(moments), f"{kills} of {len(moments)} kills hit a running process"


@FORKS
def test_a_distillation_from_clips_killed_at_any_moment_goes_on_to_the_same_bytes(
    avs: Avs, killed: Callable[..., bool], films: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_cache, "PART", 2)
    more = ["--teacher", "ts2net:layers=1=ts2net.safetensors", "--epochs", 2, "--batch-size", 4]
    goes_on(
        avs, killed,
        lambda name: from_clips(*more, "--cache", f"{name}.kept", name=f"{name}.st", inputs=["shots.tsv"]), FROM_CLIPS,
    )  # fmt: skip


@FORKS
@pytest.mark.parametrize("student", ["clip", "xclip", "ts2net"])
def test_a_training_from_captions_alone_killed_at_any_moment_goes_on_to_the_same_bytes(
    avs: Avs, killed: Callable[..., bool], films: Path, student: str
) -> None:
    more = ["--student", student, "--epochs", 2, "--batch-size", 4]
    # Before the first epoch ends, nothing depends on what is trained.
    moments = [moment for moment in FROM_CAPTIONS if student == "clip" or moment.epochs]
    goes_on(
        avs, killed,
        lambda name: alone(*more, "--cache", f"{name}.kept", name=f"{name}.st", inputs=["shots.tsv"]), moments,
    )  # fmt: skip


def learned(path: Path, change: Callable[[dict[str, Any], dict[str, torch.Tensor]], object]) -> None:
    """X-CLIP as `--student xclip` writes it, changed: the header's settings, or the weights."""
    settings: dict[str, Any] = {"teacher": "xclip", "settings": {"layers": 1, "heads": 1, "positions": 16}}
    settings |= {"config": CONFIG, "frames": FRAMES, "words": WORDS, "mean": [0.5] * 3, "std": [0.5] * 3}
    settings = json.loads(json.dumps(settings))
    tensors = dict(ClipTeacher(**settings).state_dict())
    head = {"kind": "clip-teacher", "settings": settings, "videos": [], "texts": [], "encoders": []}
    change(head, tensors)
    told = {"format": "avs-head", "format_version": 1, "head": head}
    save_file({key: value.contiguous() for key, value in tensors.items()}, path, {"avs": json.dumps(told)})


def within(*way: str, **values: object) -> Callable[[dict[str, Any], object], object]:
    def change(head: dict[str, Any], tensors: object) -> None:
        for key in way:
            head = head[key]
        head.update(values)

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (within(settings=None), "its settings are not an object"),
        (within("settings", mean=[0.5, 0.5]), "mean [0.5, 0.5] must have three channels"),
        (within("settings", config=1e300), "a teacher cannot have config 1e+300"),
        (within("settings", settings=3), "it lacks the teacher's settings"),
        (within("settings", "settings", layers="x"), "the teacher 'xclip' cannot have layers 'x'"),
        (within("settings", "settings", layers=2), "and its settings say"),
        (within("settings", teacher="evil"), "'evil' is not a teacher"),
        (within("settings", "config", "vision_cfg", layers="mean"), "its config is not that of two plain transformers"),
        # With these open_clip would fetch or run what somebody else wrote.
        (within("settings", "config", "text_cfg", hf_model_name="evil/model"), "its config is not that of two plain"),
        (within("settings", "config", "vision_cfg", timm_model_name="local-dir:evil"), "its config is not that of two"),
        (lambda head, _: head.pop("kind"), "its header is not that of a teacher"),
        (lambda _, tensors: tensors["clip.ln_final.bias"].fill_(math.nan), "clip.ln_final.bias, which is NaN"),
        # One small tensor that would have all others be of 4 GB and more.
        (lambda head, tensors: (head.clear(), tensors.update({"clip.text_projection": torch.zeros(1, 1 << 15)})),
         "its header is not that of a teacher"),
    ],
)  # fmt: skip
def test_what_a_teachers_file_claims_is_checked_before_it_is_built(
    avs: Avs, films: Path, change: Callable[[dict[str, Any], dict[str, torch.Tensor]], object], told: str
) -> None:
    learned(films / "bad.st", change)
    ran = avs(*alone("--teacher", "xclip=bad.st", "--epochs", 1, inputs=["shots.tsv"]))
    assert (ran.returncode, told in ran.stderr.splitlines()[-1]) == (3, True), ran.stderr
    assert "Traceback" not in ran.stderr and not (films / "s.safetensors").exists()


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        ("clip.text_projection", (1, 1 << 15)),
        ("clip.positional_embedding", (1, 1 << 15)),
        ("clip.visual.conv1.weight", (3,)),
        ("clip.positional_embedding", ()),
    ],
)
def test_published_weights_of_other_shapes_are_refused_in_little_memory(
    avs: Avs, films: Path, key: str, shape: tuple[int, ...]
) -> None:
    save_file(published("xclip", 1) | {key: torch.zeros(shape)}, films / "bad.st")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ran = avs(*alone("--teacher", "xclip:layers=1=bad.st", "--epochs", 1, inputs=["shots.tsv"]))
    assert ran.returncode == 3 and "Traceback" not in ran.stderr, ran.stderr
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 << 10


def test_a_file_that_a_training_goes_on_from_is_a_teacher_too(avs: Avs, films: Path) -> None:
    line = ["--epochs", 1, "--batch-size", 4]
    assert avs(*alone("--student", "xclip", *line, name="t.st", inputs=["shots.tsv"])).returncode == 0
    ran = avs(*alone("--teacher", "xclip=t.st.last", *line, inputs=["shots.tsv"]))
    assert ran.returncode == 0, ran.stderr


@FORKS
@pytest.mark.parametrize("student", ["clip", "xclip"])
def test_two_processes_learn_from_captions_what_one_does(
    avs: Avs, together: Together, films: Path, student: str
) -> None:
    line = alone("--student", student, "--epochs", 2, "--batch-size", 4, name="two.st", inputs=["shots.tsv"])
    assert avs(*line, "-o", "one.st", "--batch-size", 8).returncode == 0
    ran, other = together(line)
    assert (ran.returncode, other) == (0, 0), ran.stderr
    ends = [load_head(films / f"{name}.st.last", training=True) for name in ("one", "two")]
    for key, value in ends[0].training.items():  # gradients as they were, which the steps alone do not show
        torch.testing.assert_close(ends[1].training[key], value, atol=2e-5, rtol=1e-3)
    one, two = (end.weights for end in ends)
    moved = 0.0
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, atol=2e-5, rtol=1e-4)
        begun = clip(0).get(key.removeprefix("clip.").removeprefix("towers.network."))
        moved = max(moved, 0.0 if begun is None else float((value - begun).abs().max()))
    assert moved > 1e-3


@FORKS
def test_a_distillation_over_stores_killed_at_any_moment_goes_on_to_the_same_bytes(
    avs: Avs, killed: Callable[..., bool], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher(avs, *stores(), *XPOOL)
    monkeypatch.setattr(vector_cache, "PART", 30)
    more = ["--teacher", "t.safetensors", "--validate", "v.txt", "--epochs", 2]
    goes_on(avs, killed, lambda name: distilled(*more, "--cache", f"{name}.kept", name=f"{name}.st"), OVER_STORES)
