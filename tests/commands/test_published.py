"""Heads that the authors' code trained: from their checkpoints, as written to disk, to runs, notes and refusals."""

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from stores import store

from avs_cli.core.models.described import describe, load_weights, rebuild
from avs_cli.core.models.layers import Input
from avs_cli.core.models.text.words import Corpus
from avs_cli.io.bigfile import write_bigfile
from avs_cli.io.head_file import load_head
from avs_cli.io.text.trec import read_run
from avs_cli.stages.heads import load_heads
from avs_cli.types import Block, WordVectors

Arrays = dict[str, np.ndarray]
Avs = Callable[..., tuple[int, str]]
SPECIAL = ["<pad>", "<start>", "<end>", "<unk>"]


@pytest.fixture
def avs(avs_here: Callable[..., Any]) -> Avs:
    """The exit code of a command, and what it told."""

    def run(*arguments: object) -> tuple[int, str]:
        ran = avs_here(*arguments)
        return ran.returncode, ran.stdout + ran.stderr

    return run


@pytest.fixture
def stored(parity: Callable[[str], Path]) -> Callable[[str], Arrays]:
    def load(name: str) -> Arrays:
        with np.load(parity(f"laff/{name}.npz")) as file:
            return dict(file)

    return load


def under(arrays: Arrays, prefix: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(prefix): torch.from_numpy(a) for key, a in arrays.items() if key.startswith(prefix)}


@contextlib.contextmanager
def trainer(*classes: str) -> Iterator[dict[str, Any]]:
    """Classes of a trainer's own modules, which are there when it saves and not when we read."""
    made = {}
    for path in classes:
        module, name = path.rsplit(".", 1)
        sys.modules.setdefault(module, ModuleType(module))
        made[name] = type(name, (), {"__module__": module})
        setattr(sys.modules[module], name, made[name])
    try:
        yield made
    finally:
        for path in classes:
            sys.modules.pop(path.rsplit(".", 1)[0], None)


def save(path: str, model: object, bow: Sequence[str] = (), gru: Sequence[str] = (), **settings: str) -> None:
    """A checkpoint as their trainers write it, with vocabularies in the configuration."""
    with trainer("configured.laff_config", "text2vector.BowVecNSW", "textlibrary.Vocabulary") as made:
        config = made["laff_config"]()
        for name, words in (("t2v_bow", bow), ("t2v_idx", gru)):
            if words:
                vector, vocabulary = made["BowVecNSW"](), made["Vocabulary"]()
                vocabulary.word2idx = {word: number for number, word in enumerate(words)}
                vector.vocab = vocabulary
                setattr(config, name, vector)
        for key, value in settings.items():
            setattr(config, key, value)
        held = {"epoch": 7, "model": model, "best_perf": 0.25, "config": config, "opt": argparse.Namespace(seed=2)}
        torch.save(held, path)


def single(path: str, feature: str, ids: Sequence[str], vectors: np.ndarray) -> None:
    """A store of vectors in full precision."""
    store(path, feature, dict(zip(ids, vectors, strict=True)), {"model": feature}, dtype="float32")


def ids(letter: str, count: int) -> list[str]:
    return [f"{letter}{number}" for number in range(count)]


def sentences(arrays: Arrays) -> list[str]:
    """Sentences whose counts of words and whose mean word vector are those of the arrays."""
    counts = arrays["txt/bow_encoder"].astype(int)
    return [
        " ".join([f"sentence{row}", *(f"word{w}" for w, count in enumerate(some) for _ in range(count))])
        for row, some in enumerate(counts)
    ]


