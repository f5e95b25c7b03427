"""`avs train`: a head that learns, stops, goes on and starts from another."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stores import store

from avs_cli.cli import exit_code
from avs_cli.io.head_file import load_head
from avs_cli.io.lock import locked

Avs = Callable[..., Any]
WORDS = ("dog", "cat", "horse", "car", "boat", "tree")
TINY = ("--head", "laff:dim=16,heads=2", "--threads", 1, "--device", "cpu", "--batch-size", 16)


def collection(folder: Path, name: str, videos: int, seed: int) -> None:
    """Videos of two things each, two captions per video; vectors say noisily which things are there."""
    rng = np.random.default_rng(seed)
    seen, heard, read, lines = {}, {}, {}, []
    for number in range(videos):
        things = rng.choice(len(WORDS), 2, replace=False)
        truth = np.zeros(len(WORDS))
        truth[things] = 1
        seen[f"{name}{number}"] = truth + rng.normal(0, 0.2, len(WORDS))
        heard[f"{name}{number}"] = rng.normal(0, 1, (int(rng.integers(1, 4)), 5)) + truth[:5]
        for k in range(2):
            caption = f"{name}{number}#enc#{k}"
            read[caption] = truth + rng.normal(0, 0.3, len(WORDS))
            lines.append(f"{caption} a {WORDS[things[k]]} and a {WORDS[things[1 - k]]}\n")
    store(folder / f"{name}-clip.h5", "clip", seen)
    store(folder / f"{name}-frames.h5", "frames", heard, frames=True)
    store(folder / f"{name}-text.h5", "sent", read)
    (folder / f"{name}.txt").write_text("".join(lines))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for seed, (name, videos) in enumerate({"a": 30, "b": 20, "v": 15}.items()):
        collection(tmp_path, name, videos, seed)
    return tmp_path


def stores(*names: str, frames: bool = False) -> list[str]:
    videos = [part for n in names for part in ("--video", f"{n}-clip.h5")]
    framed = [part for n in names for part in ("--video", f"{n}-frames.h5")] if frames else []
    return [*videos, *framed, *(part for n in names for part in ("--text", f"{n}-text.h5"))]


def test_a_head_learns_from_two_collections_and_the_best_epoch_is_kept(avs: Avs, data: Path) -> None:
    ran = avs(
        "train", "a.txt", "b.txt", *stores("a", "b", "v", frames=True), "--text", "bow:min_count=1", "--text",
        "gru:min_count=1,hidden=8", "--validate", "v.txt", "-o", "h.safetensors", "--epochs", 12,
        "--learning-rate", 0.01, *TINY,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    rows = [line.split(",") for line in (data / "h.safetensors.csv").read_text().splitlines()]
    assert rows[0] == ["epoch", "loss", "mir", "learning_rate", "seconds"]
    losses, values = ([float(row[k]) for row in rows[1:]] for k in (1, 2))
    assert losses[-1] < losses[0] / 2
    assert max(values) > 2 * (sum(1 / rank for rank in range(1, 16)) / 15)  # what chance would give
    best = load_head(data / "h.safetensors")
    assert [one["name"] for one in best.head["videos"]] == ["clip", "frames"]
    assert [one["name"] for one in best.head["texts"] + best.head["encoders"]] == ["sent", "bow", "gru"]
    assert "dog" in best.head["encoders"][1]["words"]
    assert best.head["training"]["captions"] == 100


def test_weight_decay_takes_away_from_the_weights(avs: Avs, data: Path) -> None:
    lengths = {}
    for decay in (0, 20):
        ran = avs(
            "train", "a.txt", *stores("a"), "-o", f"{decay}.safetensors", "--epochs", 2, "--optimizer", "adamw",
            "--learning-rate", 0.01, "--weight-decay", decay, *TINY,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        kept = load_head(data / f"{decay}.safetensors")
        assert kept.head["training"]["weight_decay"] == decay
        lengths[decay] = float(kept.weights["video.transforms.0.fc.weight"].norm())
    # Eight steps, each of which leaves less than 1 - 0.01 * 20 of them, and what it adds is small.
    assert lengths[20] < 0.5 * lengths[0]


# When a training can be killed: what is called then, at the how-manieth time, whether that has happened, and whether
# there is an epoch to go on from. The first head is written, then per epoch the head if it is better (so None: there
# may be), the state and the table.
MOMENTS = [
    ("os.replace", 1, False, False),
    ("os.replace", 1, True, False),
    ("os.replace", 2, True, None),
    ("os.replace", 3, False, None),
    ("os.replace", 3, True, True),
    ("os.replace", 4, True, True),
    ("avs_cli.core.training.loop.{}.step", 6, True, True),
    ("avs_cli.core.training.loop.{}.step", 13, False, True),
]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize(
    "rule", [("rmsprop", "plateau", "laff:dim=16,heads=2,ave=true,norm=true"), ("adamw", "cosine", "w2vvpp:dim=16")]
)
def test_a_training_killed_at_any_moment_goes_on_to_the_same_bytes(
    avs: Avs, killed: Avs, data: Path, rule: tuple[str, str, str]
) -> None:
    optimizer, schedule, head = rule
    line = [
        "train", "a.txt", *stores("a", "v", frames=True), "--text", "bow:min_count=1", "--validate", "v.txt",
        "--optimizer", optimizer, "--schedule", schedule, "--head", head, *TINY[2:], "--epochs", 4, "--seed", 3,
    ]  # fmt: skip
    assert avs(*line, "-o", "whole.safetensors").returncode == 0
    for number, (called, count, done, resumed) in enumerate(MOMENTS):
        output = f"cut{number}.safetensors"
        stepped = called.format({"rmsprop": "RMSprop", "adamw": "AdamW"}[optimizer])
        assert killed([*line, "-o", output], stepped, count, done), "it ended before it was killed"
        ran = avs(*line, "-o", output)
        assert ran.returncode == 0
        assert resumed in (None, "resuming after epoch" in ran.stderr)
        assert (data / output).read_bytes() == (data / "whole.safetensors").read_bytes()
        whole, cut = (load_head(data / f"{name}.last", training=True) for name in ("whole.safetensors", output))
        assert whole.training.keys() == cut.training.keys() and whole.training
        assert all(np.array_equal(cut.training[key], value) for key, value in whole.training.items())
        assert all(np.array_equal(cut.weights[key], value) for key, value in whole.weights.items())
        # All but the seconds, which come last.
        one, other = ((data / f"{name}.csv").read_text().splitlines() for name in ("whole.safetensors", output))
        assert [row.rpartition(",")[0] for row in one] == [row.rpartition(",")[0] for row in other]


def test_a_table_that_a_kill_left_an_epoch_behind_is_written_again(avs: Avs, data: Path) -> None:
    line = ["train", "a.txt", *stores("a", "v"), "--validate", "v.txt", "-o", "h.safetensors", "--epochs", 2, *TINY]
    assert avs(*line).returncode == 0
    table = data / "h.safetensors.csv"
    whole = table.read_text()
    table.write_text("".join(whole.splitlines(keepends=True)[:-1]))
    assert avs(*line).returncode == 0
    assert table.read_text() == whole


def test_two_trainings_into_one_file_are_refused(avs: Avs, data: Path) -> None:
    line = ["train", "a.txt", *stores("a"), "-o", "h.safetensors", "--epochs", 1, *TINY]
    with locked(data / "h.safetensors"):
        ran = avs(*line)
        assert (ran.returncode, ran.stderr.count("in use by another avs process")) == (1, 1)
        assert not (data / "h.safetensors").exists()
    assert avs(*line).returncode == 0
    assert not (data / "h.safetensors.lock").exists()


def test_a_seed_gives_one_head_and_another_seed_another(avs: Avs, data: Path) -> None:
    for name, seed in (("one", 1), ("same", 1), ("other", 2)):
        ran = avs("train", "a.txt", *stores("a"), "-o", f"{name}.safetensors", "--epochs", 2, "--seed", seed, *TINY)
        assert ran.returncode == 0, ran.stderr
    one, same, other = ((data / f"{name}.safetensors").read_bytes() for name in ("one", "same", "other"))
    assert one == same
    assert one != other


def test_fine_tuning_starts_from_the_head_and_keeps_its_vocabulary(avs: Avs, data: Path) -> None:
    first = ("train", "a.txt", *stores("a"), "--text", "bow:min_count=1", "-o", "pre.safetensors", "--epochs", 3, *TINY)
    assert avs(*first).returncode == 0
    (data / "b.txt").write_text((data / "b.txt").read_text().replace("dog", "zebra"))
    tuned = ("train", "b.txt", *stores("b"), "--init", "pre.safetensors", "-o", "tuned.safetensors", *TINY[2:])
    ran = avs(*tuned, "--epochs", 1, "--learning-rate", 0)
    assert ran.returncode == 0, ran.stderr
    pre, after = (load_head(data / f"{name}.safetensors") for name in ("pre", "tuned"))
    assert after.head["encoders"] == pre.head["encoders"]
    # A step of length 0 leaves the weights, so they are those of the head it began with.
    trained = [key for key in pre.weights if not key.endswith("fusion.r")]
    assert len(trained) > 5
    assert all(np.array_equal(pre.weights[key], after.weights[key]) for key in trained)
    ran = avs(*tuned, "--head", "sea")
    assert (ran.returncode, "--init already defines the head" in ran.stderr) == (2, True)


def test_the_order_of_the_stores_does_not_matter_to_fine_tuning(avs: Avs, data: Path) -> None:
    texts = store(data / "more.h5", "more", {f"a{k}#enc#{n}": np.full(6, k) for k in range(30) for n in (0, 1)})
    line = ("train", "a.txt", "--video", "a-clip.h5", "--epochs", 1)
    assert avs(*line, "--text", "a-text.h5", "--text", texts, "-o", "pre.safetensors", *TINY).returncode == 0
    for name, order in (("one", ("a-text.h5", texts)), ("other", (texts, "a-text.h5"))):
        given = [part for path in order for part in ("--text", path)]
        assert avs(*line, *given, "--init", "pre.safetensors", "-o", f"{name}.safetensors", *TINY[2:]).returncode == 0
    assert (data / "one.safetensors").read_bytes() == (data / "other.safetensors").read_bytes()


def test_a_head_is_refused_data_it_was_not_trained_for(avs: Avs, data: Path) -> None:
    assert avs("train", "a.txt", *stores("a"), "-o", "h.safetensors", "--epochs", 1, *TINY).returncode == 0
    rng = np.random.default_rng(0)
    store(data / "other.h5", "siglip", {f"b{k}": rng.normal(size=6) for k in range(20)})
    store(data / "made.h5", "clip", {f"b{k}": rng.normal(size=6) for k in range(20)}, {"model": "huge", "spec": "huge"})
    for path, told in (
        ("other.h5", "h.safetensors was trained with the feature 'clip'; the stores have siglip"),
        ("made.h5", "h.safetensors was trained with a different 'clip' than that of made.h5::clip: model is"),
    ):
        line = ("train", "b.txt", "--video", path, "--text", "b-text.h5", "--init", "h.safetensors", "-o", "t.st")
        ran = avs(*line)
        assert ran.returncode == 3
        assert told in ran.stderr
    assert "use --allow-mismatch to continue with a warning" in ran.stderr
    ran = avs(*line, "--allow-mismatch", "--epochs", 1, *TINY[2:])
    assert ran.returncode == 0
    assert ran.stderr.splitlines()[0] == f'avs: {told} "tiny" and "huge"; continuing anyway'


def test_early_stopping_waits_for_a_better_value_as_long_as_told(avs: Avs, data: Path) -> None:
    line = ("train", "a.txt", *stores("a", "v"), "--validate", "v.txt", "-o", "h.safetensors", *TINY)
    ran = avs(*line, "--patience", 2, "--learning-rate", 0)
    assert ran.returncode == 0
    assert ran.stderr.count("avs: epoch") == 3  # never better than the untrained head: three epochs are more than two
    assert re.search(r"no epoch is better than the start \(mir 0\.\d{4}\), which h.safetensors holds", ran.stderr)
    ran = avs(*line, "--patience", 4, "--learning-rate", 0)
    assert ran.stderr.count("avs: epoch") == 2
    assert "resuming after epoch 3" in ran.stderr


def test_captions_without_a_video_are_told_and_may_be_left_out(avs: Avs, data: Path) -> None:
    (data / "a.txt").write_text((data / "a.txt").read_text() + "gone#enc#0 a dog\n")
    line = ("train", "a.txt", "--video", "a-clip.h5", "--text", "bow:min_count=1", "-o", "h.safetensors", *TINY)
    ran = avs(*line, "--epochs", 1)
    assert ran.returncode == 3
    assert "a-clip.h5::clip lacks 1 of the items in a.txt: gone; add a store that has them" in ran.stderr
    assert "with --video STORE, or skip their captions with --skip-missing" in ran.stderr
    ran = avs(*line, "--epochs", 1, "--skip-missing")
    assert ran.returncode == 0
    assert "1 of 61 captions skipped" in ran.stderr


def test_topics_and_judgments_choose_by_xinfap(avs: Avs, data: Path) -> None:
    captions = (data / "v.txt").read_text().splitlines()
    (data / "topics.txt").write_text(
        "".join(f"{700 + k} {line.split(' ', 1)[1]}\n" for k, line in enumerate(captions[::2]))
    )
    rows = [f"1{700 + k} 0 v{k + d} 1 {int(not d)}\n" for k in range(15) for d in (0, -k, 14 - k)]
    (data / "v.qrels").write_text("".join(dict.fromkeys(rows)))
    ran = avs(
        "train", "a.txt", "--video", "a-clip.h5", "--video", "v-clip.h5", "--text", "bow:min_count=1", "--validate",
        "topics.txt", "--qrels", "v.qrels", "-o", "h.safetensors", "--epochs", 2, *TINY,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "xinfAP" in ran.stderr
    assert (data / "h.safetensors.csv").read_text().startswith("epoch,loss,xinfAP,")


def test_marks_without_dislikes_are_validated_among_other_shots_and_dislikes_alone_refused(
    avs: Avs, data: Path
) -> None:
    captions = [line.split(" ", 1)[1] for line in (data / "v.txt").read_text().splitlines()]
    (data / "marks.topics.jsonl").write_text(
        "".join(json.dumps({"id": str(k), "text": captions[k]}) + "\n" for k in (1, 2))
    )
    line = (
        "train", "a.txt", "--video", "a-clip.h5", "--video", "v-clip.h5", "--text", "bow:min_count=1", "--validate",
        "marks.topics.jsonl", "--qrels", "marks.qrels", "-o", "h.safetensors", "--epochs", 1, *TINY,
    )  # fmt: skip
    (data / "marks.qrels").write_text("1 0 v0 1\n2 0 v1 1\n2 0 v2 0\n")
    ran = avs(*line)
    assert ran.returncode == 0, ran.stderr
    assert re.search(r"judges no shot irrelevant to 1 of 2 topics: \d\d shots without a judgment count", ran.stderr)
    (data / "marks.qrels").write_text("1 0 v0 0\n")
    ran = avs(*line)
    assert ran.returncode == 3
    assert "marks.qrels judges no shot relevant to the --validate topics, so no head is better" in ran.stderr


def test_validation_videos_in_another_store_are_asked_for(avs: Avs, data: Path) -> None:
    line = ("train", "a.txt", "--video", "a-clip.h5", "--text", "bow:min_count=1", "--validate", "v.txt", *TINY)
    ran = avs(*line, "--epochs", 1, "-o", "h.safetensors")
    assert ran.returncode == 3
    assert ran.stderr == (
        "avs: a-clip.h5::clip lacks 15 of the items in v.txt: v0, v1, v2, …; add a store that has them "
        "with --video STORE, or skip their captions with --skip-missing\n"
    )
    assert avs(*line, "--video", "v-clip.h5", "--epochs", 1, "-o", "h.safetensors").returncode == 0


def test_topics_are_judged_by_their_own_vectors_and_shots_by_those_of_every_feature(avs: Avs, data: Path) -> None:
    # Topic 70k is about video vk, and its vector says so; the judgments call it 170k, the store 70k.
    draw = np.random.default_rng(4)
    truth = draw.normal(size=(6, 5))
    (data / "topics.txt").write_text("".join(f"70{k} topic {k}\n" for k in range(5)))
    (data / "v.qrels").write_text("".join(f"170{k} 0 v{n} 1 {int(n == k)}\n" for k in range(5) for n in range(6)))
    for name in "av":
        videos = {f"{name}{k}": row for k, row in enumerate(truth)}
        store(data / f"{name}-one.h5", "one", {id: np.append(row, 0) for id, row in videos.items()})
        # Of the judged shots, v5 has no vector here.
        store(data / f"{name}-two.h5", "two", dict(list(videos.items())[: 5 if name == "v" else 6]))
    captions = {f"a{k}#enc#0": truth[k] for k in range(6)}
    (data / "few.txt").write_text("".join(f"{id} topic {k}\n" for k, id in enumerate(captions)))
    store(data / "captions.h5", "said", captions)
    store(data / "topics.h5", "said", {f"70{k}": truth[k] for k in range(5)})
    line = [
        "train", "few.txt", "--video", "a-one.h5", "--video", "a-two.h5", "--video", "v-one.h5", "--video", "v-two.h5",
        "--text", "captions.h5", "--validate", "topics.txt", "--qrels", "v.qrels", "--metric", "AP", "--epochs", 60,
        "--learning-rate", 0.01, "-o", "h.safetensors", "--head", "w2vvpp:dim=16,dropout=0", "--objective",
        "contrastive", *TINY[2:],
    ]  # fmt: skip
    ran = avs(*line)
    assert (ran.returncode, len(ran.stderr.splitlines())) == (3, 2), ran.stderr
    assert "captions.h5::said lacks 5 of the topics in topics.txt: 1700, 1701, 1702, …; encode them with" in ran.stderr
    ran = avs(*line, "--text", "topics.h5")
    assert ran.returncode == 0, ran.stderr
    rows = [row.split(",") for row in (data / "h.safetensors.csv").read_text().splitlines()]
    # It has learned these six by heart, and what it validates on has the same vectors.
    assert max(float(row[2]) for row in rows[1:]) == 1


def test_negated_captions_are_learned_from(avs: Avs, data: Path) -> None:
    records = [
        {"id": f"a{k}#enc#0", "truth": "x", "false": [{"id": f"a{k}#no", "falsesent": "there is no dog"}]}
        for k in range(20)
    ]
    (data / "no.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    line = ("train", "a.txt", "--video", "a-clip.h5", "--text", "gru:min_count=1,hidden=8", "-o", "h.safetensors")
    ran = avs(*line, *TINY, "--epochs", 2, "--objective", "negation:video_weight=1", "--negated", "no.jsonl")
    assert ran.returncode == 0, ran.stderr
    negated = (data / "h.safetensors").read_bytes()
    (data / "h.safetensors.last").unlink()
    assert avs(*line, *TINY, "--epochs", 2).returncode == 0
    assert (data / "h.safetensors").read_bytes() != negated
    ran = avs(*line, "--objective", "negation")
    assert (ran.returncode, ran.stderr) == (2, "avs: the negation objective needs --negated FILE\n")


def test_negated_captions_of_convert_are_encoded_and_learned_from(avs: Avs, data: Path) -> None:
    captions = (data / "a.txt").read_text().splitlines()
    (data / "a.txt").write_text("".join(f"{line} is running\n" for line in captions))
    ran = avs("convert", "a.txt", "no.jsonl", "--negate")
    assert ran.stderr == f"avs: {2 * len(captions)} negated captions; 0 captions have none\n"
    first, *_ = map(json.loads, (data / "no.jsonl").read_text().splitlines())
    assert first["false"][0] == {
        "id": "a0#enc#0Fn0",
        "falsesent": captions[0].partition(" ")[2] + " isn't running",
    }
    for name, texts in (("captions", "a.txt"), ("negated", "no.jsonl")):
        assert avs("extract", "--text", texts, "--model", "minilm", "-o", f"{name}.h5").returncode == 0
    line = ("train", "a.txt", "--video", "a-clip.h5", "--text", "captions.h5", "--text", "negated.h5", "-o", "h.st")
    ran = avs(*line, *TINY, "--epochs", 1, "--objective", "negation", "--negated", "no.jsonl")
    assert ran.returncode == 0, ran.stderr
    ran = avs("convert", "a.txt", "-", "--negate", "--tag", "x")
    assert (ran.returncode, ran.stderr) == (2, "avs: --tag has no effect without a run\n")


def test_a_limit_of_time_stops_between_epochs_and_the_command_goes_on(avs: Avs, data: Path) -> None:
    line = ("train", "a.txt", *stores("a"), "-o", "h.safetensors", "--epochs", 3, *TINY)
    ran = avs(*line, "--time-limit", 0.00001)
    assert ran.returncode == 0
    assert "no time for epoch 2; the same command resumes there" in ran.stderr
    assert "epoch 3: loss" in avs(*line).stderr
    assert avs("train", "a.txt", *stores("a"), "-o", "all.safetensors", "--epochs", 3, *TINY).returncode == 0
    assert (data / "h.safetensors").read_bytes() == (data / "all.safetensors").read_bytes()


def test_curves_are_written_for_tensorboard(avs: Avs, data: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    line = ("train", "a.txt", *stores("a", "v"), "--validate", "v.txt", "-o", "h.safetensors", "--epochs", 2)
    assert avs(*line, "--tensorboard", "curves", *TINY).returncode == 0
    rows = [row.split(",") for row in (data / "h.safetensors.csv").read_text().splitlines()]
    curves = EventAccumulator(str(data / "curves")).Reload()
    for place, name in enumerate(rows[0][1:3], start=1):
        drawn = curves.Scalars(name)
        assert [scalar.step for scalar in drawn] == [1, 2]
        assert [scalar.value for scalar in drawn] == pytest.approx([float(row[place]) for row in rows[1:]], rel=1e-4)


def test_curves_without_tensorboard_name_the_package(avs: Avs, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    ran = avs("train", "a.txt", *stores("a"), "-o", "h.safetensors", "--epochs", 1, "--tensorboard", "curves", *TINY)
    assert ran.returncode == 4
    assert "pip install 'avs-cli[tensorboard]'" in ran.stderr


def test_another_training_is_not_gone_on_with(avs: Avs, data: Path) -> None:
    line = ("train", "a.txt", *stores("a"), "-o", "h.safetensors", "--epochs", 1, *TINY)
    assert avs(*line).returncode == 0
    ran = avs(*line, "--seed", 5)
    assert ran.returncode == 3
    assert "h.safetensors.last is from a training with seed 0, not 5; move it away" in ran.stderr


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_learns_as_well(avs: Avs, data: Path, precision: str) -> None:
    line = ("train", "a.txt", *stores("a"), "-o", "h.safetensors", "--epochs", 8, "--learning-rate", 0.01, *TINY)
    ran = avs(*line, "--precision", precision)
    assert ran.returncode == 0, ran.stderr
    losses = [float(row.split(",")[1]) for row in (data / "h.safetensors.csv").read_text().splitlines()[1:]]
    assert losses[-1] < losses[0] / 1.5


def in_a_team(line: list[str]) -> int:
    """What torchrun starts as often as it is told, in processes that have loaded everything already."""
    return exit_code(line)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_two_processes_under_torchrun_learn_what_one_does(avs: Avs, data: Path) -> None:
    """The same pairs are in a step, and each is a negative of all others, wherever it is."""
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    line = [
        "train", "a.txt", *stores("a"), "--epochs", "1", "--threads", "1", "--device", "cpu",
        "--head", "laff:dim=16,heads=2,dropout=0", "--objective", "triplet:direction=both",
    ]  # fmt: skip
    settings = LaunchConfig(
        1, 1, 2, DefaultLogsSpecs(), "team", rdzv_endpoint="localhost:0", rdzv_backend="c10d", max_restarts=0,
        start_method="fork",
    )  # fmt: skip
    told = elastic_launch(settings, in_a_team)([*line, "--batch-size", "30", "-o", "two.safetensors"])
    assert told == {0: 0, 1: 0}
    assert avs(*line, "--batch-size", 60, "-o", "one.safetensors").returncode == 0
    one, two = (load_head(data / f"{name}.safetensors").weights for name in ("one", "two"))
    for key, value in one.items():
        np.testing.assert_allclose(two[key], value, atol=2e-6)
    assert len((data / "two.safetensors.csv").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("line", "code", "told"),
    [
        (["a.txt", "--video", "a-clip.h5"], 2, "a head needs --text"),
        (["a.txt", "--video", "none.h5", "--text", "bow"], 3, "none.h5"),
        (["none.txt", "--video", "a-clip.h5", "--text", "bow"], 3, "none.txt"),
        (["a.txt", "--video", "a-clip.h5", "--text", "word2vec"], 2, "word2vec needs word vectors"),
        (["a.txt", "--video", "a-clip.h5", "--text", "bow:min_count=999"], 2, "no word occurs 999 times"),
        (["a.txt", "--video", "a-clip.h5", "--text", "a-frames.h5"], 3, "a-frames.h5::frames lacks"),
        (["a.txt", "--video", "a-clip.h5", "--text", "a-text.h5", "--head", "lafff"], 2, "did you mean 'laff'?"),
        (["a.txt", "--video", "a-clip.h5", "--text", "a-text.h5", "--head", "laff:dim=10"], 2, "cannot share"),
        (["a.txt", "--video", "a-clip.h5", "--text", "a-text.h5", "--metric", "AP"], 2, None),
        (["a.txt", "--video", "a-clip.h5", "--text", "a-text.h5", "--init", "a.txt"], 3, "not a head file"),
    ],
)
def test_mistakes_are_told_in_one_line(avs: Avs, data: Path, line: list[str], code: int, told: str | None) -> None:
    extra = ["--validate", "v.txt"] if told is None else []
    ran = avs("train", *line, *extra, "-o", "h.safetensors")
    assert (ran.returncode, len(ran.stderr.splitlines())) == (code, 1), ran.stderr
    assert (told or "for captions, choose from mir, mAP, SumR") in ran.stderr
