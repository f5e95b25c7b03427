"""TeachCLIP's own code is the judge: its student, its teachers, what it makes small, and how it steps, on small inputs.

Tolerances are of double precision, but for the towers, which ran in single.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from pytest import approx

from avs_cli.core.evaluation.captions import measures, text_ranks, video_ranks
from avs_cli.core.models.clip import checkpoints
from avs_cli.core.models.clip.sampling import kept, one_a_second
from avs_cli.core.models.clip.temporal import Student, Watched
from avs_cli.core.models.clip.towers import Towers, fill, network_of
from avs_cli.core.models.heads.xclip import XClipHead
from avs_cli.core.models.layers import Input, Ragged, unit
from avs_cli.core.models.teachers import teachers
from avs_cli.core.models.teachers.ts2net import CHOSEN, NOISE, SoftTopK, TS2Net
from avs_cli.core.models.teachers.ts2net import PUBLISHED as TS2NET
from avs_cli.core.models.teachers.xclip import PUBLISHED as XCLIP
from avs_cli.core.models.teachers.xclip import XClip
from avs_cli.core.models.teachers.xpool import PUBLISHED as XPOOL
from avs_cli.core.models.teachers.xpool import XPool
from avs_cli.core.training.bert_adam import BertAdam, WarmupCosine
from avs_cli.core.training.distillation import Losses, Recipe, Targets, coarse_loss, distill, fine_loss, matching_loss

Arrays = dict[str, torch.Tensor]
Stored = Callable[[str], Arrays]


@pytest.fixture
def stored(parity: Callable[[str], Path]) -> Stored:
    def load(name: str) -> Arrays:
        with np.load(parity(f"teachclip/{name}.npz")) as file:
            return {key: torch.from_numpy(file[key]) for key in file.files}

    return load


def close(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(ours.detach().reshape(theirs.shape), theirs, rtol=0, atol=tolerance)


def under(arrays: Mapping[str, torch.Tensor], *prefixes: str) -> Arrays:
    return {key.removeprefix(p): value for p in prefixes for key, value in arrays.items() if key.startswith(p)}


def loaded(module: torch.nn.Module, weights: Arrays, names: Mapping[str, str]) -> None:
    """Put published weights in their places; every one has a place, and every place one, but for the scale."""
    state = {checkpoints.renamed(key, names) or key: value for key, value in weights.items()}
    module.double()
    fill(module, {"logit_scale": module.state_dict()["logit_scale"], **state}, "the model")
    module.eval()


def need(arrays: Arrays, name: str) -> None:
    """The excerpt that comes with the tests does not have every case."""
    if name not in arrays:
        pytest.skip(f"not among the arrays here: {name}")


# The student.


def student(arrays: Arrays, **settings: str) -> Student:
    weights = under(arrays, "w.")
    layers = 1 + max(int(key.split(".")[2]) for key in weights if key.startswith("transformerClip"))
    positions, dim = weights["frame_position_embeddings.weight"].shape
    built = Student(dim, positions, layers, int(arrays["n_heads"]), **settings)  # type: ignore[arg-type]
    own = built.state_dict()
    there = {key: value for key, value in weights.items() if checkpoints.renamed(key, checkpoints.STUDENT) in own}
    loaded(built, {**there, "logit_scale": arrays["logit_scale_param"].double()}, checkpoints.STUDENT)
    return built


def scores(model: Student, arrays: Arrays, watched: Watched) -> torch.Tensor:
    return model.scores(arrays["txt"].squeeze(1), watched.vectors)


@pytest.mark.parametrize("mask", ["full", "pad"])
def test_the_student_gives_the_published_vectors_weights_and_scores(stored: Stored, mask: str) -> None:
    arrays = stored("student_afa")
    need(arrays, f"{mask}.frames")
    model = student(arrays)
    watched = model(arrays["vis"], arrays[f"mask_{mask}"])
    assert watched.weights is not None
    close(watched.frames, arrays[f"{mask}.frames"])
    close(watched.logits, arrays[f"{mask}.frame_logits"])
    close(watched.weights, arrays[f"{mask}.weights_T1"])
    close(watched.vectors, arrays[f"{mask}.video_vec_unnormalised"])
    close(scores(model, arrays, watched), arrays[f"{mask}.sim_afa"])


def test_the_students_constants_are_the_published_ones(stored: Stored) -> None:
    arrays = stored("student_afa")
    model = student(arrays)
    assert model.temperature == approx(float(arrays["afa_temperature"]))
    assert model.temporal is not None
    assert model.temporal.blocks[0].ln_1.eps == approx(float(arrays["ln_eps"]))


@pytest.mark.parametrize("mask", ["full", "pad"])
@pytest.mark.parametrize(("header", "case"), [("seqtransf", "sim_seqtransf_mean"), ("meanp", "sim_meanP")])
def test_clip4clips_means_give_the_published_scores(stored: Stored, mask: str, header: str, case: str) -> None:
    arrays = stored("student_afa")
    need(arrays, f"{mask}.frames")
    model = student(arrays, header=header, pooling="mean")
    watched = model(arrays["vis"], arrays[f"mask_{mask}"])
    close(scores(model, arrays, watched), arrays[f"{mask}.{case}"])


def test_the_students_gradients_are_the_published_ones(stored: Stored) -> None:
    arrays = stored("student_afa")
    model = student(arrays)
    frames = arrays["vis"].clone().requires_grad_()
    watched = model(frames, arrays["mask_pad"])
    worth = (scores(model, arrays, watched) * arrays["grad.cot_sim"]).sum()
    (worth + (watched.weights * arrays["grad.cot_weights_T1"]).sum()).backward()
    found = {name: parameter.grad for name, parameter in model.named_parameters()}
    names = {**checkpoints.STUDENT, "clip.logit_scale": "logit_scale"}
    assert frames.grad is not None
    close(frames.grad, arrays["grad.vis"], 1e-8)
    taught = [key for key in under(arrays, "grad.") if key != "vis" and not key.startswith("cot_")]
    assert len(taught) > 3
    for key in taught:
        gradient = found[checkpoints.renamed(key, names) or key]
        assert gradient is not None
        # Gradients reach some hundreds.
        close(gradient, arrays[f"grad.{key}"], 1e-7)


# The losses.


def cases(arrays: Mapping[str, torch.Tensor]) -> list[str]:
    found = [key.removesuffix(".distill_loss") for key in arrays if key.endswith(".distill_loss")]
    assert found
    return found


def recipe_of(case: str) -> Recipe:
    _, _, coarse, fine, *rest = case.split(".")
    return Recipe(coarse, fine, beta=float(rest[0].removeprefix("beta")) if rest else 1.0)  # type: ignore[arg-type]


def learned(arrays: Arrays, case: str, sim: torch.Tensor, logits: torch.Tensor) -> Losses:
    group, count = case.split(".")[0], int(case.split(".")[1].removeprefix("t"))
    targets = [Targets(arrays[f"{group}.teacher_sim{k}"], arrays[f"{group}.teacher_frames{k}"]) for k in range(count)]
    return distill(sim, logits, targets, recipe_of(case))


def test_losses_are_the_published_ones_for_every_pair_of_methods(stored: Stored) -> None:
    arrays = stored("losses")
    for case in cases(arrays):
        group = case.split(".")[0]
        found = learned(arrays, case, arrays[f"{group}.sim"], arrays[f"{group}.frame_logits"])
        for name, theirs in (
            ("total", "loss"),
            ("matching", "gt_loss"),
            ("coarse", "distill_loss"),
            ("fine", "fine_loss"),
        ):
            assert float(getattr(found, name)) == approx(float(arrays[f"{case}.{theirs}"]), abs=1e-10), (case, name)


def test_gradients_of_losses_are_the_published_ones_for_every_pair_of_methods(stored: Stored) -> None:
    arrays = stored("losses")
    parts = {"loss": "total", "gt_loss": "matching", "distill_loss": "coarse", "fine_loss": "fine"}
    for case in cases(arrays):
        group = case.split(".")[0]
        gradients = [key for key in arrays if key.startswith(f"{case}.d_")]
        assert gradients
        for key in gradients:
            loss, leaf = key.removeprefix(f"{case}.d_").split("_d_")
            leaves = {name: arrays[f"{group}.{name}"].clone().requires_grad_() for name in ("sim", "frame_logits")}
            if leaf == "weights":
                # Theirs is of the weights as if they were free; ours has the softmax in it, so its parts are asked.
                weights = arrays[f"{group}.weights"].clone().requires_grad_()
                close(_of_free_weights(arrays, case, loss, weights), arrays[key])
                continue
            value = getattr(learned(arrays, case, leaves["sim"], leaves["frame_logits"]), parts[loss])
            value.backward()
            close(leaves[leaf].grad, arrays[key])


def _of_free_weights(arrays: Arrays, case: str, loss: str, weights: torch.Tensor) -> torch.Tensor:
    group, count, recipe = case.split(".")[0], int(case.split(".")[1].removeprefix("t")), recipe_of(case)
    targets = [arrays[f"{group}.teacher_frames{k}"] for k in range(count)]
    value = torch.stack([fine_loss(weights.log(), one, recipe.fine) for one in targets]).mean()
    (value * (recipe.weights[2] if loss == "loss" else 1)).backward()
    assert weights.grad is not None
    return weights.grad


def test_a_constant_row_gives_a_finite_loss_and_gradient() -> None:
    sim = torch.zeros(3, 3, requires_grad=True)
    logits = torch.zeros(3, 4, requires_grad=True)
    targets = [Targets(torch.zeros(3, 3), torch.full((3, 4), 0.25))]
    found = distill(sim, logits, targets, Recipe("pear", "pear"))
    found.total.backward()
    # Two directions at distance 1 each, weight 1; frames at distance 1, weight 2; matching by chance among 3.
    assert float(found.total.detach()) == approx(0.2 * np.log(3) + 2 + 2)
    assert sim.grad is not None and logits.grad is not None
    assert bool(sim.grad.isfinite().all()) and bool(logits.grad.isfinite().all())


def test_scores_too_sharp_for_a_softmax_give_a_finite_loss() -> None:
    sim = (1000 * torch.eye(3)).roll(1, 0).requires_grad_()
    logits = torch.tensor([[0.0, -1000.0]] * 3, requires_grad=True)
    targets = [Targets(1000 * torch.eye(3), torch.tensor([[0.0, 1.0]] * 3))]
    found = distill(sim, logits, targets, Recipe("ce", "ce"))
    found.total.backward()
    assert bool(found.total.isfinite())
    assert float(found.matching.detach()) == approx(1000)
    assert sim.grad is not None and bool(sim.grad.isfinite().all())


def test_without_teachers_only_the_matching_is_learned() -> None:
    sim = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    found = distill(sim, torch.zeros(2, 3), [], Recipe())
    assert float(found.total) == approx(0.2 * float(matching_loss(sim)))
    assert float(coarse_loss(sim, sim, "pear")) == approx(0, abs=1e-6)


# The teachers.


def temporal_spec(arrays: Arrays) -> str:
    """The sizes of the header, as a teacher's spec has them."""
    layers = len({key.split(".")[3] for key in arrays if key.startswith("w.transformerClip.resblocks.")})
    positions = len(arrays["w.frame_position_embeddings.weight"])
    return f",layers={layers},heads={int(arrays['n_heads'])},positions={positions}"