@pytest.mark.parametrize("name", ["8heads_bn", "8heads_clipraw", "8heads_fc", "8heads_fc_ave"])
def test_a_published_laff_ranks_as_its_authors_code_does(
    avs: Avs, stored: Callable[[str], Arrays], tmp_path: Path, name: str
) -> None:
    arrays = stored(f"b_model_{name}")
    videos, words = ids("v", len(arrays["vis_emb"])), ids("word", arrays["txt/bow_encoder"].shape[1])
    save("model_best.pth.tar", under(arrays, "w/"), words, vis_attention="Multi_head_MyApply_Attention")
    vectors = arrays["txt/w2v_encoder"]
    write_bigfile(tmp_path / "w2v", vectors.shape[1], [Block(ids("sentence", len(vectors)), vectors)])
    line = ["convert", "model_best.pth.tar", "h.safetensors", "--trust-pickle", "--word-vectors", "w2v"]
    ave = ["--head", "laff:ave=true,mul=false"] if name.endswith("ave") else []
    first, *others = arrays["vis_order"].tolist()
    code, told = avs(*line, *ave, "--feature", f"{first}=clip")
    assert code == 0, told
    assert f"model_best.pth.tar: a LAFF head over clip of {arrays[f'vis/{first}'].shape[1]}, " in told
    assert ("assuming ave=false, mul=false, unit_first=false" in told) is not bool(ave)
    called = {first: "clip"} | {feature: feature.replace("_", "-") for feature in others}
    gallery = [f"{ours}.h5" for ours in called.values()]
    for feature, ours in called.items():
        single(f"{ours}.h5", ours, videos, arrays[f"vis/{feature}"])
    topics = ids("7", len(arrays["sim"]))
    if stored_texts := load_head("h.safetensors").head["texts"]:
        assert [text["name"] for text in stored_texts] == ["CLIP-encoder"]
        single("texts.h5", "CLIP-encoder", topics, arrays["txt/CLIP_encoder"])
    asked = zip(topics, sentences(arrays), strict=True)
    Path("topics.txt").write_text("".join(f"{topic} {sentence}\n" for topic, sentence in asked))
    given = ["--vectors", "texts.h5"] if stored_texts else []
    code, told = avs("search", *gallery, "--head", "h.safetensors", "--topics", "topics.txt", *given, "-o", "a.run")
    assert code == 0, told
    run = read_run("a.run")
    for topic, scores in zip(topics, arrays["sim"], strict=True):
        assert [run[topic][video] for video in videos] == pytest.approx(scores.tolist(), abs=3e-6)


def test_what_was_imported_is_told_by_info_and_trained_on(
    avs: Avs, stored: Callable[[str], Arrays], tmp_path: Path
) -> None:
    arrays = stored("b_model_8heads_clipraw")
    save("m.pth", under(arrays, "w/"))
    names = [f"--feature={part}_encoder={part}" for part in ("bow", "w2v", "CLIP")]
    assert avs("convert", "m.pth", "h.safetensors", "--trust-pickle", *names)[0] == 0
    code, told = avs("info", "h.safetensors")
    assert code == 0
    assert "laff head" in told
    assert "published: m.pth" in told
    assert "epoch: 7" in told
    videos = ids("v", len(arrays["vis_emb"]))[:6]
    for feature in ("v_clip", "v_res", "v_3d"):
        single(f"{feature}.h5", feature.replace("_", "-"), videos, arrays[f"vis/{feature}"][:6])
    captions = [f"{video}#enc#0" for video in videos]
    for part in ("bow", "w2v", "CLIP"):
        single(f"{part}.h5", part, captions, arrays[f"txt/{part}_encoder"][:6])
    Path("captions.txt").write_text("".join(f"{caption} a sentence\n" for caption in captions))
    stores = [f"--video={feature}.h5" for feature in ("v_clip", "v_res", "v_3d")]
    stores += [f"--text={part}.h5" for part in ("bow", "w2v", "CLIP")]
    line = ["train", "captions.txt", *stores, "--init", "h.safetensors", "-o", "tuned.safetensors", "--epochs", 1]
    code, told = avs(*line, "--learning-rate", 0, "--device", "cpu", "--threads", 1)
    assert code == 0, told
    before, after = load_head("h.safetensors").weights, load_head("tuned.safetensors").weights
    fixed = [key for key in before if not key.endswith(("fusion.r", "running_mean", "running_var", "tracked"))]
    assert len(fixed) > 8
    assert all(torch.equal(before[key], after[key]) for key in fixed)


