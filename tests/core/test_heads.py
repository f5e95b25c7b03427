"""Heads: what every one keeps to, their files, and searching with several of them."""

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytest import approx
from stores import store as store_of

from avs_cli.core.models.described import describe, load_weights, rebuild
from avs_cli.core.models.heads import heads
from avs_cli.core.models.layers import (
    Attention,
    FramePooling,
    Head,
    Input,
    Ragged,
    dropout,
    linear,
    mask,
    plain_side,
    random_bits,
    tanh,
    unit,
)
from avs_cli.core.models.teachers import teachers
from avs_cli.core.models.text import text_encoders
from avs_cli.core.models.text.words import Corpus
from avs_cli.core.search.exact import best_shots
from avs_cli.core.search.heads import HeadScorer, padded
from avs_cli.errors import SpecError
from avs_cli.io.head_file import load_head, save_head
from avs_cli.io.store.galleries import Galleries, JoinedGallery
from avs_cli.io.text.trec import read_run
from avs_cli.types import Block, Joined, WordVectors

VIDEOS = [Input("clip", 6), Input("frames", 4, True)]
SENT = Input("sent", 5)
TEXTS = [SENT, Input("words", 3, True)]
SPECS = {
    "afa": "afa:dim=8,frames=2,header=seqtransf,layers=1",
    "laff": "laff:dim=16,heads=4",
    "sea": "sea:dim=8",
    "w2vvpp": "w2vvpp:dim=8",
    "xclip": "xclip:dim=8,frames=2,words=3",
    "xpool": "xpool:dim=8,frames=2",
}
FINE = ("xclip", "xpool")
CORPUS = Corpus(["a dog and a cat", "the dog runs", "two cats"], dim=3)
SENTENCES = ["a dog", "cats", "no cat runs"]


def head_of(name: str, seed: int = 0) -> tuple[Any, dict[str, Any]]:
    told = describe(SPECS.get(name, name), VIDEOS, TEXTS, ["bow:min_count=1", "gru:min_count=1,hidden=4"], CORPUS, {})
    torch.manual_seed(seed)
    return rebuild(told).eval(), told


def videos(count: int = 3, seed: int = 0) -> list[Any]:
    draw = torch.Generator().manual_seed(seed)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), torch.arange(1, count + 1).cumsum(0)])
    frames = torch.randn(int(offsets[-1]), 4, generator=draw)
    return [torch.randn(count, 6, generator=draw), Ragged(frames, offsets)]


def written(count: int = 3, seed: int = 0) -> list[Any]:
    """Sentences, and one to `count` words of each."""
    draw = torch.Generator().manual_seed(seed)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), torch.arange(1, count + 1).cumsum(0)])
    return [torch.randn(count, 5, generator=draw), Ragged(torch.randn(int(offsets[-1]), 3, generator=draw), offsets)]


@pytest.mark.parametrize("columns", [[], [3], [3, 40, 99], range(100)])
def test_columns_that_are_zero_throughout_a_batch_change_nothing(columns: list[int]) -> None:
    fc = torch.nn.Linear(100, 7)
    x = torch.zeros(5, 100)
    x[:, columns] = torch.randn(5, len(columns))
    x[2] = 0
    pull = torch.randn(5, 7)
    plain = torch.autograd.grad(fc(x), [fc.weight, fc.bias], pull)
    ours = linear(x, fc)
    torch.testing.assert_close(ours, fc(x))
    torch.testing.assert_close(torch.autograd.grad(ours, [fc.weight, fc.bias], pull), plain)


@pytest.mark.parametrize("name", [name for name in heads.names() if name not in FINE])
def test_every_head_gives_unit_vectors_in_its_spaces(name: str) -> None:
    head, _ = head_of(name)
    assert head.one_product
    texts, seen = head.embed_texts(written(), SENTENCES), head.embed_videos(videos())
    assert texts.shape == seen.shape == (3, head.spaces, texts.shape[2])
    torch.testing.assert_close(texts.norm(dim=2), torch.ones(3, head.spaces))
    torch.testing.assert_close(seen.norm(dim=2), torch.ones(3, head.spaces))
    each = torch.einsum("tsd,vsd->stv", texts, seen)
    torch.testing.assert_close(head.scores(texts, seen), head.weight * each.sum(0))


@pytest.mark.parametrize("name", FINE)
def test_a_head_without_dot_products_scores_each_pair_by_itself(name: str) -> None:
    head, _ = head_of(name)
    assert not head.one_product
    texts, seen = head.embed_texts(written(), SENTENCES), head.embed_videos(videos())
    scores = head.scores(texts, seen)
    assert scores.abs().max() <= 1 + 1e-6  # cosines
    pairs = [[head.scores(text[None], video[None]) for video in seen] for text in texts]
    torch.testing.assert_close(scores, torch.stack([torch.cat(row, 1)[0] for row in pairs]))
    shares = head.relevance(texts, seen)
    torch.testing.assert_close(shares.sum(1), torch.ones(3))
    assert shares[0].tolist() == [1, 0]  # the first video has one frame