def xclip(arrays: Arrays, case: str, header: str, masked: bool = False) -> XClip:
    need(arrays, f"{case}.w.global_mat_weight")
    dim, frames = arrays["vis"].shape[2], arrays["vis"].shape[1]
    spec, weights = f"xclip:header={header},masked={str(masked).lower()}", under(arrays, f"{case}.w.")
    if header == "seqtransf":
        need(arrays, "w.frame_position_embeddings.weight")
        spec, weights = spec + temporal_spec(arrays), {**weights, **under(arrays, "w.")}
    teacher = teachers.load(spec)(dim, frames, arrays["words"].shape[1])
    loaded(teacher, {**weights, "logit_scale": arrays["logit_scale_param"].double()}, XCLIP)
    assert isinstance(teacher, XClip)
    return teacher


@pytest.mark.parametrize("case", ["ident", "rand"])
@pytest.mark.parametrize(("header", "name"), [("seqtransf", "seqTransf"), ("meanp", "meanP")])
def test_xclip_gives_the_published_scores_and_relevance(stored: Stored, case: str, header: str, name: str) -> None:
    arrays = stored("xclip")
    teacher = xclip(arrays, case, header)
    texts = teacher.embed_texts(arrays["sent"].squeeze(1), arrays["words"])
    videos = teacher.embed_videos(arrays["vis"], arrays["mask"])
    close(teacher.similarities(texts, videos), arrays[f"{case}.{name}.logits"])
    close(teacher.relevance(texts, videos), arrays[f"{case}.{name}.s2f"])
    found, scale = teacher.terms(texts, videos), arrays["logit_scale_param"].exp()
    close(scale * found.video_sentence, arrays[f"{case}.{name}.video_sentence"])
    close(scale * found.video_word, arrays[f"{case}.{name}.video_word"])
    close(scale * found.sentence_frame, arrays[f"{case}.{name}.frame_sentence"])
    close(scale * found.frame_word, arrays[f"{case}.{name}.frame_word"])


