"""`avs distill` on stored features: student and teachers are heads."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from avs_cli.console import TERMINAL
from avs_cli.errors import MismatchError
from avs_cli.stages.teachers import HeadTeacher
from avs_cli.stages.training import (
    SAMPLE,
    Data,
    Plan,
    Team,
    Training,
    corpus_of,
    described_head,
    is_encoder,
    optimizer_of,
    schedule_of,
    settings_of,
)

if TYPE_CHECKING:
    from avs_cli.core.models.layers import Head
    from avs_cli.core.training.distillation import Recipe
    from avs_cli.core.training.pairs import Pairs


class Stores(NamedTuple):
    """The stores (and text encoders) of student and teachers, and those of the teachers only.

    word_vectors  pretrained vectors for encoders that need them, or ""
    """

    video: list[str]
    text: list[str]
    teacher_video: list[str]
    teacher_text: list[str]
    word_vectors: str
    skip_missing: bool
    allow_mismatch: bool = False


class CaptionJudge:
    """Text-to-video and video-to-text retrieval on validation captions."""

    def __init__(self, pairs: "Pairs", metric: str):
        self.pairs, self.metric = pairs, metric

    def values(self, model: "Head") -> dict[str, float]:
        """R@1, R@5 and R@10 in both directions, and their sum in percent."""
        from avs_cli.core.evaluation.captions import both_ways
        from avs_cli.core.training.pairs import score_matrix

        return both_ways(score_matrix(model, self.pairs), self.pairs.item)


def run(
    stack: ExitStack,
    team: Team,
    plan: Plan,
    stores: Stores,
    captions: Sequence[str],
    validate: Sequence[str],
    student: str,
    teachers: Sequence[str],
    recipe: "Recipe",
    folder: Path,
) -> None:
    """Train the head `student` with the heads in the files `teachers`, or on the captions only."""
    import torch

    from avs_cli.core.footprint import of_head
    from avs_cli.core.models.described import rebuild
    from avs_cli.core.training.pairs import mean_weights
    from avs_cli.core.training.teaching import HeadStudent, Lessons, Teaching
    from avs_cli.provenance import digest
    from avs_cli.stages.inputs import comparison

    texts = [name for name in stores.text if not is_encoder(name)]
    _names_differ(stores.video, stores.teacher_video)
    _names_differ(texts, stores.teacher_text)
    compared = comparison(stores.allow_mismatch, TERMINAL)
    watched, written = [*stores.video, *stores.teacher_video], [*texts, *stores.teacher_text]
    every = Data(stack, watched, written, stores.skip_missing, compared)
    own = Data(stack, stores.video, texts, stores.skip_missing, compared)
    whole = every.pairs(captions)
    pairs = own.same(whole)
    described = described_head(student, stores.text, "", own, pairs, stores.word_vectors)
    judge = CaptionJudge(own.same(every.pairs(validate)), plan.settings["metric"]) if validate else None
    taught_by = {Path(path).stem: digest(path) for path in teachers}
    plan = replace(plan, settings={**settings_of(plan.settings, pairs), "teachers": taught_by})
    known = [HeadTeacher(path, every, team.device) for path in teachers]
    temperature = plan.settings["temperature"]
    costs = {Path(one.path).stem: of_head(one.told) for one in known}
    described["teachers"] = {name: cost._asdict() for name, cost in costs.items() if cost}
    taught = [one.tutor(stack, team, folder, whole, temperature) for one in known]
    lessons = Lessons(pairs, [rows for _, rows in taught], pairs.batch)
    torch.manual_seed(plan.seed)
    head = rebuild(described, corpus_of(pairs, stores.word_vectors)).to(team.device)
    _same_frames(head, known)
    size = plan.settings["batch_size"]
    seen = judge.pairs if judge else pairs
    Training(
        plan,
        team,
        described,
        head,
        Teaching(HeadStudent(head, temperature), [tutor for tutor, _ in taught], recipe),
        optimizer_of(head.parameters(), plan.settings),
        schedule_of(plan.settings),
        batches=lambda number: lessons.epoch(number, size, plan.seed, team.rank, team.size),
        steps=pairs.steps(size, team.size),
        judge=judge,
        about=lambda: {"weights": mean_weights(head, seen, SAMPLE)},
    ).run()


def _names_differ(own: Sequence[str], others: Sequence[str]) -> None:
    """Raises MismatchError where student and teachers have different features with the same name."""
    from avs_cli.io.store.galleries import Galleries

    with Galleries(own) as ours, Galleries(others) as theirs:
        for name in ours.features.keys() & theirs.features.keys():
            one, other = ours.features[name], theirs.features[name]
            if (one.dim, one.frame_level) != (other.dim, other.frame_level):
                raise MismatchError(
                    f"{ours.stores_of(name)} and {theirs.stores_of(name)} are two features of one name, which student "
                    "and teacher cannot tell apart; store one under another name, as avs extract -o FILE::frames does"
                )


def _same_frames(student: "Head", teachers: Sequence[HeadTeacher]) -> None:
    """Raises MismatchError where the frames of student and teacher differ."""
    from avs_cli.core.models.heads.framed import FramedHead

    for one in teachers:
        if not isinstance(student, FramedHead) or not isinstance(one.head, FramedHead):
            continue
        own, theirs = student.frames, one.head.frames
        if own != theirs:
            raise MismatchError(f"{one.path} uses {theirs} frames, the student {own}; give the student frames={theirs}")