@pytest.mark.parametrize("name", ["w2vvpp", "sea"])
def test_the_ancestors_are_imported_with_their_encoders(
    avs: Avs, stored: Callable[[str], Arrays], tmp_path: Path, name: str
) -> None:
    arrays = stored(f"k_{name}")
    weights = under(arrays, "w/")
    bow = ids("word", arrays["bow"].shape[1])
    table = next(value for key, value in weights.items() if key.endswith("we.weight"))
    read = ids("read", len(table) - len(SPECIAL))
    # Their state is a list: that of the videos' end, that of the texts'.
    ends = [{k.partition(".")[2]: v for k, v in weights.items() if k.startswith(end)} for end in ("vis.", "txt.")]
    save("m.pth", ends, bow, [*SPECIAL, *read], pooling="mean")
    Path("w2v.txt").write_text(f"known {' '.join('1' * arrays['w2v'].shape[1])}\n")
    line = ["convert", "m.pth", "h.safetensors", "--trust-pickle", "--word-vectors", "w2v.txt"]
    code, told = avs(*line, "--feature", "video=resnet")
    assert code == 0, told
    (loaded,) = load_heads(["h.safetensors"], "cpu")
    head = loaded.head
    assert [video.name for video in head.videos] == ["resnet"]
    # A sentence cannot have the arrays' words, word vectors and indices all at once, so they go in behind the words.
    order = [one["name"] for one in loaded.description["encoders"]]
    assert sorted(order) == ["bow", "gru", "word2vec"]
    for kind, key in (("bow", "bow"), ("word2vec", "w2v")):
        vectors = torch.from_numpy(arrays[key]).float()
        head.encoders[order.index(kind)].forward = lambda _, vectors=vectors: vectors
    gru = head.encoders[order.index("gru")]
    lengths = arrays["gru_len"].tolist()
    asked = [
        " ".join([*SPECIAL, *read][i] for i in row[1 : n - 1])
        for row, n in zip(arrays["gru_idx"], lengths, strict=True)
    ]
    assert [gru.ids(text) for text in asked] == [
        r[:n].tolist() for r, n in zip(arrays["gru_idx"], lengths, strict=True)
    ]
    scores = head.scores(head.embed_texts([], asked), head.embed_videos([torch.from_numpy(arrays["vis"])]))
    np.testing.assert_allclose(scores.detach().numpy(), arrays["sim"], atol=2e-6)


def theirs(key: str, parts: Sequence[str]) -> list[str]:
    """The published names of one of our weights in a head over `parts`; the attention's rows are several there."""
    if key.startswith("encoders."):
        _, place, rest = key.split(".", 2)
        renamed = {"centres": "netvlad.centeroids", "assign.weight": "netvlad.fc1.weight"}.get(rest, rest)
        return [] if rest == "table" else [f"txt_net.encoder.{parts[int(place)]}.{renamed}"]
    end, block, rest = key.split(".", 2)
    place, _, what = rest.partition(".")
    if block == "transforms":
        what = what.replace("fc.", "fc1.")
        layer = f"txt_net.transform_layer.{parts[int(place)]}_transform" if end == "text" else "vis_net.clip"
        return [f"{layer}.{what}"]
    net = "txt_net" if end == "text" else "vis_net"
    where = f"{net}.attention_layer.attention_layer"
    if rest == "r":
        return [f"{where}.{head}.global_emb_weight_net.weight" for head in range(2)]
    return [f"{where}.{head}.embedding_common.0.weight" for head in range(2)]