@pytest.mark.parametrize("case", ["ident", "rand"])
def test_the_head_over_stored_words_gives_the_published_scores(stored: Stored, case: str) -> None:
    arrays = stored("xclip")
    teacher = xclip(arrays, case, "meanp")
    sentences, words, frames = arrays["sent"].squeeze(1), arrays["words"], arrays["vis"]
    (texts, most, dim), (videos, count, _) = words.shape, frames.shape
    named = [Input("sent", dim, False), Input("words", dim, True)]
    head = XClipHead([Input("frames", dim, True)], named, [], dim, 0.0, teacher).double()
    with torch.no_grad():  # what the head does before is nothing: the sentence is the first text feature
        for layer, weight in ((head.video, torch.eye(dim)), (head.word, torch.eye(dim)),
                              (head.text, torch.eye(dim, 2 * dim))):  # fmt: skip
            layer.weight.copy_(weight)
            layer.bias.zero_()
        written = head.embed_texts(
            [sentences, Ragged(words.flatten(0, 1), torch.arange(texts + 1) * most)], [""] * texts
        )
        seen = head.embed_videos([Ragged(frames.flatten(0, 1), torch.arange(videos + 1) * count)])
        whole = arrays["mask"].bool().all(1)
        assert whole.any()
        found = head.scores(written, seen) * arrays["logit_scale_param"].exp()
    close(found[:, whole], arrays[f"{case}.meanP.logits"].view(texts, videos)[:, whole])


