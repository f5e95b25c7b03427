"""The authors' own code is the judge: its outputs, losses, gradients and weights after training on small inputs."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytest import approx

from avs_cli.core.models import published
from avs_cli.core.models.heads import heads
from avs_cli.core.models.heads.laff import Mean, Side
from avs_cli.core.models.layers import Attention, Input, Ragged
from avs_cli.core.models.text import bow, netvlad, word2vec
from avs_cli.core.models.text.gru import SPECIAL, Recurrent
from avs_cli.core.models.text.words import Corpus, tokens
from avs_cli.core.training.loop import Plateau
from avs_cli.core.training.objectives import objectives
from avs_cli.core.training.objectives.base import Embedded
from avs_cli.core.training.objectives.negation import between
from avs_cli.core.training.objectives.triplet import triplet
from avs_cli.io.bigfile import BigFile, read_word_vectors, write_bigfile
from avs_cli.types import Block, WordVectors

Arrays = dict[str, np.ndarray]
Parity = Callable[[str], Path]

BLOCKS = [
    "average", "mh4_ave", "mh4_bn_noave", "mh4_clipraw_noave", "mh4_l2head_noave", "mh4_mul_noave", "mh4_noave",
    "mh4_nosplit", "single_ave", "single_mul_ave", "single_mul_noave", "single_noave",
]  # fmt: skip


@pytest.fixture
def stored(parity: Parity) -> Callable[[str], Arrays]:
    def load(name: str) -> Arrays:
        with np.load(parity(f"laff/{name}.npz")) as file:
            return dict(file)

    return load


def under(arrays: Arrays, prefix: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(prefix): torch.from_numpy(a) for key, a in arrays.items() if key.startswith(prefix)}


def close(ours: torch.Tensor, theirs: np.ndarray, tolerance: float = 2e-6) -> None:
    np.testing.assert_allclose(ours.detach().numpy().reshape(theirs.shape), theirs, rtol=0, atol=tolerance)


def published_laff(state: Mapping[str, torch.Tensor]) -> published.Published:
    """Its parts, with all features of texts as stored ones."""
    parts = {part for key in state for part in key.split(".") if part.endswith("_encoder_transform")}
    names = {part.removesuffix("_transform") for part in parts}
    return published.laff(state, published.Known(names={name: name for name in names}))


def published_head(
    state: Mapping[str, torch.Tensor], ave: bool = False, mul: bool = False, **settings: Any
) -> tuple[Any, list[Input], list[Input]]:
    """The head that the published weights need, without dropout, with them in it."""
    found = published_laff(state)
    head = heads.load("laff")(
        found.videos, found.texts, [], **found.settings, ave=ave, mul=mul, dropout=0.0, **settings
    )
    missing, unexpected = head.load_state_dict(found.state, strict=False)
    assert not unexpected
    there = ("video.", "frames.", "text.")[: 3 if found.texts else 2]
    assert not [name for name in missing if name.startswith(there) and not name.endswith("num_batches_tracked")]
    return head, found.videos, found.texts


@pytest.mark.parametrize("name", BLOCKS)
def test_one_end_gives_the_published_vectors(stored: Callable[[str], Arrays], name: str) -> None:
    arrays = stored(f"a_block_{name}")
    x = under(arrays, "x/")
    found = published_laff({f"vis_net.{key}": value for key, value in under(arrays, "w/").items()})
    settings = {key: found.settings[key] for key in ("dim", "heads", "split")}
    fusion = Attention(
        **settings, ave="_ave" in name, mul="_mul" in name, unit_first="l2head" in name, rate=0.8
    ) if name != "average" else Mean()  # fmt: skip
    inputs = [(video.name, video.dim) for video in found.videos]
    side = Side(inputs, found.settings["dim"], fusion, found.settings["raw"].split("+"), 0.0, found.settings["norm"])
    state = {key.removeprefix("video."): value for key, value in found.state.items()}
    side.load_state_dict({**side.state_dict(), **state})
    side.eval()
    vectors = [x[name] for name, _ in inputs]
    for position, (feature, _) in enumerate(inputs):
        close(side.transformed(vectors)[position], arrays[f"transformed/{feature}"])
    outputs = [key for key in arrays if key.startswith("out") and "f64" not in key]
    assert outputs
    for key in outputs:
        if key != "out":
            side.fusion.r.fill_(float(key.removeprefix("out_r")))
        close(side(vectors), arrays[key])
        if (reported := key.replace("out", "attn")) in arrays:
            # They report the softmax plus r / L; what is computed with is the softmax plus r.
            r = float(side.fusion.r) if "_ave" in name else 0.0
            theirs = arrays[reported] - r / len(inputs) + r
            close(side.fusion.weights(side.transformed(vectors)), theirs / theirs.sum(2, keepdims=True))


@pytest.mark.parametrize("name", ["8heads_bn", "8heads_clipraw", "8heads_fc", "8heads_fc_ave"])
def test_the_whole_head_gives_the_published_embeddings_and_scores(stored: Callable[[str], Arrays], name: str) -> None:
    arrays = stored(f"b_model_{name}")
    head, videos, texts = published_head(under(arrays, "w/"), ave=name.endswith("ave"))
    head.eval()
    seen, written = under(arrays, "vis/"), under(arrays, "txt/")
    video = head.embed_videos([seen[feature.name] for feature in videos])
    text = head.embed_texts([written[feature.name] for feature in texts], [])
    close(video, arrays["vis_emb"])
    close(text, arrays["txt_emb"])
    close(head.scores(text, video), arrays["sim"])
    close(torch.einsum("tsd,vsd->stv", text, video), arrays["sim_each_head"])


def test_frames_are_fused_before_features_and_padding_takes_no_part(stored: Callable[[str], Arrays]) -> None:
    arrays = stored("h_frame_laff")
    head, videos, _ = published_head({f"vis_net.{key}": value for key, value in under(arrays, "w/").items()})
    head.eval()
    lengths = torch.from_numpy(arrays["lengths"])
    rows = torch.cat([torch.from_numpy(one[:n]) for one, n in zip(arrays["frames"], arrays["lengths"], strict=True)])
    frames = Ragged(rows, torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)]))
    seen = {**under(arrays, "vis/"), "frame_clip": frames}
    vectors = [seen[video.name] for video in videos]
    place = [video.name for video in videos].index("frame_clip")
    close(head.pooled(vectors)[place], arrays["pooled_frame_feature"])
    close(head.embed_videos(vectors), arrays["out"])


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("kind", ["max", "all"])
@pytest.mark.parametrize(("theirs", "direction"), [("t2i", "t2i"), ("i2t", "i2t"), ("bidir", "both")])
def test_triplet_loss_and_its_gradients(
    stored: Callable[[str], Arrays], theirs: str, direction: Any, kind: str, reduction: str
) -> None:
    arrays = stored("c_triplet_loss")
    case = f"{theirs}_{kind}_{reduction}"
    text, video = (torch.from_numpy(arrays[key]).requires_grad_() for key in ("txt", "vis"))
    scores = torch.nn.functional.normalize(text) @ torch.nn.functional.normalize(video).T
    close(scores, arrays["sim_txt_rows"])
    same = torch.eye(len(text), dtype=torch.bool)
    loss = triplet(scores[None], same, float(arrays["margin"]), direction, kind == "max", reduction == "mean")
    loss.backward()  # type: ignore[no-untyped-call]
    close(loss, arrays[f"loss/{case}"], 2e-5)
    close(text.grad, arrays[f"gtxt/{case}"], 1e-5)
    close(video.grad, arrays[f"gvis/{case}"], 1e-5)
    # Their loss over given scores has its directions the other way round.
    given = torch.from_numpy(arrays["sim_txt_rows"]).requires_grad_()
    other: Any = {"t2i": "i2t", "i2t": "t2i", "both": "both"}[direction]
    loss = triplet(given[None], same, float(arrays["margin"]), other, kind == "max", reduction == "mean")
    loss.backward()  # type: ignore[no-untyped-call]
    close(loss, arrays[f"withscore_loss/{case}"], 2e-5)
    close(given.grad, arrays[f"withscore_gsim/{case}"], 1e-5)


def test_the_losses_of_all_heads_add_up(stored: Callable[[str], Arrays]) -> None:
    arrays = stored("c_triplet_loss")
    text, video = (torch.from_numpy(arrays[key]).requires_grad_() for key in ("mh_txt", "mh_vis"))
    units = (torch.nn.functional.normalize(x, dim=-1) for x in (text, video))
    loss = objectives.load("triplet")()(Embedded(*units))
    loss.backward()
    close(loss, arrays["mh_loss"], 2e-5)
    close(text.grad, arrays["mh_gtxt"], 1e-5)
    close(video.grad, arrays["mh_gvis"], 1e-5)


@pytest.mark.parametrize("name", ["default", "weight1", "weight1_visgrad", "weight1_nonorm_not2t"])
def test_negation_loss_and_its_gradients(stored: Callable[[str], Arrays], name: str) -> None:
    arrays = stored(f"d_bnl_{name}")
    text, video, negated = (torch.from_numpy(arrays[key]).requires_grad_() for key in ("txt", "vis", "neg"))
    # A margin that no difference of cosines can break turns a hinge off.
    m1, m2, m3, m4 = (float(np.nan_to_num(m, nan=off)) for m, off in zip(arrays["margins"], (0, 0, -2, 2), strict=True))
    video_weight, text_weight = map(float, arrays["weights"])
    build = objectives.load("negation")
    loss = build(
        m1=m1, m2=m2, m3=m3, m4=m4, video_weight=video_weight, text_weight=text_weight,
        scaled=bool(arrays["normalise"]), video_gradient=not arrays["detach_vis"],
    )  # fmt: skip
    units = [torch.nn.functional.normalize(x)[:, None] for x in (text, video, negated)]
    owner = torch.from_numpy(np.flatnonzero(arrays["mask"] >= 0))
    total = loss(Embedded(units[0], units[1], 1.0, None, units[2], owner))
    total.backward()
    close(total, arrays["loss_total"], 2e-5)
    for ours, theirs in ((text, "gtxt"), (video, "gvis"), (negated, "gneg")):
        close(ours.grad, arrays[theirs], 1e-5)


def test_the_hinges_alone(stored: Callable[[str], Arrays]) -> None:
    arrays = stored("d_bnl_laffrepo_margin2loss")
    text, video, negated = (
        torch.nn.functional.normalize(torch.from_numpy(arrays[key])) for key in ("txt", "vis", "neg")
    )
    p, f, g = ((a * b).sum(1) for a, b in ((text, video), (negated, video), (negated, text)))
    close(between(p - f, 0.1, 0.6) + between(p - g, 0.1, 0.6), arrays["loss"], 2e-5)


@pytest.mark.parametrize("name", ["gru", "bigru"])
def test_recurrent_encoders(stored: Callable[[str], Arrays], name: str) -> None:
    arrays = stored(f"e_{name}_mean")
    weights = under(arrays, "w/")
    count, dim = weights["we.weight"].shape
    words = [f"w{index}" for index in range(count - len(SPECIAL))]
    encoder = Recurrent(words, dim, weights["rnn.weight_hh_l0"].shape[1], "mean", name == "bigru")
    encoder.load_state_dict(weights)
    ids, lengths = torch.from_numpy(arrays["idx"]), torch.from_numpy(arrays["lengths"])
    close(encoder.encode(ids, lengths), arrays["out"])


def test_netvlad(stored: Callable[[str], Arrays]) -> None:
    arrays = stored("e_netvlad")
    sets = [torch.from_numpy(arrays[f"x{i}"]) for i in range(3)]
    centres = torch.from_numpy(arrays["w/centeroids"])
    encoder = netvlad.NetVLAD([], torch.zeros(0, centres.shape[1]), len(centres), False)
    with torch.no_grad():
        encoder.centres.copy_(centres)
        encoder.assign.weight.copy_(torch.from_numpy(arrays["w/fc1.weight"]))
    close(encoder.encode(torch.cat(sets), torch.tensor([len(one) for one in sets])), arrays["out"])


def test_three_steps_of_training_give_the_published_weights(stored: Callable[[str], Arrays]) -> None:
    from avs_cli.core.training.loop import RMSprop

    arrays = stored("f_train_3steps")
    head, videos, texts = published_head(under(arrays, "w0/"))
    seen, written = under(arrays, "vis/"), under(arrays, "txt/")
    optimizer = RMSprop(head.parameters(), lr=1e-4)
    loss_of = objectives.load("triplet")()
    head.train()
    for step in range(3):
        rows = slice(10 * step, 10 * step + 10)
        text = head.embed_texts([written[feature.name][rows] for feature in texts], [])
        video = head.embed_videos([seen[feature.name][rows] for feature in videos])
        loss = loss_of(Embedded(text, video, head.weight, torch.arange(10)))
        assert float(loss.detach()) == approx(float(arrays[f"loss/{step}"]), abs=1e-4)
        optimizer.zero_grad()
        loss.backward()
        norm = optimizer.clip(2.0)
        assert min(norm, 2.0) == approx(float(arrays[f"clipped_grad_norm/{step}"]), abs=1e-5)
        optimizer.step()
        expected = published_laff(under(arrays, f"w{step + 1}/")).state
        state = head.state_dict()
        for key, value in expected.items():
            close(state[key], value.numpy(), 1e-6)


def test_the_rate_and_the_share_of_the_sum_fall_as_published(stored: Callable[[str], Arrays]) -> None:
    arrays = stored("g_schedules")
    attention = Attention(8, 2, True, True, False, False, 0.8)
    schedule = Plateau()
    rates, shares = [], []
    for value in arrays["val_perf_after_epoch"]:
        attention.begin_epoch()
        shares.append(float(attention.r))
        rates.append(1e-4 * schedule.factor())
        schedule.step(float(value))
    assert shares == approx(arrays["r_used_in_epoch"].tolist(), abs=1e-12)
    assert rates == approx(arrays["lr_used_in_epoch"][:, 0].tolist(), rel=1e-9)


@pytest.fixture(scope="module")
def text_io(parity: Parity) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(parity("laff/i_text_io.json").read_text())
    return content


def sentences(text_io: dict[str, Any]) -> list[str]:
    return [line.partition(" ")[2] for line in text_io["captions_file"].splitlines()]


def test_sentences_are_cut_into_the_published_tokens(text_io: dict[str, Any]) -> None:
    assert text_io["tokens"]
    for case in text_io["tokens"]:
        assert tokens(case["sentence"]) == case["tokens"]
        assert tokens(case["sentence"], stop_words=False) == case["tokens_nsw"]


@pytest.mark.parametrize("name", ["bow_1", "bow_2", "bow_nsw_1", "bow_nsw_2", "gru_1", "gru_2"])
def test_vocabularies_hold_the_published_words_in_the_published_order(text_io: dict[str, Any], name: str) -> None:
    words = Corpus(sentences(text_io)).vocabulary(int(name[-1]), "nsw" not in name)
    expected = text_io["vocab"][name]["words_in_index_order"]
    assert [*(SPECIAL if name.startswith("gru") else ()), *words] == expected


def word_vectors(text_io: dict[str, Any], folder: Path) -> WordVectors:
    path = folder / "w2v.txt"
    path.write_text(text_io["w2v_input_file"])
    return read_word_vectors(str(path))


def test_sentences_are_encoded_as_published(text_io: dict[str, Any], tmp_path: Path) -> None:
    corpus = Corpus(sentences(text_io), vectors=word_vectors(text_io, tmp_path), dim=4)
    texts = [case["sentence"] for case in text_io["encodings"]]
    close(bow.build(corpus, min_count=1)(texts), np.array([case["bow_nsw_thr1"] for case in text_io["encodings"]]), 0)
    close(word2vec.build(corpus)(texts), np.array([case["w2v_nsw"] for case in text_io["encodings"]]))
    reader = Recurrent(corpus.vocabulary(2, True), 4, 3, "mean", False)
    assert [reader.ids(text) for text in texts] == [case["gru_ids_thr2"] for case in text_io["encodings"]]


def test_bigfile_bytes_are_the_published_ones(text_io: dict[str, Any], tmp_path: Path) -> None:
    found = word_vectors(text_io, tmp_path)
    expected = text_io["bigfile"]
    write_bigfile(tmp_path / "big", found.vectors.shape[1], [Block(list(found.rows), found.vectors)])
    assert (tmp_path / "big" / "feature.bin").read_bytes().hex() == expected["feature.bin_hex"]
    assert (tmp_path / "big" / "shape.txt").read_text() == expected["shape.txt"]
    # They write ids on one line and read both; we write a line each.
    assert (tmp_path / "big" / "id.txt").read_text().split() == expected["id.txt"].split()
    (tmp_path / "big" / "id.txt").write_text(expected["id.txt"])
    big = BigFile(tmp_path / "big")
    ids, rows = expected["read(['cat','dog','zzz','dog','man'])"]
    wanted = [id for id in big.ids if id in ("cat", "dog", "zzz", "man")]
    assert wanted == ids
    np.testing.assert_allclose(big.vectors[[big.ids.index(id) for id in wanted]], rows, rtol=1e-7)


def ancestors(stored: Callable[[str], Arrays], name: str) -> Iterator[Any]:
    arrays = stored(f"k_{name}")
    weights = under(arrays, "w/")
    table = next(value for key, value in weights.items() if key.endswith("we.weight"))
    hidden = next(value for key, value in weights.items() if key.endswith("weight_hh_l0")).shape[1]
    words = [f"w{index}" for index in range(len(table) - len(SPECIAL))]
    gru = Recurrent(words, table.shape[1], hidden, "mean", False)
    # Their three sentence vectors: counts and word vectors as given, the recurrent one from indices.
    gru.forward = lambda _: gru.encode(torch.from_numpy(arrays["gru_idx"]), torch.from_numpy(arrays["gru_len"]))  # type: ignore[method-assign]
    texts = [Input("bow", arrays["bow"].shape[1]), Input("w2v", arrays["w2v"].shape[1])]
    videos = [Input("vis", arrays["vis"].shape[1])]
    head = heads.load(name)(videos, texts, [("gru", gru)], dim=arrays["txt_emb"].shape[-1], dropout=0.0)
    yield arrays, weights, head


def check_ancestor(arrays: Arrays, head: Any, names: Mapping[str, str]) -> None:
    weights = under(arrays, "w/")
    head.load_state_dict({ours: weights[theirs] for theirs, ours in names.items()})
    written = [torch.from_numpy(arrays[key]).float() for key in ("bow", "w2v")]
    text = head.embed_texts(written, [""] * len(written[0]))
    video = head.embed_videos([torch.from_numpy(arrays["vis"])])
    close(head.scores(text, video), arrays["sim"])
    loss = objectives.load("triplet")()(Embedded(text, video, head.weight))
    loss.backward()
    close(loss, arrays["loss"], 2e-5)
    parameters = dict(head.named_parameters())
    for theirs, ours in names.items():
        close(parameters[ours].grad, arrays[f"g/{theirs}"], 1e-5)


GRU = ("we.weight", "rnn.weight_ih_l0", "rnn.weight_hh_l0", "rnn.bias_ih_l0", "rnn.bias_hh_l0")


def test_w2vvpp_gives_the_published_scores_loss_and_gradients(stored: Callable[[str], Arrays]) -> None:
    for arrays, _, head in ancestors(stored, "w2vvpp"):
        names = {f"txt.encoder.rnn_encoder.{part}": f"encoders.0.{part}" for part in GRU}
        names |= {f"txt.transformer.fc1.{part}": f"text.fc.{part}" for part in ("weight", "bias")}
        names |= {f"vis.fc1.{part}": f"video.fc.{part}" for part in ("weight", "bias")}
        # They concatenate the recurrent vector, the word vectors and the counts; we the other way round.
        hidden, vectors = head.encoders[0].dim, arrays["w2v"].shape[1]
        columns = np.arange(arrays["w/txt.transformer.fc1.weight"].shape[1])
        ours = np.concatenate([columns[hidden + vectors :], columns[hidden : hidden + vectors], columns[:hidden]])
        for key in ("w/txt.transformer.fc1.weight", "g/txt.transformer.fc1.weight"):
            arrays[key] = arrays[key][:, ours]
        check_ancestor(arrays, head, names)


def test_sea_gives_the_published_scores_loss_and_gradients(stored: Callable[[str], Arrays]) -> None:
    for arrays, _, head in ancestors(stored, "sea"):
        names = {f"txt.txt_nets.2.encoder.{part}": f"encoders.0.{part}" for part in GRU}
        for k in range(3):
            for part in ("weight", "bias"):
                names[f"txt.txt_nets.{k}.transformer.fc1.{part}"] = f"text.{k}.fc.{part}"
                names[f"vis.vis_nets.{k}.transformer.fc1.{part}"] = f"video.{k}.fc.{part}"
        check_ancestor(arrays, head, names)


def test_caption_measures_agree_with_the_published_ones(stored: Callable[[str], Arrays]) -> None:
    from avs_cli.core.evaluation.captions import measures

    arrays = stored("e_metrics")
    theirs = dict(zip(arrays["names"].tolist(), arrays["values"].tolist(), strict=True))
    ours = measures(1 + arrays["label_matrix"].argmax(1))
    assert [100 * ours[f"R@{k}"] for k in (1, 5, 10)] == approx([theirs["r1"], theirs["r5"], theirs["r10"]])
    # They round a median between two ranks down.
    assert int(ours["MedR"]) == theirs["medr"]
    assert ours["mir"] == approx(theirs["mir"])
