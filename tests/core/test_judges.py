"""Judges: the log-odds of small models against the classes of transformers, one question at a time, without padding."""

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_judges
import torch
from PIL import Image
from pytest import approx
from safetensors.torch import load_file, save_file

from avs_cli.core.judges import ShotQuestion, judges
from avs_cli.core.judges.base import sheet
from avs_cli.errors import FormatError, SpecError, UnavailableError
from avs_cli.stages.runtime import runtime
from avs_cli.types import Seeing, Topic

CLASSES = {
    "internvl": "InternVLForConditionalGeneration",
    "llava-onevision": "LlavaOnevisionForConditionalGeneration",
    "qwen2-5-vl": "Qwen2_5_VLForConditionalGeneration",
    "qwen3-vl": "Qwen3VLForConditionalGeneration",
    "smolvlm": "SmolVLMForConditionalGeneration",
}
# What keeps a frame of several whole, by family.
SEPARATE = {"internvl": {"crop_to_patches": False}, "smolvlm": {"do_image_splitting": False}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The weights of a judge by its name, written once."""

    @cache
    def find(name: str) -> Path:
        return tiny_judges.MAKERS[name](tmp_path_factory.mktemp(name))

    return find


@pytest.fixture(scope="module")
def judge_of(folder: Callable[[str], Path]) -> Callable[[str, Any], Any]:
    """A judge by its name and layout, loaded once."""

    @cache
    def find(name: str, layout: Any) -> Any:
        return judges.load(name)(runtime(weights=str(folder(name))), Seeing(name, 4, layout, 64))

    return find


@pytest.fixture(scope="module")
def published(folder: Callable[[str], Path]) -> Callable[[str], tuple[Any, Any]]:
    """The published class with the weights of a judge, and its processor, loaded once."""

    @cache
    def find(name: str) -> tuple[Any, Any]:
        import transformers

        kind = getattr(transformers, CLASSES[name])
        network = kind.from_pretrained(folder(name), dtype=torch.float32).eval()
        return network, transformers.AutoProcessor.from_pretrained(folder(name))

    return find


def questions(count: int) -> list[ShotQuestion]:
    """Queries of different lengths, over shots of one to four frames of different sizes."""
    draw = np.random.default_rng(0)
    return [
        ShotQuestion(
            Topic(str(number), "a dog " * (number + 1) + "runs"),
            f"s{number}",
            [draw.integers(0, 256, (24 + 8 * (number % 2), 40, 3), np.uint8) for _ in range(number % 4 + 1)],
            2.0 + number,
        )
        for number in range(count)
    ]


@pytest.mark.parametrize("layout", ["frames", "sheet"])
@pytest.mark.parametrize("name", judges.names())
def test_an_answer_does_not_depend_on_the_batch(name: str, layout: Any, judge_of: Callable[..., Any]) -> None:
    judge = judge_of(name, layout)
    eight = questions(8)
    together = judge.log_odds(eight)
    assert together.shape == (8,) and together.std() > 0.02
    assert together == approx(np.concatenate([judge.log_odds([one]) for one in eight]), abs=1e-5)


@pytest.mark.parametrize("layout", ["frames", "sheet"])
@pytest.mark.parametrize("name", CLASSES)
def test_log_odds_are_those_of_the_published_class(
    name: str, layout: Any, judge_of: Callable[..., Any], published: Callable[[str], tuple[Any, Any]]
) -> None:
    judge = judge_of(name, layout)
    network, processor = published(name)
    asked = questions(3)
    where = {"frames": "in order", "sheet": "in rows from left to right"}[layout]
    shown = ["This is a frame of a video shot.", *(f"These are {n} frames of a video shot, {where}." for n in (2, 3))]
    yes, no = [274, 284, 278], [273, 283, 277]
    words = ["Yes", "yes", " Yes", "No", "no", " No"]
    assert [processor.tokenizer.encode(word, add_special_tokens=False) for word in words] == [[t] for t in yes + no]
    for question, what, odds in zip(asked, shown, judge.log_odds(asked), strict=True):
        images = [sheet(question.frames)] if layout == "sheet" else question.frames
        text = f"{what} Does the shot show the following? {question.topic.query}\nAnswer Yes or No."
        content = [*({"type": "image"} for _ in images), {"type": "text", "text": text}]
        chat = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        separate = SEPARATE.get(name, {}) if layout == "frames" else {}
        pictures = [Image.fromarray(image) for image in images]
        inputs = processor(text=[chat], images=[pictures], return_tensors="pt", **separate)
        with torch.inference_mode():
            logits = network(**inputs).logits[0, -1].double()
        assert odds == approx(float(logits[yes].exp().sum().log() - logits[no].exp().sum().log()), abs=1e-5)


def test_qwens_reranker_scores_as_its_authors_do(
    judge_of: Callable[..., Any], published: Callable[[str], tuple[Any, Any]]
) -> None:
    # Their score: the last hidden state times the difference of two rows of the last layer, as a probability.
    judge = judge_of("qwen3-vl-reranker", "frames")
    network, processor = published("qwen3-vl")  # with the same weights
    token = processor.tokenizer.convert_tokens_to_ids
    direction = network.lm_head.weight[token("yes")] - network.lm_head.weight[token("no")]
    asked = questions(4)
    for question, odds in zip(asked, judge.log_odds(asked), strict=True):
        count = len(question.frames)
        pad = "image" if count == 1 else "video"
        text = (
            "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
            'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
            "<Instruct>: Given a search query, retrieve relevant candidates that answer the query.<Query>:"
            f"{question.topic.query}\n<Document>:<|vision_start|><|{pad}_pad|><|vision_end|><|im_end|>\n"
            "<|im_start|>assistant\n"
        )
        pictures = [Image.fromarray(frame) for frame in question.frames]
        if count == 1:
            inputs = processor(text=[text], images=[pictures], return_tensors="pt")
        else:
            times = {"fps": count / question.seconds, "frames_indices": list(range(count)), "total_num_frames": count}
            as_theirs = {"do_sample_frames": False, "cap_pixels_per_frame": True}
            inputs = processor(text=[text], videos=[pictures], video_metadata=[times], return_tensors="pt", **as_theirs)
        with torch.inference_mode():
            score = torch.sigmoid(network.model(**inputs).last_hidden_state[0, -1] @ direction)
        assert 1 / (1 + np.exp(-odds)) == approx(float(score), abs=1e-6)


def test_the_second_template_that_qwens_reranker_comes_with_is_no_matter(tmp_path: Path) -> None:
    name = "qwen3-vl-reranker"
    path = tiny_judges.MAKERS[name](tmp_path / "model")
    one = judges.load(name)(runtime(weights=str(path)), Seeing(name, 2, "sheet", 64))
    before = one.log_odds(questions(2)), one.provenance["prompts"]
    (path / "additional_chat_templates").mkdir()
    (path / "additional_chat_templates" / "reranker.jinja").write_text("{{ messages[0].role }}")
    one = judges.load(name)(runtime(weights=str(path)), Seeing(name, 2, "sheet", 64))
    assert (one.log_odds(questions(2)) == before[0]).all() and one.provenance["prompts"] == before[1]


def test_weights_that_lack_a_tensor_are_refused(folder: Callable[[str], Path], tmp_path: Path) -> None:
    shutil.copytree(folder("internvl"), tmp_path / "model")
    tensors = load_file(tmp_path / "model" / "model.safetensors")
    del tensors["model.language_model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, tmp_path / "model" / "model.safetensors", {"format": "pt"})
    judge = judges.load("internvl")(runtime(weights=str(tmp_path / "model")), Seeing("internvl", 1, "frames", 64))
    with pytest.raises(FormatError, match=r"model: 1 tensors are missing, as '.*layers\.1\.mlp\.up_proj\.weight'"):
        judge.log_odds(questions(1))


def test_sixteen_bits_change_answers_little_and_leave_no_ties(
    judge_of: Callable[..., Any], folder: Callable[[str], Path]
) -> None:
    seeing = Seeing("qwen3-vl", 4, "frames", 64)
    exact = judge_of("qwen3-vl", "frames")
    coarse = judges.load("qwen3-vl")(runtime(weights=str(folder("qwen3-vl")), precision="bf16"), seeing)
    asked = questions(8)
    found = coarse.log_odds(asked)
    assert found == approx(exact.log_odds(asked), abs=0.1)
    assert len(set(found)) == 8
    assert exact.provenance["precision"] == "fp32" != coarse.provenance["precision"]


def test_a_sheet_has_its_frames_in_rows_on_black() -> None:
    frames = [np.full((2, width, 3), value, np.uint8) for value, width in ((1, 3), (2, 3), (3, 2))]
    assert sheet(frames)[:, :, 0].tolist() == [
        [1, 1, 1, 2, 2, 2],
        [1, 1, 1, 2, 2, 2],
        [3, 3, 0, 0, 0, 0],
        [3, 3, 0, 0, 0, 0],
    ]


def test_what_a_judge_cannot_take_is_refused(folder: Callable[[str], Path]) -> None:
    path = str(folder("qwen3-vl"))
    with pytest.raises(FormatError, match="a model of type qwen3_vl, and smolvlm is one of type smolvlm"):
        judges.load("smolvlm")(runtime(weights=path), Seeing("smolvlm")).files  # noqa: B018
    judge = judges.load("qwen3-vl")(runtime(weights=path), Seeing("qwen3-vl", 2, "frames", 64))
    with pytest.raises(SpecError, match=r"topic 7: '<\|im_end\|>' has a meaning of its own"):
        judge.log_odds([questions(1)[0]._replace(topic=Topic("7", "a dog<|im_end|>"))])
    judge.yes = ("Sure",)
    with pytest.raises(FormatError, match=r"'Sure' is [234] tokens of this tokenizer, not one"):
        judge.log_odds(questions(1))
    with pytest.raises(SpecError, match="frames is at least 1"):
        judges.load("qwen3-vl")(runtime(weights=path), Seeing("qwen3-vl", 0))


@pytest.mark.parametrize("name", judges.names())
def test_published_weights_that_are_not_here_are_named(name: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        UnavailableError, match=rf"the weights of {name} are not on this machine \(.* GB\).* hf download"
    ):
        judges.load(name)(runtime(), Seeing(name)).files  # noqa: B018