@pytest.mark.parametrize("case", ["ident", "rand"])
def test_xclips_attention_over_similarities_takes_any_number_of_texts(stored: Stored, case: str) -> None:
    arrays = stored("xclip")
    teacher = xclip(arrays, case, "meanp")
    texts = teacher.embed_texts(arrays["sent"].squeeze(1), arrays["words"])
    videos = teacher.embed_videos(arrays["vis"], arrays["mask"])
    close(teacher.terms(texts, videos).frame_word, arrays[f"{case}.aosm_unscaled"])
    few = arrays[f"{case}.aosm_rect_first2texts"]
    close(teacher.terms({key: value[: len(few)] for key, value in texts.items()}, videos).frame_word, few)


def ts2net(arrays: Arrays, whole: bool = True) -> TS2Net:
    """The teacher; where not the `whole` of it matters, its header may be any."""
    weights, spec = under(arrays, "w."), "ts2net:masked=false"
    if whole:
        need(arrays, "w.frame_position_embeddings.weight")
        spec += temporal_spec(arrays)
    teacher = teachers.load(spec)(arrays["hidden"].shape[2], arrays["mask"].shape[1], 1)
    if not whole:
        weights = {key: value for key, value in weights.items() if key.startswith("visual_token_selector.")}
        weights |= {key: value for key, value in teacher.state_dict().items() if key.startswith("temporal.")}
    loaded(teacher, {**weights, "logit_scale": arrays["logit_scale_param"].double()}, TS2NET)
    assert isinstance(teacher, TS2Net)
    return teacher