@pytest.mark.parametrize("recurrent", ["gru", "bigru"])
def test_every_text_encoder_comes_over(avs: Avs, tmp_path: Path, recurrent: str) -> None:
    """A head of ours under their names gives, imported, what it gave before."""
    rng = np.random.default_rng(0)
    vectors = WordVectors({"dog": 0, "cat": 1, "boat": 2}, rng.normal(size=(3, 4)).astype(np.float32))
    corpus = Corpus(["a dog and a cat", "a cat in a boat", "the dog runs"], vectors=vectors, dim=4)
    specs = [f"{recurrent}:min_count=1,hidden=3", "bow:min_count=1", "word2vec", "netvlad:clusters=2"]
    told = describe("laff:dim=8,heads=2", [Input("clip", 6)], [], specs, corpus, {})
    torch.manual_seed(1)
    ours = rebuild(told, corpus).eval()
    parts = ["rnn_encoder", "bow_encoder", "w2v_encoder", "NetVLAD_encoder"]
    model = {}
    for key, value in ours.state_dict().items():
        names = theirs(key, parts)
        rows = value.expand(len(names)) if key.endswith(".r") else value
        split = [row.reshape(1, -1) for row in rows] if len(names) > 1 else [value]
        model |= dict(zip(names, split, strict=bool(names)))
    save("m.pth", model | {"txt_net.encoder.CLIP_encoder.ClipModel.positional": torch.ones(2)})
    for name, words in (("bow", told["encoders"][1]["words"]), ("gru", told["encoders"][0]["words"])):
        Path(f"{name}.txt").write_text("".join(f"{word} {9 - n}\n" for n, word in enumerate(words)).rstrip("\n"))
    write_bigfile(tmp_path / "w2v", 4, [Block(list(vectors.rows), vectors.vectors)])
    line = ["convert", "m.pth", "h.safetensors", "--trust-pickle", "--word-vectors", "w2v"]
    code, message = avs(*line, "--vocabulary", "bow=bow.txt", "--vocabulary", "gru=gru.txt")
    assert code == 0, message
    kept = load_head("h.safetensors")
    assert [one["name"] for one in kept.head["encoders"]] == [recurrent, "bow", "word2vec", "netvlad"]
    head = rebuild(kept.head).eval()
    load_weights(head, kept.weights, "h")
    asked = ["a dog in a boat", "the cat runs", "nobody"]
    assert torch.equal(head.embed_texts([], asked), ours.embed_texts([], asked))
    code, message = avs(*line, "--vocabulary", "bow=bow.txt")
    words = len(told["encoders"][0]["words"])
    assert code == 3
    assert message == f"avs: the weights know {words} words by number and not by name; give --vocabulary gru=FILE\n"


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (["--feature", "w2v_encoder=w"], 3, "give --vocabulary bow=FILE"),
        (
            ["--feature", "w2v_encoder=w", "--vocabulary", "bow=short.txt"],
            3,
            "the bow vocabulary has 1 words, and the weights know",
        ),
        (["--vocabulary", "bow=none.txt"], 3, "none.txt"),
        (["--vocabulary", "w2v=short.txt"], 2, "vocabularies exist for bow and gru"),
        (["--vocabulary", "short.txt"], 2, "expected NAME=VALUE"),
        (["--feature", "bow_encoder=bow"], 3, "give --word-vectors PATH"),
        (["--feature", "bow_encoder=bow", "--word-vectors", "short.txt"], 3, "the word vectors have 1 numbers"),
        (["--feature", "bow_encoder=b", "--feature", "w2v_encoder=w", "--feature", "v_rex=r"], 2, "mean 'v_res'"),
        (["--feature", "bow_encoder=b", "--feature", "w2v_encoder=w", "--head", "laff:heads=3"], 3, "have heads 8"),
        (["--feature", "bow_encoder=b", "--feature", "w2v_encoder=w", "--head", "laff:a=b"], 2, "no parameter 'a'"),
        (["--head", "sea"], 2, "are those of a laff head, not of sea"),
    ],
)
def test_what_cannot_be_known_is_asked_for_in_one_line(
    avs: Avs, stored: Callable[[str], Arrays], options: list[str], code: int, told: str
) -> None:
    save("m.pth", under(stored("b_model_8heads_clipraw"), "w/"))
    Path("short.txt").write_text("one 1\n")
    found, message = avs("convert", "m.pth", "h.safetensors", "--trust-pickle", *options)
    assert (found, len(message.splitlines())) == (code, 1), message
    assert told in message
    assert not Path("h.safetensors").exists()


def test_weights_that_have_no_place_are_named_and_other_checkpoints_are_no_heads(
    avs: Avs, stored: Callable[[str], Arrays]
) -> None:
    weights = under(stored("b_model_8heads_clipraw"), "w/")
    save("m.pth", weights | {"txt_net.expert_embedding.weight": torch.ones(2)})
    line = ("convert", "m.pth", "h.safetensors", "--trust-pickle")
    assert "unexpected tensor txt_net.expert_embedding.weight in the published weights" in avs(*line)[1]
    save("m.pth", weights, vis_attention="attention_averageMul", txt_attention="attention_noAverageMul_Ave")
    names = ["--feature=bow_encoder=b", "--feature=w2v_encoder=w"]
    assert "the two ends differ in their attention" in avs(*line, *names)[1]
    torch.save({"model": {"a": torch.ones(2)}}, "m.pth")
    assert avs(*line)[0] == 0
    assert "without a head of LAFF" in avs(*line, "--word-vectors", "w")[1]
    Path("captions.txt").write_text("v1.jpg#0\ta dog\n")
    code, told = avs("convert", "captions.txt", "out.txt", "--head", "laff")
    assert (code, "--head has no effect without a checkpoint" in told) == (2, True)