def test_a_head_that_looks_at_words_scores_as_the_published_model_does() -> None:
    head, _ = head_of("xclip")
    frames, words = torch.randn(2, 2, 4), torch.randn(3, 3, 3)
    whole, sentences = torch.randn(2, 6), torch.randn(3, 5)
    texts = head.embed_texts([sentences, Ragged(words.flatten(0, 1), torch.tensor([0, 3, 6, 9]))], SENTENCES)
    seen = head.embed_videos([whole, Ragged(frames.flatten(0, 1), torch.tensor([0, 2, 4]))])
    model = teachers.load("xclip")(8, 2, 3, header="meanp")
    said = model.embed_texts(
        head.text(torch.cat([sentences, words.mean(1), *(encoder(SENTENCES) for encoder in head.encoders)], 1)),
        head.word(words),
    )
    shown = model.embed_videos(head.video(torch.cat([frames, whole[:, None].expand(-1, 2, -1)], 2)), torch.ones(2, 2))
    torch.testing.assert_close(head.scores(texts, seen), model.similarities(said, shown) / model.logit_scale.exp())
    # Weights that are not the identity, so that each matters.
    with torch.no_grad():
        for own, published in zip(head.model.parameters(), model.parameters(), strict=True):
            published.add_(torch.randn_like(published) / 10)
            own.copy_(published)
    torch.testing.assert_close(head.scores(texts, seen), model.similarities(said, shown) / model.logit_scale.exp())


def test_words_that_are_not_there_do_not_count_unless_asked_for() -> None:
    rows = torch.randn(6, 3)

    def scored(spec: str, ends: list[int]) -> torch.Tensor:
        head = rebuild(describe(spec, VIDEOS, TEXTS[1:], [], CORPUS, {})).eval()
        torch.manual_seed(3)
        with torch.no_grad():
            for parameter in head.parameters():
                parameter.uniform_(-0.5, 0.5)
        words = Ragged(rows[: ends[-1]], torch.tensor(ends))
        return head.scores(head.embed_texts([words], [""] * (len(ends) - 1)), head.embed_videos(videos()))

    three = SPECS["xclip"]
    # Two words, alone and beside a text of four, of which three count.
    torch.testing.assert_close(scored(three, [0, 2])[0], scored(three, [0, 2, 6])[0])
    unmasked = f"{three},masked=false"
    assert (scored(unmasked, [0, 2]) - scored(three, [0, 2])).abs().max() > 1e-3
    torch.testing.assert_close(scored(unmasked, [0, 3])[0, 1:], scored(three, [0, 3])[0, 1:])


def test_of_more_words_than_a_head_takes_the_first_count() -> None:
    head, _ = head_of("xclip")
    rows, sentence = torch.randn(5, 3), torch.randn(1, 5)
    cut, whole = (head.embed_texts([sentence, Ragged(rows[:n], torch.tensor([0, n]))], ["a dog"]) for n in (3, 5))
    assert torch.equal(cut[:, 1:], whole[:, 1:])


def test_a_head_that_looks_at_words_wants_them_of_one_feature() -> None:
    for texts in ([SENT], [TEXTS[1], Input("more", 4, True)]):
        with pytest.raises(SpecError, match=r"looks at the words of one text feature; give one .* minilm:output=words"):
            rebuild(describe(SPECS["xclip"], VIDEOS, texts, [], CORPUS, {}))


@pytest.mark.parametrize("name", heads.names())
def test_every_head_comes_back_from_its_file_with_the_same_scores(name: str, tmp_path: Path) -> None:
    head, told = head_of(name)
    save_head(tmp_path / "h.safetensors", told, head.state_dict())
    kept = load_head(tmp_path / "h.safetensors")
    again = rebuild(kept.head).eval()
    load_weights(again, kept.weights, "h.safetensors")
    assert torch.equal(head.embed_texts(written(), SENTENCES), again.embed_texts(written(), SENTENCES))
    assert torch.equal(head.embed_videos(videos()), again.embed_videos(videos()))
    save_head(tmp_path / "twin.safetensors", kept.head, kept.weights)
    assert (tmp_path / "twin.safetensors").read_bytes() == (tmp_path / "h.safetensors").read_bytes()


@pytest.mark.parametrize("name", heads.names())
def test_zero_vectors_give_finite_scores_and_gradients(name: str) -> None:
    head, _ = head_of(name)
    frames = Ragged(torch.zeros(2, 4), torch.tensor([0, 1, 2]))
    words = Ragged(torch.zeros(2, 3), torch.tensor([0, 1, 2]))
    texts = head.embed_texts([torch.zeros(2, 5), words], ["", ""])
    loss = head.scores(texts, head.embed_videos([torch.zeros(2, 6), frames]))
    loss.sum().backward()
    assert loss.isfinite().all()
    gradients = [p.grad for p in head.parameters() if p.grad is not None]
    assert gradients and all(gradient.isfinite().all() for gradient in gradients)