def tokens_of(arrays: Arrays) -> torch.Tensor:
    frames = arrays["mask"].shape[1]
    return arrays["hidden"].unflatten(1, (frames, -1))


def test_ts2net_chooses_the_published_patches(stored: Stored) -> None:
    arrays = stored("ts2net")
    teacher, tokens = ts2net(arrays, whole=False), tokens_of(arrays)
    assert int(arrays["topk"]) == CHOSEN
    assert float(arrays["sigma"]) == approx(NOISE)
    close(teacher.selector(tokens), arrays["token_scores"][: len(tokens)])
    # As many frames as there is noise of.
    frames = len(arrays["noise"])
    chosen = teacher.chosen(tokens.flatten(0, 1)[None, :frames], arrays["noise"][None])
    close(chosen, arrays["selected_tokens"].view(-1, 1 + CHOSEN, tokens.shape[-1])[:frames])
    marks = arrays["token_scores"][..., 1:].flatten(0, 1)[:frames]
    close(SoftTopK.apply(marks, arrays["noise"], CHOSEN, NOISE), arrays["indicator"][:frames])


def test_ts2nets_choice_has_the_published_gradient(stored: Stored) -> None:
    arrays = stored("ts2net")
    frames = len(arrays["noise"])
    marks = arrays["token_scores"][..., 1:].flatten(0, 1)[:frames].clone().requires_grad_()
    chosen = SoftTopK.apply(marks, arrays["noise"], CHOSEN, NOISE)
    (chosen * arrays["grad.indicator_cot"][:frames]).sum().backward()
    assert marks.grad is not None
    close(marks.grad, arrays["grad.scores"][:frames])


def test_ts2net_gives_the_published_scores_and_relevance(stored: Stored) -> None:
    arrays = stored("ts2net")
    teacher = ts2net(arrays)
    texts = teacher.embed_texts(arrays["txt"].squeeze(1))
    chosen = arrays["selected_tokens"].unflatten(1, (arrays["mask"].shape[1], -1))
    videos = teacher.embed_chosen(chosen, arrays["mask"])
    close(teacher.similarities(texts, videos), arrays["teacher_sim"])
    close(teacher.similarities(texts, videos), arrays["teacher_sim_global_fn"])
    close(teacher.relevance(texts, videos), arrays["s2f"])


def test_ts2nets_last_step_gives_the_published_scores_of_given_frames(stored: Stored) -> None:
    arrays = stored("ts2net")
    teacher = ts2net(arrays, whole=False)
    texts = teacher.embed_texts(arrays["txt"].squeeze(1))
    videos = {"frames": unit(arrays["head_only.frames"]), "mask": arrays["mask"]}
    close(teacher.similarities(texts, videos), arrays["head_only.sim"])
    few = arrays["head_only.sim_rect"]
    close(teacher.similarities({"sentence": texts["sentence"][: len(few)]}, videos), few)


