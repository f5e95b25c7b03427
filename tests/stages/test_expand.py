"""Expansion of topics: what is asked of a model, what is kept of a file, and what a rerun adds."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from tiny_llm import language_model

from avs_cli.core.generation import LanguageModel
from avs_cli.errors import FormatError, MismatchError, SpecError, UnavailableError
from avs_cli.io.text.topics import read_topics
from avs_cli.stages import expand as stage
from avs_cli.stages.expand import expand
from avs_cli.types import Topic, Variant

TOPICS = "661 a hang glider\n662 two bikers\n663 a red car\n"


class Scripted:
    """Answers by the query that a prompt ends with, and the prompts that it was given."""

    def __init__(self, answers: Mapping[str, str], name: str = "script"):
        self.by_query, self.prompts, self.name = answers, list[list[str]](), name

    @property
    def provenance(self) -> Mapping[str, str | int | float]:
        return {"model": self.name}

    def answers(self, prompts: Sequence[str]) -> list[str]:
        self.prompts.append(list(prompts))
        return [next(answer for query, answer in self.by_query.items() if query in prompt) for prompt in prompts]


ANSWERS = {"glider": "1. a paraglider\n2. A hang glider", "bikers": "two cyclists\na pair of bikers", "car": "Sorry."}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("t.txt").write_text(TOPICS)
    return tmp_path


def test_a_file_has_each_topic_with_its_own_text_first_and_says_what_made_the_others(folder: Path) -> None:
    topics = expand("t.txt", "v.jsonl", model=Scripted(ANSWERS), count=2, weight=0.25)
    assert topics == read_topics("v.jsonl")
    assert topics[:2] == [
        Topic("661", "a hang glider", variants=(Variant(1, "a hang glider"), Variant(0.25, "a paraglider"))),
        Topic(
            "662",
            "two bikers",
            variants=(Variant(1, "two bikers"), Variant(0.25, "two cyclists"), Variant(0.25, "a pair of bikers")),
        ),
    ]
    records = [json.loads(line) for line in Path("v.jsonl").read_text().splitlines()]
    assert "by" not in records[0]
    assert records[1]["by"] == {"model": "script", "prompt": records[1]["by"]["prompt"], "count": 2}


def test_a_rerun_adds_what_is_missing_and_leaves_edited_lines_as_they_are(
    folder: Path, hearing: Callable[[], object]
) -> None:
    edited = '{"id":"662", "text":"two bikers","weight":2}\n{"id": "9", "text": "a bird", "weight": 1}\n'
    Path("v.jsonl").write_text(edited)
    model, report = Scripted(ANSWERS), hearing()
    topics = expand("t.txt", "v.jsonl", model=model, count=1, batch_size=1, report=report)
    assert [topic.id for topic in topics] == ["661", "662", "663"]
    assert Path("v.jsonl").read_text().startswith(edited)
    assert [len(prompts) for prompts in model.prompts] == [1, 1]
    assert report.notes[:2] == ["1 topic kept: expanded before", "2 topics to expand, 1 at a time"]
    assert report.notes[2].startswith("1 left, about ")
    before = Path("v.jsonl").read_bytes()
    assert expand("t.txt", "v.jsonl", model=Scripted({}), report=hearing()) == topics
    assert Path("v.jsonl").read_bytes() == before


def test_overwriting_expands_the_topics_again_and_keeps_the_others(folder: Path) -> None:
    Path("v.jsonl").write_text('{"id": "661", "text": "mine", "weight": 1}\n{"id": "9", "text": "a bird", "weight": 1}')
    expand("t.txt", "v.jsonl", model=Scripted(ANSWERS), count=1, overwrite=True)
    assert [topic.id for topic in read_topics("v.jsonl")] == ["9", "661", "662", "663"]
    assert "mine" not in Path("v.jsonl").read_text()


def test_changed_topics_and_other_models_are_noted(folder: Path, hearing: Callable[[], object]) -> None:
    expand("t.txt", "v.jsonl", model=Scripted(ANSWERS), count=1)
    Path("t.txt").write_text("661 a blue glider\n664 a big car\n")
    report = hearing()
    expand("t.txt", "v.jsonl", model=Scripted(ANSWERS, "another"), count=1, report=report)
    assert report.notes == [
        "1 topic kept: expanded before",
        "kept topics whose text has changed: 661; --overwrite expands them again",
        "1 topic to expand, 1 at a time",
        "v.jsonl: kept variants are by another model or prompt; --overwrite replaces them",
    ]


def test_missing_variants_narratives_and_pictures_are_noted(folder: Path, hearing: Callable[[], object]) -> None:
    Path("red.jpg").write_bytes(b"")
    topics = [Topic("1", "a glider", "Any."), Topic("2", "red.jpg", variants=(Variant(1, "red.jpg"),))]
    report = hearing()
    found = expand(topics, model=Scripted({"glider": "Here it is:"}), count=2, report=report)
    assert found == [Topic("1", "a glider", variants=(Variant(1, "a glider"),)), topics[1]]
    assert report.notes == [
        "example images have no variants: 2",
        "narratives are left out, since wordings have none: 1",
        "1 topic to expand, 1 at a time",
        "topic 1: 0 of 2 variants in the model's answer",
    ]


def test_a_prompt_of_the_user_is_what_the_model_gets(folder: Path) -> None:
    Path("p.txt").write_text("{count} of {query}")
    model = Scripted(ANSWERS)
    expand("t.txt", model=model, prompt="p.txt", count=4)
    assert model.prompts == [["4 of a hang glider", "4 of two bikers", "4 of a red car"]]


def test_what_cannot_be_is_refused(folder: Path) -> None:
    Path("p.txt").write_text("Rewrite.")
    with pytest.raises(SpecError, match=r"no \{query\}"):
        expand("t.txt", model=Scripted(ANSWERS), prompt="p.txt")
    with pytest.raises(SpecError, match="weight 0"):
        expand("t.txt", model=Scripted(ANSWERS), weight=0)
    with pytest.raises(FormatError, match=r"t\.txt:1: not JSON lines"):
        expand("t.txt", "t.txt", model=Scripted(ANSWERS))
    with pytest.raises(UnavailableError, match="run: hf download some/model --include"):
        expand("t.txt", model="some/model")
    for name in ("nowhere", "./nowhere", "../no/where", "owner/name--x"):
        with pytest.raises(UnavailableError, match="no such folder"):
            expand("t.txt", model=name)
    model = Scripted(ANSWERS)
    with pytest.raises(MismatchError, match="topic 2 is a sequence"):
        expand([Topic("1", "a glider"), Topic("2", "a man > a dog")], model=model)
    assert model.prompts == []


# A network


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return language_model(tmp_path_factory.mktemp("llm"))


@pytest.fixture(scope="module")
def load(weights: Path) -> Callable[..., LanguageModel]:
    return lambda **given: stage.language_model(weights, 1, device="cpu", threads=1, **given)


PROMPTS = ["a", "a much longer prompt than others", "two dogs", "a"]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_an_answer_does_not_depend_on_its_batch(load: Callable[..., LanguageModel], temperature: float) -> None:
    alone, together = (load(batch_size=size, temperature=temperature).answers(PROMPTS) for size in (1, 4))
    assert alone == together
    assert alone[0] == alone[3] and len(set(alone)) == 3 and all(alone)


def test_seeds_draw_other_answers_which_can_be_drawn_again(load: Callable[..., LanguageModel]) -> None:
    models = [load(temperature=1.0, seed=seed) for seed in (1, 2, 1)]
    first, other, again = (model.answers(["a dog"]) for model in models)
    assert first == again != other
    assert {"temperature": 1.0, "seed": 2}.items() <= models[1].provenance.items()
    assert not {"temperature", "seed"} & load().provenance.keys()


def test_draws_follow_the_softmax_of_the_logits_at_the_temperature() -> None:
    import torch

    from avs_cli.core.generation import _Draws

    logits = torch.tensor([[0.0, 1.0, 2.0]]).repeat(20000, 1)
    drawn = _Draws(range(20000), 2.0)(logits, logits).argmax(dim=1).bincount() / 20000
    assert torch.allclose(drawn, (logits[0] / 2).softmax(0), atol=0.015)


def test_a_prompt_is_written_in_the_chat_template_if_there_is_one(
    load: Callable[..., LanguageModel], tmp_path: Path
) -> None:
    assert load()._chat("a dog") == "<|im_start|>a dog<|im_end|><|im_start|>"
    plain = stage.language_model(language_model(tmp_path / "plain", chat=False), 1, device="cpu", threads=1)
    assert plain.answers(["a dog"]) != load().answers(["a dog"])


def test_an_answer_ends_at_the_end_token_or_after_its_last_whole_line(load: Callable[..., LanguageModel]) -> None:
    model = load()
    end = model.tokenizer.eos_token_id
    tokens = model.tokenizer("one\ntwo")["input_ids"]
    assert model._text([*tokens, end, *tokens]) == "one\ntwo"
    assert model._text(tokens) == "one"


def test_the_command_writes_what_the_next_search_reads(
    weights: Path, folder: Path, avs_here: Callable[..., object]
) -> None:
    ran = avs_here("expand", "t.txt", "--model", weights, "-n", "2", "-o", "v.jsonl", "--device", "cpu")
    assert (ran.returncode, ran.stdout) == (0, "")
    assert [topic.query for topic in read_topics("v.jsonl")] == [line[4:] for line in TOPICS.splitlines()]
    piped = avs_here("expand", "-", "--model", weights, "-n", "2", "--device", "cpu", input=TOPICS)
    assert piped.stdout == Path("v.jsonl").read_text()