def test_every_text_encoder_gives_a_row_per_sentence_also_for_empty_ones() -> None:
    words = sorted({word for sentence in CORPUS.sentences for word in sentence.split()})
    vectors = WordVectors({word: row for row, word in enumerate(words)}, np.eye(len(words), dtype=np.float32))
    corpus = Corpus(CORPUS.sentences, vectors=vectors, dim=len(words))
    for name in text_encoders.names():
        build = text_encoders.load(name)
        encoder = (
            text_encoders.load(f"{name}:min_count=1")(corpus) if name not in ("word2vec", "netvlad") else build(corpus)
        )
        rows = encoder(["a dog", "", "unheard words"])
        assert rows.shape == (3, encoder.dim)
        assert rows.isfinite().all()


def test_the_mean_word_vector_counts_a_repeated_word_once() -> None:
    vectors = WordVectors({"dog": 0, "cat": 1}, np.array([[4, 0], [0, 2]], np.float32))
    encoder = text_encoders.load("word2vec")(Corpus(vectors=vectors))
    assert encoder(["dog dog the cat", "dog", "bird"]).tolist() == [[2, 1], [4, 0], [0, 0]]


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_dropout_leaves_out_its_share_by_lot_and_keeps_the_mean(share: float) -> None:
    torch.manual_seed(0)
    x = torch.ones(999, 1001, requires_grad=True)
    y = dropout(x, share, training=True)
    assert y.detach().unique().tolist() == approx([0, 1 / (1 - share)], rel=2e-4)  # a share is one of 65536
    left = (y == 0).float()
    # Six standard errors, over all and over each of the four lots of a 64-bit draw.
    for some in (left.flatten(), *(left.flatten()[k::4] for k in range(4))):
        assert float(some.mean()) == approx(share, abs=6 * (share * (1 - share) / len(some)) ** 0.5)
    pairs = left.flatten()[: 999 * 1000].view(-1, 2)
    assert abs(float(torch.corrcoef(pairs.T)[0, 1])) < 0.01
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())
    torch.manual_seed(0)
    assert torch.equal(dropout(x, share, training=True), y)
    assert dropout(x, share, training=False) is x


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_a_side_computed_head_by_head_has_the_gradients_of_its_operations(share: float) -> None:
    draw = torch.Generator().manual_seed(0)
    heads, width, dims = 2, 4, (3, 5, 4)

    def of(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draw, dtype=torch.double).requires_grad_()

    looks, xs = of(heads, width), [of(6, dim) for dim in dims]
    weights, biases = [of(heads * width, dim) for dim in dims], [of(heads * width) for _ in dims]
    pull = torch.randn(6, heads, width, generator=draw, dtype=torch.double)
    torch.manual_seed(1)
    found = plain_side(share, looks, *xs, *weights, *biases)
    arrays = [looks, *xs, *weights, *biases]
    gradients = torch.autograd.grad(found, arrays, pull)
    torch.manual_seed(1)
    kept = [mask(random_bits((6, heads * width)), share, torch.double) if share else 1.0 for _ in dims]
    ys = [torch.tanh(x @ w.T + b) * m for x, w, b, m in zip(xs, weights, biases, kept, strict=True)]
    parts = torch.stack([y.view(6, heads, width) for y in ys], 1)
    attention = (parts * looks).sum(-1, keepdim=True).softmax(1)
    expected = torch.nn.functional.normalize((attention * parts).sum(1), dim=-1)
    torch.testing.assert_close(found, expected)
    for ours, theirs in zip(gradients, torch.autograd.grad(expected, arrays, pull), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_attention_to_a_single_feature_has_no_gradient_at_all() -> None:
    draw = torch.Generator().manual_seed(0)
    looks, x, weight, bias, pull = (
        torch.randn(shape, generator=draw) for shape in ((2, 8), (30, 5), (16, 5), (16,), (30, 2, 8))
    )
    (gradient,) = torch.autograd.grad(plain_side(0.0, looks.requires_grad_(), x, weight, bias), looks, pull)
    # RMSprop makes a whole step of a gradient that is only rounding.
    assert not gradient.any()


def test_tanh_is_exact_to_the_last_digits_for_large_and_tiny_numbers() -> None:
    x = torch.cat([torch.linspace(-12, 12, 1001), torch.tensor([0.0, 1e-30, -1e-6, torch.inf, -torch.inf])])
    torch.testing.assert_close(tanh(x), torch.tanh(x.double()).float(), rtol=2e-7, atol=0)


def test_attention_weighs_by_a_softmax_of_dot_products() -> None:
    attention = Attention(2, 1, split=True, ave=False, mul=False, unit_first=False, rate=0.8)
    with torch.no_grad():
        attention.a.copy_(torch.tensor([[1.0, 0.0]]))
    x = [torch.tensor([[0.0, 1.0]]), torch.tensor([[float(np.log(3)), 0.0]])]
    # Dot products 0 and ln 3: weights 1/4 and 3/4.
    torch.testing.assert_close(attention.weights(x), torch.tensor([[[0.25, 0.75]]]))
    expected = torch.tensor([[[0.75 * np.log(3), 0.25]]], dtype=torch.float32)
    torch.testing.assert_close(attention(x), expected / expected.norm())


def test_frame_attention_takes_the_first_frames_and_no_others() -> None:
    pooling = FramePooling(3, most=2)
    rows = torch.randn(5, 3)
    cut = pooling(Ragged(rows, torch.tensor([0, 1, 5])))
    torch.testing.assert_close(cut, pooling(Ragged(rows[:3], torch.tensor([0, 1, 3]))))
    assert not torch.allclose(cut, FramePooling.forward(pooling, Ragged(rows[[0, 3, 4]], torch.tensor([0, 1, 3]))))


def test_unit_length_at_zero_is_zero_and_takes_no_gradient() -> None:
    x = torch.tensor([[0.0, 0.0], [3.0, 4.0]], requires_grad=True)
    y = unit(x)
    y.sum().backward()
    torch.testing.assert_close(y.detach(), torch.tensor([[0.0, 0.0], [0.6, 0.8]]))
    assert x.grad is not None
    assert x.grad[0].tolist() == [0, 0]
    assert x.grad.isfinite().all()


# Whose provenance names no encoder of topics.
store = partial(store_of, made={"model": "tiny"})


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    """Shots in two features whose stores list them in different orders, topics, and three heads."""
    rng = np.random.default_rng(1)
    ids = [f"shot{k:03d}" for k in range(300)]
    store(tmp_path / "clip.h5", "clip", {id: rng.normal(size=6) for id in ids})
    framed = {id: rng.normal(size=(1 + k % 3, 4)) for k, id in enumerate(ids[::-1])}
    store(tmp_path / "frames.h5", "frames", framed, frames=True)
    store(tmp_path / "topics.h5", "sent", {f"{t}": rng.normal(size=5) for t in (661, 662)})
    (tmp_path / "topics.txt").write_text("661 a dog runs\n662 two cats\n")
    made = {"model": "tiny"}
    for name in ("laff", "sea", "w2vvpp"):
        ends = {"videos": {"clip": made, "frames": made}, "texts": {"sent": made}}
        told = describe(SPECS[name], VIDEOS, [SENT], ["bow:min_count=1"], CORPUS, ends)
        torch.manual_seed(len(name))
        save_head(tmp_path / f"{name}.safetensors", told, rebuild(told).state_dict())
    return tmp_path


GALLERY = ("clip.h5", "frames.h5", "--topics", "topics.txt", "--vectors", "topics.h5", "--threads", 1)
HEADS = tuple(part for name in ("laff", "sea", "w2vvpp") for part in ("--head", f"{name}.safetensors"))


def test_one_pass_gives_every_head_the_run_that_it_gives_alone(avs: Callable[..., Any], collection: Path) -> None:
    assert avs("search", *GALLERY, *HEADS, "-o", "runs", "--depth", 20).returncode == 0
    for name in ("laff", "sea", "w2vvpp"):
        alone = avs("search", *GALLERY, "--head", f"{name}.safetensors", "--depth", 20, "--tag", name)
        assert alone.returncode == 0, alone.stderr
        assert alone.stdout == (collection / "runs" / f"{name}.run").read_text()
        assert len(alone.stdout.splitlines()) == 40
        # By the definition: every shot's features through the head, the best first.
        kept = load_head(collection / f"{name}.safetensors")
        head = rebuild(kept.head).eval()
        load_weights(head, kept.weights, name)
        with Galleries(["clip.h5", "frames.h5"]) as galleries, Galleries(["topics.h5"]) as topics:
            joined = JoinedGallery(galleries, ["clip", "frames"], 300)
            text = torch.from_numpy(topics.features["sent"].take(np.array([0])).vectors.astype(np.float32))
            with torch.inference_mode():
                ((_, read),) = joined.pieces()
                block = read()
                scores = head.scores(
                    head.embed_texts([text], ["a dog runs"]), head.embed_videos(padded(head, block, 300))
                )
        order = np.argsort(-scores[0].numpy())[:20]
        rows = [line.split() for line in alone.stdout.splitlines()[:20]]
        assert [row[2] for row in rows] == [joined.ids[i] for i in order]
        np.testing.assert_allclose([float(row[4]) for row in rows], scores[0].numpy()[order], atol=1e-6)


def test_shards_and_threads_give_the_same_runs_byte_for_byte(avs: Callable[..., Any], collection: Path) -> None:
    with Galleries(["clip.h5", "frames.h5"]) as galleries:
        for name, frames in (("clip", False), ("frames", True)):
            gallery = galleries.features[name]
            for k in range(2):
                some = gallery.ids[k::2]
                block = gallery.take(galleries.places(name, some))
                ends = range(len(some) + 1) if block.offsets is None else block.offsets
                rows = [block.vectors[ends[i] : ends[i + 1]] for i in range(len(some))]
                vectors = {id: r if frames else r[0] for id, r in zip(some, rows, strict=True)}
                store(collection / f"{name}{k}.h5", name, vectors, frames=frames)
    assert avs("search", *GALLERY, *HEADS, "-o", "whole").returncode == 0
    shards = ("clip0.h5", "clip1.h5", "frames1.h5", "frames0.h5")
    ran = avs("search", *shards, *GALLERY[2:-2], *HEADS, "-o", "shards", "--threads", 3)
    assert ran.returncode == 0, ran.stderr
    for name in ("laff", "sea", "w2vvpp"):
        assert (collection / "shards" / f"{name}.run").read_bytes() == (
            collection / "whole" / f"{name}.run"
        ).read_bytes()


def test_scores_asked_for_again_are_those_of_the_pass_but_for_rounding(
    avs: Callable[..., Any], collection: Path
) -> None:
    kept = load_head(collection / "laff.safetensors")
    head = rebuild(kept.head).eval()
    load_weights(head, kept.weights, "laff")
    with Galleries([str(collection / "clip.h5"), str(collection / "frames.h5")]) as galleries:
        gallery = JoinedGallery(galleries, ["clip", "frames"], 64)
        with torch.inference_mode():
            scorer = HeadScorer(head, head.embed_texts([torch.randn(2, 5)], ["a dog", "a cat"]), 64)
        (rankings,) = best_shots([scorer], gallery, 10, threads=1)
        place = {id: k for k, id in enumerate(gallery.ids)}
        for query, ranking in enumerate(rankings):
            positions = np.array([place[shot] for shot in ranking])
            again = scorer.exact(gallery.take(positions), np.full(10, query), np.arange(10))
            np.testing.assert_allclose(again, [*ranking.values()], atol=1e-6)


def test_explanations_add_up_to_one_for_each_topic_and_shot(avs: Callable[..., Any], collection: Path) -> None:
    ran = avs("search", *GALLERY, *HEADS, "-o", "runs", "--explain", "why.tsv")
    assert ran.returncode == 0, ran.stderr
    head, *rows = (line.split("\t") for line in (collection / "why.tsv").read_text().splitlines())
    assert head == ["head", "topic", "shot", "feature", "weight"]
    sums: dict[tuple[str, str], float] = {}
    for name, topic, shot, _, weight in rows:
        assert name == "laff"  # the others have no attention
        sums[topic, shot] = sums.get((topic, shot), 0) + float(weight)
    assert len(sums) == 2 * (1 + 10)
    assert all(abs(total - 1) < 1e-5 for total in sums.values())
    assert {row[3] for row in rows if not row[2]} == {"sent", "bow"}


@pytest.mark.parametrize("name", heads.names())
def test_a_pair_costs_a_product_for_every_number_that_is_stored_of_a_video(name: str) -> None:
    head, told = head_of(name)
    products, gates, numbers = heads.module(name).footprint(told["settings"], len(head.videos), len(head.text_names))
    by_hand = {
        # Two frames of 8 numbers as keys and as values; and a last layer, and a cosine, of what a text makes of them.
        "xpool": (2 * 2 * 8 + 8 * 8 + 8, 0, 2 * 2 * 8),
        # One sentence and three words by a mean and two frames; matrices by whose softmaxes each is weighed.
        "xclip": (8 * (1 + 3) * (1 + 2), 3 * 3 + 2 * 2 + (2 * 3 * 3 + 3 * 2 * 2) + 2 * 2 + 3 * 3, 8 * (1 + 2)),
    }
    with torch.inference_mode():
        stored = head.embed_videos(videos())[0].numel()
    assert (products, gates, numbers) == by_hand.get(name, (stored, 0, stored))


def test_wordings_of_a_topic_count_by_their_weights(avs: Callable[..., Any], collection: Path) -> None:
    for name in ("laff", "sea", "xpool"):
        told = describe(SPECS[name], VIDEOS, [], ["bow:min_count=1", "gru:min_count=1,hidden=4"], CORPUS, {})
        save_head(collection / f"{name}.safetensors", told, rebuild(told).state_dict())
    (collection / "wordings.txt").write_text("1\t3\ta dog runs\n1\t-1\ttwo cats\n2\t0.5\ta dog runs\n3\t1\ttwo cats\n")
    line = ["clip.h5", "frames.h5", *HEADS[:4], "--head", "xpool.safetensors", "--depth", 300]
    ran = avs("search", *line, "--topics", "wordings.txt", "-o", "runs", "--explain", "why.tsv")
    assert ran.returncode == 0, ran.stderr
    # X-Pool's score is linear in nothing that a text becomes.
    for name in ("laff", "sea", "xpool"):
        run = read_run(f"runs/{name}.run")
        for shot, score in run["1"].items():
            assert score == approx((3 * run["2"][shot] - run["3"][shot]) / 4, abs=1e-6)
    rows = [row.split("\t") for row in (collection / "why.tsv").read_text().splitlines()]
    weight = {row[1]: float(row[4]) for row in rows if row[0] == "laff" and row[2] == "" and row[3] == "bow"}
    assert weight["1"] == approx((3 * weight["2"] + weight["3"]) / 4, abs=1e-5)


@pytest.mark.parametrize(
    ("wordings", "told"),
    [
        ("1\t0\ta dog\n1\t0\ta cat\n", "topic 1: all wordings have weight 0"),
        ("661\t1\ta dog\n661\t1\ta cat\n", "has a single vector for topic 661, which has several wordings"),
        ("661\t1\tdog.png\n", "topic 661: dog.png is an image, and heads take text only"),
    ],
)
def test_wordings_that_a_head_cannot_take_are_told(
    avs: Callable[..., Any], collection: Path, wordings: str, told: str
) -> None:
    (collection / "wordings.txt").write_text(wordings)
    (collection / "dog.png").write_bytes(b"")
    line = ("clip.h5", "frames.h5", "--vectors", "topics.h5", "--head", "laff.safetensors")
    ran = avs("search", *line, "--topics", "wordings.txt")
    assert (ran.returncode, len(ran.stderr.splitlines())) == (3, 1)
    assert told in ran.stderr


@pytest.mark.parametrize(
    ("line", "code", "told"),
    [
        (("clip.h5", *GALLERY[2:]), 3, "laff.safetensors was trained with the feature 'frames'; the stores have clip"),
        (("clip.h5", "few.h5", *GALLERY[2:]), 3, "few.h5::frames lacks 290 shots that clip.h5::clip has: shot000, "),
        (
            ("clip.h5", "few.h5", *GALLERY[2:]),
            3,
            "use --missing skip to skip these shots, or --missing zero to",
        ),
        (
            (*GALLERY, "--times", "-", "--output", "-"),
            2,
            "- is stdout, which takes one of --output, --times, --explain",
        ),
        (("other.h5", "frames.h5", *GALLERY[2:]), 3, "a different 'clip' than that of other.h5::clip: model is"),
        (("clip.h5", "frames.h5", "--topics", "topics.txt"), 3, "text feature 'sent' has no model"),
        (
            ("clip.h5", "frames.h5", "--topics", "more.txt", "--vectors", "topics.h5"),
            3,
            "has no vector for topic '663'",
        ),
        (("clip.h5", "frames.h5", "--vectors", "topics.h5"), 2, "give --topics FILE or --query TEXT"),
        ((*GALLERY, "--head", "topics.txt", "-o", "runs"), 3, "topics.txt: not a head file"),
        ((*GALLERY, "--head", "sea.safetensors"), 2, "give --output FOLDER"),
        ((*GALLERY, "--head", "none.safetensors", "-o", "runs"), 3, "none.safetensors"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line_that_names_both(
    avs: Callable[..., Any], collection: Path, line: tuple[object, ...], code: int, told: str
) -> None:
    rng = np.random.default_rng(2)
    store(collection / "few.h5", "frames", {f"shot{k + 290}": rng.normal(size=(2, 4)) for k in range(10)}, frames=True)
    other = {f"shot{k:03d}": rng.normal(size=6) for k in range(300)}
    store(collection / "other.h5", "clip", other, made={"model": "huge"})
    (collection / "more.txt").write_text("663 a car\n")
    ran = avs("search", *line, "--head", "laff.safetensors")
    assert (ran.returncode, len(ran.stderr.splitlines())) == (code, 1), ran.stderr
    assert told in ran.stderr


@pytest.fixture
def partial_stores(collection: Path) -> Path:
    """Stores of which each lacks shots: clip the last two, frames all but the last ten; and a head over clip alone."""
    rng = np.random.default_rng(3)
    ids = [f"shot{k:03d}" for k in range(300)]
    with Galleries([str(collection / "clip.h5"), str(collection / "frames.h5")]) as whole:
        clip = dict(zip(ids, whole.features["clip"].take(whole.places("clip", ids)).vectors, strict=True))
        frames = {id: rng.normal(size=(1 + k % 2, 4)).astype(np.float16) for k, id in enumerate(ids[290:])}
    store(collection / "some.h5", "clip", {id: clip[id] for id in ids[:298]})
    store(collection / "few.h5", "frames", frames, frames=True)
    store(collection / "clip-both.h5", "clip", {id: clip[id] for id in ids[290:298]})
    store(collection / "frames-both.h5", "frames", {id: frames[id] for id in ids[290:298]}, frames=True)
    store(collection / "clip-zero.h5", "clip", {id: clip[id] if id in ids[:298] else np.zeros(6) for id in ids})
    store(collection / "frames-zero.h5", "frames", {id: frames.get(id, np.zeros((1, 4))) for id in ids}, frames=True)
    told = describe(SPECS["w2vvpp"], VIDEOS[:1], [], ["bow:min_count=1"], CORPUS, {})
    save_head(collection / "alone.safetensors", told, rebuild(told).state_dict())
    return collection


def test_shots_that_lack_a_feature_are_left_out_or_have_zeros_for_it(
    avs: Callable[..., Any], partial_stores: Path
) -> None:
    line = (*GALLERY[2:], "--depth", 300, *HEADS, "-o")
    lacks = "few.h5::frames lacks 290 shots that some.h5::clip has: shot000, shot001, shot002, …"
    clip_lacks = "some.h5::clip lacks 2 shots that few.h5::frames has: shot298, shot299"
    for missing, twin, told in (
        ("skip", ("clip-both.h5", "frames-both.h5"), "these shots are skipped"),
        ("zero", ("clip-zero.h5", "frames-zero.h5"), "zero vectors are used instead"),
    ):
        ran = avs("search", "some.h5", "few.h5", *line, missing, "--missing", missing)
        assert ran.returncode == 0, ran.stderr
        assert sorted(ran.stderr.splitlines()) == [f"avs: {lacks}; {told}", f"avs: {clip_lacks}; {told}"]
        assert avs("search", *twin, *line, "twin").returncode == 0
        for name in ("laff", "sea", "w2vvpp"):
            ours, theirs = (read_run(f"{folder}/{name}.run") for folder in (missing, "twin"))
            assert [*ours] == ["661", "662"]
            for topic, scores in ours.items():
                assert len(scores) == (8 if missing == "skip" else 300)
                assert scores == approx(theirs[topic], abs=1e-6)


@pytest.mark.parametrize("missing", ["skip", "zero"])
def test_a_head_ranks_what_its_own_features_have_whatever_other_heads_lack(
    avs: Callable[..., Any], partial_stores: Path, missing: str
) -> None:
    alone = avs("search", "some.h5", *GALLERY[2:4], "--head", "alone.safetensors", "-o", "alone/")
    assert (alone.returncode, alone.stderr) == (0, "")
    line = ("some.h5", "few.h5", *GALLERY[2:], "--head", "alone.safetensors", *HEADS, "--missing", missing)
    assert avs("search", *line, "-o", "runs").returncode == 0
    runs = [read_run(f"{folder}/alone.run") for folder in ("alone", "runs")]
    for topic in ("661", "662"):
        assert len(runs[0][topic]) == 298
        assert runs[1][topic] == approx(runs[0][topic], abs=1e-6)


def test_stores_that_lack_shots_of_another_head_are_no_obstacle(avs: Callable[..., Any], partial_stores: Path) -> None:
    told = describe(SPECS["w2vvpp"], VIDEOS[1:], [], ["bow:min_count=1"], CORPUS, {})
    save_head(partial_stores / "framed.safetensors", told, rebuild(told).state_dict())
    heads_ = ("--head", "alone.safetensors", "--head", "framed.safetensors")
    ran = avs("search", "some.h5", "few.h5", *GALLERY[2:4], *heads_, "-o", "runs")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert [len(read_run(f"runs/{name}.run")["661"]) for name in ("alone", "framed")] == [298, 10]


def test_features_without_a_shot_in_common_give_no_run(avs: Callable[..., Any], partial_stores: Path) -> None:
    rng = np.random.default_rng(5)
    store(partial_stores / "apart.h5", "frames", {f"other{k}": rng.normal(size=(1, 4)) for k in range(3)}, frames=True)
    line = ("search", "some.h5", "apart.h5", *GALLERY[2:], *HEADS[:2], "-o", "a.run")
    ran = avs(*line, "--missing", "skip")
    assert (ran.returncode, len(ran.stderr.splitlines())) == (3, 1)
    assert "laff.safetensors: no shot to search has all of its features" in ran.stderr
    assert not (partial_stores / "a.run").exists()
    assert avs(*line, "--missing", "zero").returncode == 0
    assert len(read_run("a.run")["661"]) == 301


def test_one_head_writes_into_a_folder_as_several_do(avs: Callable[..., Any], collection: Path) -> None:
    assert avs("search", *GALLERY, *HEADS, "-o", "several", "--depth", 5).returncode == 0
    for path in ("new/", "new", "deep/er/"):
        assert avs("search", *GALLERY, *HEADS[:2], "-o", path, "--depth", 5).returncode == 0
        assert [one.name for one in (collection / path).iterdir()] == ["laff.run"]
        assert (collection / path / "laff.run").read_bytes() == (collection / "several" / "laff.run").read_bytes()
    ran = avs("search", *GALLERY, *HEADS, "-o", "several", "--tag", "mine")
    assert (ran.returncode, "--tag names a single run" in ran.stderr) == (2, True)


def test_the_times_of_heads_are_their_shares_of_the_search(avs: Callable[..., Any], collection: Path) -> None:
    begun = time.perf_counter()
    ran = avs("search", *GALLERY, *HEADS, "-o", "runs", "--times", "times")
    whole = time.perf_counter() - begun
    assert ran.returncode == 0, ran.stderr
    total = 0.0
    for name in ("laff", "sea", "w2vvpp"):
        rows = [line.split("\t") for line in (collection / "times" / f"{name}.times").read_text().splitlines()]
        assert [row[0] for row in rows] == ["661", "662"]
        assert rows[0][1] == rows[1][1] and float(rows[0][1]) > 0
        total += 2 * float(rows[0][1])
    assert total < whole
    assert avs("search", *GALLERY, *HEADS[:2], "-o", "a.run", "--times", "seconds.tsv").returncode == 0
    assert (collection / "seconds.tsv").read_text().startswith("661\t")
    assert avs("search", *GALLERY, *HEADS[:2], "-o", "a.run", "--times", "new/").returncode == 0
    assert [one.name for one in (collection / "new").iterdir()] == ["laff.times"]


@pytest.mark.parametrize("end", ["video", "text"])
def test_a_head_with_weights_that_are_no_numbers_gives_no_run(
    avs: Callable[..., Any], collection: Path, end: str
) -> None:
    kept = load_head(collection / "laff.safetensors")
    (key, *_) = [name for name in kept.weights if name.startswith(f"{end}.") and name.endswith("fc.weight")]
    spoilt = kept.weights[key].clone()
    spoilt[:, 0] = torch.nan
    save_head(collection / "spoilt.safetensors", kept.head, {**kept.weights, key: spoilt})
    ran = avs("search", *GALLERY, "--head", "spoilt.safetensors", "-o", "a.run")
    assert (ran.returncode, len(ran.stderr.splitlines())) == (3, 1), ran.stderr
    assert f"spoilt.safetensors: weight '{key}' is NaN or infinite" in ran.stderr
    assert not (collection / "a.run").exists()


def test_info_tells_of_a_head_what_it_takes_and_how_it_was_trained(avs: Callable[..., Any], collection: Path) -> None:
    kept = load_head(collection / "laff.safetensors")
    weights = {"videos": {"clip": 0.25, "frames": 0.75}, "texts": {"sent": 0.5, "bow": 0.5}}
    save_head("told.safetensors", {**kept.head, "weights": weights, "training": {"seed": 7}}, kept.weights)
    ran = avs("info", "told.safetensors")
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert lines[0].startswith("told.safetensors: laff head, ")
    assert lines[2:4] == [
        "  video feature frames, 4 dimensions, weight 0.750",
        "  video feature clip, 6 dimensions, weight 0.250",
    ]
    assert lines[-1] == "  seed: 7"
    told = json.loads(avs("info", "told.safetensors", "--json").stdout)
    assert told[0]["settings"]["dim"] == 16
    (collection / "cut.safetensors").write_bytes((collection / "told.safetensors").read_bytes()[:-9])
    ran = avs("info", "cut.safetensors")
    assert (ran.returncode, len(ran.stderr.splitlines())) == (3, 1)


def joined(count: int, seed: int = 0) -> Joined:
    """Shots with both features."""
    clip, frames = videos(count, seed)
    ids = [f"s{k:03d}" for k in range(count)]
    rows = Block(ids, frames.vectors.numpy(), frames.offsets.numpy())
    return Joined(ids, {"clip": Block(ids, clip.numpy()), "frames": rows})


@pytest.mark.parametrize("precise", [False, True])
@pytest.mark.parametrize("name", heads.names())
def test_a_score_depends_neither_on_the_row_of_a_shot_nor_on_the_shots_beside_it(name: str, precise: bool) -> None:
    head, _ = head_of(name)
    with torch.inference_mode():
        texts = head.embed_texts(written(), SENTENCES)
    scorer = HeadScorer(head, texts, 64)
    scorer.uniform &= not precise
    whole = joined(50)
    scores = scorer.scan(whole)
    with torch.inference_mode():
        expected = head.scores(texts, head.embed_videos(padded(head, whole, 50)))
    torch.testing.assert_close(scores, expected, atol=1e-6, rtol=0)
    for low, high in [(0, 1), (17, 18), (3, 41), (31, 50)]:
        assert torch.equal(scorer.scan(whole.part(low, high)), scores[:, low:high])


class Uneven(Head):
    """Scores of copies of a shot differ by rounding errors: those at odd rows are larger."""

    spaces, weight = 1, 1.0

    def __init__(self) -> None:
        super().__init__([Input("clip", 2)], [Input("sent", 2)], [])
        self.scale = torch.nn.Parameter(torch.ones(()))

    def embed_videos(self, vectors: Any) -> torch.Tensor:
        (x,) = vectors
        odd = torch.arange(len(x)) % 2 * torch.finfo(x.dtype).eps
        return (self.scale * x * (1 + 4 * odd[:, None].to(x.dtype))).unsqueeze(1)


def test_a_head_whose_products_differ_between_rows_is_noticed_and_has_the_same_score_at_all_rows() -> None:
    # Three numbers that are halfway between two multiples of the grid, but for the errors, and one that is not.
    values = np.array([0.5 + 2**-25, 0.25 + 2**-25, 0.125 + 3 * 2**-25, 1 / 3], np.float32)
    vectors = np.repeat(np.stack([values, values * 0], 1), 8, axis=0)
    block = Joined(
        [f"s{k}" for k in range(32)], {"clip": Block([f"s{k}" for k in range(32)], np.ascontiguousarray(vectors))}
    )
    scorer = HeadScorer(Uneven(), torch.tensor([[[1.0, 0.0]]]), 32)
    assert not scorer.uniform
    scores = scorer.scan(block)[0].view(4, 8)
    assert torch.equal(scores, scores[:, :1].expand(4, 8))
    assert scores[:, 0].tolist() == approx(values.tolist(), abs=2**-24)
    scorer.uniform = True
    assert not torch.equal(scorer.scan(block)[0].view(4, 8), scores)


@pytest.mark.parametrize("name", ["laff", "sea", "w2vvpp"])
def test_a_video_whose_feature_is_mostly_zero_has_the_same_vector_beside_any_others(name: str) -> None:
    """Columns that are zero throughout a batch are left out for texts only: their number changes the last digits."""
    head = rebuild(describe(SPECS[name], [Input("concepts", 300)], [SENT], [], CORPUS, {})).eval()
    torch.manual_seed(0)
    alike = (torch.rand(64, 300) < 0.1) * torch.rand(64, 300)
    others = torch.cat([alike[:1], torch.randn(63, 300)])
    with torch.inference_mode():
        assert torch.equal(head.embed_videos([alike])[0], head.embed_videos([others])[0])