@pytest.mark.parametrize("case", ["init", "rand"])
def test_xpool_gives_the_published_scores_and_relevance(stored: Stored, case: str) -> None:
    arrays = stored("xpool")
    need(arrays, f"{case}.sim")
    dim, frames = arrays["frames"].shape[2], arrays["frames"].shape[1]
    teacher = teachers.load("xpool")(dim, frames, 1)
    assert isinstance(teacher, XPool)
    untouched = {key: value.double() for key, value in teacher.state_dict().items()}
    weights = under(arrays, f"{case}.w.")
    names = {theirs.removeprefix("pool_frames."): ours for theirs, ours in XPOOL.items()}
    loaded(teacher, {**weights, "logit_scale": arrays["logit_scale_param"].double()}, names)
    if case == "init":
        for key, value in teacher.state_dict().items():
            if key != "logit_scale":
                close(untouched[key], value)
    assert teacher.norm_in.eps == approx(float(arrays["ln_eps"]))
    texts = teacher.embed_texts(arrays["text"])
    videos = teacher.embed_videos(arrays["frames"], torch.ones(arrays["frames"].shape[:2]))
    close(teacher.similarities(texts, videos), arrays[f"{case}.sim"])
    close(teacher.relevance(texts, videos), arrays[f"{case}.attn_diag"])
    close(teacher.pooled(texts, videos), arrays[f"{case}.pooled_vtd"])
    if f"{case}.rect_pooled_v5_t3" in arrays:
        few = arrays[f"{case}.rect_pooled_v5_t3"]
        close(teacher.pooled({"sentence": texts["sentence"][: few.shape[1]]}, videos), few)


# CLIP's towers.


def test_towers_give_the_published_vectors_of_frames_patches_sentences_and_words(stored: Stored) -> None:
    arrays = stored("tiny_clip")
    towers = Towers(network_of(checkpoints.openai(under(arrays, "w.")))).eval()
    assert towers.network.ln_final.eps == approx(float(arrays["ln_eps"]))
    with torch.inference_mode():
        pixels = arrays["image"][None]
        sentences, words = towers.texts(arrays["token_ids"])
        close(towers.frames(pixels), arrays["image_vec"], 2e-6)
        close(towers.tokens(pixels), arrays["image_hidden"], 2e-6)
    close(sentences, arrays["text_vec"], 2e-6)
    close(words, arrays["text_hidden"], 2e-6)


def test_towers_are_the_same_from_hugging_faces_names(stored: Stored) -> None:
    own = under(stored("tiny_clip"), "w.")
    theirs = in_hugging_faces_names(own)
    found = checkpoints.openai(theirs)
    assert found.keys() == own.keys()
    for key, value in own.items():
        close(found[key], value, 0)


def in_hugging_faces_names(own: Arrays) -> Arrays:
    """What transformers calls them."""
    named = {
        "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
        "positional_embedding": "text_model.embeddings.position_embedding.weight",
        "visual.class_embedding": "vision_model.embeddings.class_embedding",
        "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
        "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
        "logit_scale": "logit_scale",
    }
    theirs = {"text_model.embeddings.position_ids": torch.arange(3), **{named[k]: own[k] for k in named}}
    theirs["text_projection.weight"] = own["text_projection"].T
    theirs["visual_projection.weight"] = own["visual.proj"].T
    norms = {"ln_final": "text_model.final_layer_norm", "visual.ln_pre": "vision_model.pre_layrnorm"}
    norms["visual.ln_post"] = "vision_model.post_layernorm"
    inside = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
    inside["attn.out_proj"] = "self_attn.out_proj"
    for tower, model in (("", "text_model"), ("visual.", "vision_model")):
        blocks = {key.split(".resblocks.")[1].split(".")[0] for key in own if key.startswith(f"{tower}transformer.")}
        for block in blocks:
            ours, layer = f"{tower}transformer.resblocks.{block}.", f"{model}.encoder.layers.{block}."
            norms.update({ours + mine: layer + yours for mine, yours in inside.items()})
            for what in ("weight", "bias"):
                for part, third in zip("qkv", own[f"{ours}attn.in_proj_{what}"].chunk(3), strict=True):
                    theirs[f"{layer}self_attn.{part}_proj.{what}"] = third
    for mine, yours in norms.items():
        for what in ("weight", "bias"):
            theirs[f"{yours}.{what}"] = own[f"{mine}.{what}"]
    return theirs


# Frames, measures, steps.


