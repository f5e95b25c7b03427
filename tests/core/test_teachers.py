"""Every teacher keeps the same promises; what each computes is judged in parity/test_teachclip.py."""

from typing import Any

import pytest
import torch
from pytest import approx

from avs_cli.core.footprint import of_student, of_teacher
from avs_cli.core.models.clip import checkpoints
from avs_cli.core.models.teachers import teachers
from avs_cli.core.models.teachers.base import Arrays, Teacher
from avs_cli.errors import MismatchError, SpecError, UnknownName

DIM, FRAMES, WORDS, PATCHES = 8, 5, 4, 6
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]])


def teacher_of(name: str, masked: bool = False, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    teacher = teachers.load(f"{name}:masked={str(masked).lower()}")(DIM, FRAMES, WORDS)
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
        teacher.logit_scale.fill_(2.0)
    return teacher.eval().requires_grad_(False)


def published(name: str, teacher: Teacher) -> Arrays:
    """Its weights, in the authors' names, with a CLIP beside them, which has the scale."""
    theirs = {ours: name for name, ours in teachers.module(name).PUBLISHED.items()}
    own = {key: value for key, value in teacher.state_dict().items() if key != "logit_scale"}
    renamed = {checkpoints.renamed(key, theirs) or key: value for key, value in own.items()}
    return {**renamed, "clip.logit_scale": torch.tensor(4.0), "clip.visual.proj": torch.ones(2, 3)}


def texts_of(teacher: Teacher, count: int = 3) -> Arrays:
    draw = torch.Generator().manual_seed(1)
    return teacher.embed_texts(torch.randn(count, DIM, generator=draw), torch.randn(count, WORDS, DIM, generator=draw))


def frames_of(teacher: Teacher) -> torch.Tensor:
    shape = (3, FRAMES, DIM) if teacher.takes == "frames" else (3, FRAMES, 1 + PATCHES, DIM)
    return torch.randn(shape, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", teachers.names())
def test_every_teacher_scores_all_pairs_and_shares_out_each_videos_relevance(name: str, masked: bool) -> None:
    teacher = teacher_of(name, masked)
    texts, videos = texts_of(teacher), teacher.embed_videos(frames_of(teacher), MASK)
    scores, relevance = teacher.similarities(texts, videos), teacher.relevance(texts, videos)
    assert scores.shape == (3, 3)
    assert relevance.shape == (3, FRAMES)
    torch.testing.assert_close(relevance.sum(1), torch.ones(3))
    teacher.logit_scale.add_(torch.tensor(2.0).log())
    torch.testing.assert_close(teacher.similarities(texts, videos), 2 * scores)


@pytest.mark.parametrize("name", teachers.names())
def test_every_teacher_computes_items_alone_as_in_company(name: str) -> None:
    teacher = teacher_of(name)
    frames, texts = frames_of(teacher), texts_of(teacher)
    videos = teacher.embed_videos(frames, MASK)
    alone = [teacher.embed_videos(frames[k : k + 1], MASK[k : k + 1]) for k in range(3)]
    for key, value in videos.items():
        torch.testing.assert_close(torch.cat([one[key] for one in alone]), value)
    scores = teacher.similarities(texts, videos)
    few = teacher.similarities({key: value[1:] for key, value in texts.items()}, alone[0])
    torch.testing.assert_close(few, scores[1:, :1])


@pytest.mark.parametrize("name", teachers.names())
def test_a_masked_teacher_sees_nothing_of_padding(name: str) -> None:
    teacher = teacher_of(name, masked=True)
    frames, texts = frames_of(teacher), texts_of(teacher)
    other = frames.clone()
    other[MASK == 0] = 7.0
    seen, changed = teacher.embed_videos(frames, MASK), teacher.embed_videos(other, MASK)
    relevance = teacher.relevance(texts, seen)
    assert bool((relevance[MASK == 0] == 0).all())
    torch.testing.assert_close(teacher.relevance(texts, changed), relevance)
    torch.testing.assert_close(teacher.similarities(texts, changed), teacher.similarities(texts, seen))


@pytest.mark.parametrize("name", teachers.names())
def test_every_teacher_comes_back_from_the_names_of_its_authors(name: str) -> None:
    teacher, other = teacher_of(name, seed=0), teacher_of(name, seed=1)
    clip = other.load_published({f"module.{key}": value.half() for key, value in published(name, teacher).items()})
    assert clip.keys() == {"logit_scale", "visual.proj"}
    assert float(other.logit_scale) == 4.0
    for key, value in teacher.state_dict().items():
        if key != "logit_scale":
            torch.testing.assert_close(other.state_dict()[key], value.half().float())


@pytest.mark.parametrize("name", teachers.names())
def test_a_checkpoint_with_a_weight_too_many_or_too_few_is_refused(name: str) -> None:
    teacher = teacher_of(name)
    whole = published(name, teacher)
    with pytest.raises(MismatchError, match=r"unexpected tensor pooler\.weight"):
        teacher.load_published({**whole, "pooler.weight": torch.ones(1)})
    first = next(key for key in whole if not key.startswith("clip."))
    with pytest.raises(MismatchError, match="lack"):
        teacher.load_published({key: value for key, value in whole.items() if key != first})
    with pytest.raises(MismatchError, match="no CLIP model"):
        teacher.load_published({key: value for key, value in whole.items() if not key.startswith("clip.")})
    with pytest.raises(MismatchError, match=r"is 9, where .* expected"):
        teacher.load_published({**whole, first: torch.ones(9)})


def test_published_shifted_blocks_call_their_attention_net_and_teachclip_does_not_know_it() -> None:
    for shift, name in ((True, "visual.transformer.resblocks.10.attn.in_proj_bias"), (False, None)):
        teacher = teachers.load(f"ts2net:shift={str(shift).lower()}")(DIM, FRAMES, WORDS)
        net = {"clip.visual.transformer.resblocks.10.attn.net.in_proj_bias": torch.ones(2)}
        found = teacher.load_published({**published("ts2net", teacher), **net})
        assert found.keys() - {"logit_scale", "visual.proj"} == ({name} if name else set())
        assert teacher.shifted == ((10, 11) if shift else ())


def test_teachers_are_chosen_by_name() -> None:
    assert teachers.names() == ["ts2net", "xclip", "xpool"]
    with pytest.raises(UnknownName, match="did you mean 'xclip'"):
        teachers.load("x-clip")


def test_xclip_needs_its_numbers_of_words_and_frames() -> None:
    teacher = teacher_of("xclip")
    with pytest.raises(MismatchError, match="needs word-level"):
        teacher.embed_texts(torch.ones(2, DIM))
    with pytest.raises(MismatchError, match="4 words a text, not 3"):
        teacher.embed_texts(torch.ones(2, DIM), torch.ones(2, 3, DIM))
    with pytest.raises(MismatchError, match="5 frames a video, not 6"):
        teacher.embed_videos(torch.ones(2, 6, DIM), torch.ones(2, 6))


def test_ts2net_needs_patches() -> None:
    with pytest.raises(MismatchError, match="patches"):
        teacher_of("ts2net").embed_videos(torch.ones(3, FRAMES, DIM), MASK)


def test_ts2nets_noise_is_that_of_the_generator_and_chooses_patches() -> None:
    teacher = teacher_of("ts2net")
    frames = frames_of(teacher)
    first, again, other = (
        teacher.embed_videos(frames, MASK, torch.Generator().manual_seed(seed))["frames"] for seed in (3, 3, 4)
    )
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert not torch.equal(first, other)
    torch.testing.assert_close(first, other, rtol=0, atol=0.2)


def test_a_header_that_cannot_be_built_is_refused() -> None:
    with pytest.raises(SpecError, match="3 heads cannot share 8 dimensions"):
        teachers.load("xclip:heads=3")(DIM, FRAMES, WORDS)
    teacher = teachers.load("xclip:positions=3")(DIM, FRAMES, WORDS)
    with pytest.raises(MismatchError, match="at most 3 frames a video, not 5"):
        teacher.embed_videos(torch.ones(1, FRAMES, DIM), torch.ones(1, FRAMES))


@pytest.mark.parametrize("name", teachers.names())
def test_every_teacher_costs_more_than_one_vector(name: str) -> None:
    cost, student = of_teacher(name, 512, 12, 32), of_student(512)
    assert cost.products > student.products
    assert cost.stored > student.stored


def test_costs_are_those_of_the_arithmetic() -> None:
    # 512 numbers, 12 frames, 32 words.
    assert of_student(512) == (512, 0, 512 * 4)
    assert of_teacher("ts2net", 512, 12, 32) == (12 * 512, 0, 12 * 512 * 4)
    assert of_teacher("xpool", 512, 12, 32) == (2 * 12 * 512 + 512 * 512 + 512, 0, 2 * 12 * 512 * 4)
    gates = 32**2 + 12**2 + (12 * 32**2 + 12**2) + (32 * 12**2 + 32**2)
    assert of_teacher("xclip", 512, 12, 32) == (512 * (1 + 32 + 12 + 32 * 12), gates, (1 + 12) * 512 * 4)
    with pytest.raises(UnknownName):
        of_teacher("xclop", 512, 12, 32)


def test_relevance_of_xpool_is_what_the_text_attends_to() -> None:
    teacher = teachers.load("xpool")(2, 2, 1)
    # Projections are the identity, and LayerNorm makes (1, 0) to (1, -1) and (0, 1) to (-1, 1).
    texts = teacher.embed_texts(torch.tensor([[1.0, 0.0]]))
    videos = teacher.embed_videos(torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]), torch.ones(1, 2))
    likely = torch.tensor([2.0, -2.0]).div(2**0.5).softmax(0)
    assert teacher.relevance(texts, videos).squeeze(0).tolist() == approx(likely.tolist(), abs=1e-4)