def test_frames_are_those_that_the_published_reader_takes(stored: Stored) -> None:
    arrays = stored("frame_sampling")
    videos = sorted({key.split(".")[0] for key in arrays if key.endswith(".n_frames_fps")})
    assert videos
    for video in videos:
        frames, rate = arrays[f"{video}.n_frames_fps"].tolist()
        read = one_a_second(int(frames), rate)
        assert read == arrays[f"{video}.decoded_frame_positions"].tolist()
        assert [read[place] for place in kept(len(read), 12)] == arrays[f"{video}.kept_after_uniform12"].tolist()
    for key in arrays:
        if key.startswith("linspace"):
            most, count = key.removeprefix("linspace").split("_of_")
            assert kept(int(count), int(most)) == arrays[key].tolist()
    for key in arrays:
        if key.startswith("clip_"):
            frames, rate, start, end = (int("".join(filter(str.isdigit, part))) for part in key.split("_")[1:])
            assert one_a_second(frames, rate, start, end) == arrays[key].tolist()


def test_measures_of_both_directions_are_the_published_ones(stored: Stored) -> None:
    arrays = stored("metrics")
    scores, own = arrays["sim"], np.arange(len(arrays["sim"]))
    for name, ranks in (("t2v", text_ranks(scores, own)), ("v2t", video_ranks(scores, own))):
        agrees(arrays, name, ranks)
    assert (text_ranks(scores, own) - 1).tolist() == arrays["t2v.cols"].tolist()


def test_measures_of_videos_with_several_captions_are_the_published_ones(stored: Stored) -> None:
    arrays = stored("metrics")
    counts = arrays["multi.captions_per_video"].tolist()
    item = np.repeat(np.arange(len(counts)), counts)
    # The lower one of two middle ranks, there.
    agrees(arrays, "multi.t2v", text_ranks(arrays["multi.sim"], item), lower_median=True)
    agrees(arrays, "multi.v2t", video_ranks(arrays["multi.sim"], item))


def agrees(arrays: Arrays, name: str, ranks: np.ndarray, lower_median: bool = False) -> None:
    found = measures(ranks)
    assert [100 * found[f"R@{k}"] for k in (1, 5, 10)] == approx([float(arrays[f"{name}.R{k}"]) for k in (1, 5, 10)])
    median = float(np.median(ranks)) if not lower_median else float(torch.from_numpy(ranks).median())
    assert median == approx(float(arrays[f"{name}.MR"]))
    assert found["MeanR"] == approx(float(arrays[f"{name}.MeanR"]))


def test_of_equal_scores_the_published_code_lists_every_rank_and_ours_the_first(stored: Stored) -> None:
    arrays = stored("metrics")
    scores, own = arrays["ties.sim"], np.arange(len(arrays["ties.sim"]))
    first = text_ranks(scores, own)
    last = first + [int((row == row[place]).sum()) - 1 for place, row in enumerate(scores)]
    spans = [list(range(low - 1, high)) for low, high in zip(first.tolist(), last.tolist(), strict=True)]
    listed = sorted(rank for span in spans for rank in span)
    assert len(listed) == int(arrays["ties.n_ranks_counted"])
    assert listed == sorted(arrays["ties.cols"].tolist())
    assert len(first) == len(last) == len(scores)


def test_bert_adam_walks_the_published_way(stored: Stored) -> None:
    arrays = stored("bertadam")
    first, second = (torch.nn.Parameter(arrays[f"p{k}_0"].clone()) for k in (1, 2))
    optimizer = BertAdam([{"params": [first], "lr": 1e-2}, {"params": [second], "lr": 1e-1, "weight_decay": 0.0}])
    schedule, rates = WarmupCosine(epochs=20), [1e-2, 1e-1]
    for step, (one, two) in enumerate(zip(arrays["grads1"], arrays["grads2"], strict=True)):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * schedule.factor(step)
        first.grad, second.grad = one.clone(), two.clone()
        optimizer.step()
        close(first, arrays["traj1"][step], 1e-12)
        close(second, arrays["traj2"][step], 1e-12)


def test_the_schedule_is_the_published_one(stored: Stored) -> None:
    arrays = stored("bertadam")
    ours = [WarmupCosine(epochs=1).factor(x) for x in arrays["schedule_x"].tolist()]
    assert ours == approx(arrays["schedule_warmup_cosine_w0.1"].tolist())
