"""Distil slow heads into a fast one, on stored features."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import torch

from avs_cli.core.device import prepare
from avs_cli.core.footprint import of_head
from avs_cli.core.models.described import rebuild
from avs_cli.core.models.heads.framed import FramedHead
from avs_cli.core.models.layers import Head
from avs_cli.core.models.teachers import teachers as clip_teachers
from avs_cli.core.models.text import text_encoders
from avs_cli.core.training.distillation import Method
from avs_cli.core.training.loop import Precision
from avs_cli.core.training.pairs import mean_weights
from avs_cli.core.training.teaching import HeadStudent, Lessons, Teaching
from avs_cli.errors import MismatchError, SpecError
from avs_cli.io.store.galleries import Galleries
from avs_cli.provenance import digest
from avs_cli.reporting import LOGGED, Reporter
from avs_cli.stages.engine import Engine, check_readable
from avs_cli.stages.inputs import FilePath, Paths, comparison, path_names
from avs_cli.stages.teachers import HeadTeacher, LossWeights, recipe_of
from avs_cli.stages.team import joined
from avs_cli.stages.training import SAMPLE, Plan, Trained, Training, optimizer_of, schedule_of, settings_of
from avs_cli.stages.training_data import TrainingData
from avs_cli.stages.untrained import corpus_of, described
from avs_cli.stages.validation import TwoWayMetric, TwoWayValidation
from avs_cli.stages.vector_cache import Workers


def distill(
    captions: Paths,
    videos: Paths,
    texts: Paths,
    *,
    output: FilePath,
    teachers: Paths = (),
    student: str = "afa",
    teacher_videos: Paths = (),
    teacher_texts: Paths = (),
    word_vectors: FilePath = "",
    validate: Paths = (),
    metric: TwoWayMetric = "SumR",
    coarse: Method = "pear",
    fine: Method = "ce",
    loss_weights: LossWeights | None = None,
    temperature: float = 0.05,
    cache: FilePath = "",
    optimizer: Literal["adamw", "bertadam"] = "adamw",
    learning_rate: float = 1e-3,
    weight_decay: float | None = None,
    epochs: int = 10,
    batch_size: int = 120,
    precision: Precision = "fp32",
    seed: int = 0,
    time_limit: float = 0.0,
    skip_missing: bool = False,
    allow_mismatch: bool = False,
    tensorboard: FilePath = "",
    device: str = "auto",
    threads: int = 0,
    engine: Engine | None = None,
    report: Reporter = LOGGED,
) -> Trained:
    """Train a head with one vector per shot on what teachers say, or on captions only; resumes as `train.train` does.

    captions        files of training captions
    videos          stores of frame-level video features
    texts           stores of caption features, and names of text encoders that are trained with the student
    output          file of the best student; `.last` and `.csv` beside it are as those of `train.train`
    teachers        files of trained heads; none: the student learns from the captions only
    student         spec of the head to train
    teacher_videos  stores of video features that only teachers use; teacher_texts: of caption features
    word_vectors    pretrained word vectors: a BigFile folder or a text file
    validate        files of validation captions
    metric          for model selection, text-to-video
    coarse          loss on the teachers' caption-video scores
    fine            loss on the teachers' caption-frame weights
    loss_weights    of the matching, coarse and fine losses; as published by default
    temperature     divides the cosines of heads
    cache           folder of the teachers' vectors, by default `output`.kept
    learning_rate   its peak
    weight_decay    decoupled; by default 0.01, and 0.2 for bertadam
    engine          workers of a cluster that compute the teachers' vectors instead of this process; training runs here

    The other parameters are those of `train.train`. Raises SpecError for a student that cannot be trained on stores,
    MismatchError for data that lack something and for the state of another training in `output`.last.
    """
    captions, videos, texts, validate = map(path_names, (captions, videos, texts, validate))
    teachers, teacher_videos, teacher_texts = map(path_names, (teachers, teacher_videos, teacher_texts))
    output = str(output)
    check_readable(engine, [*videos, *texts, *teacher_videos, *teacher_texts])
    if clip_teachers.knows(student):
        raise SpecError(
            f"--student {student}: on stored features, a student is a head with one vector per shot, such as afa; "
            "teachers are trained by avs train --head xclip or xpool"
        )
    if weight_decay is None:
        weight_decay = 0.2 if optimizer == "bertadam" else 0.01
    recipe = recipe_of(teachers, coarse, fine, loss_weights)
    # Floats, since the file has 1 and 1.0 as different texts.
    settings: dict[str, Any] = dict(
        epochs=epochs, batch_size=batch_size, precision=precision, seed=seed, metric=metric, schedule="cosine",
        optimizer=optimizer, learning_rate=float(learning_rate), weight_decay=float(weight_decay),
        temperature=float(temperature),
    )  # fmt: skip
    if teachers:
        settings |= {"coarse": coarse, "fine": fine, "loss_weights": list(recipe.weights)}
    stored = [name for name in texts if not text_encoders.knows(name)]
    if word_vectors and len(stored) == len(texts):
        raise SpecError("word_vectors have no effect without a text encoder in texts")
    folder = Path(cache or f"{output}.kept")
    compared = comparison(allow_mismatch, report)
    with ExitStack() as stack:
        team = stack.enter_context(joined(prepare(device, threads).device))
        _check_names(videos, teacher_videos)
        _check_names(stored, teacher_texts)
        every = TrainingData([*videos, *teacher_videos], [*stored, *teacher_texts], skip_missing, compared, report)
        own = TrainingData(videos, stored, skip_missing, compared, report)
        stack.enter_context(every)
        stack.enter_context(own)
        # Captions with the features of teachers and student: all of them learn from the same pairs.
        whole = every.pairs(captions)
        pairs = own.same(whole)
        corpus = corpus_of(pairs, str(word_vectors))
        description = described(student, texts, own, corpus)
        validation = TwoWayValidation(own.same(every.pairs(validate)), metric) if validate else None
        digests = {Path(path).stem: digest(path) for path in teachers}
        settings = settings_of(settings, pairs) | {"teachers": digests}
        workers = None if engine is None else Workers(engine, device, threads)
        known = [HeadTeacher(path, every, team.device) for path in teachers]
        costs = {Path(one.path).stem: of_head(one.description) for one in known}
        description["teachers"] = {name: cost._asdict() for name, cost in costs.items() if cost}
        taught = [one.tutor(stack, team, folder, whole, temperature, report, workers) for one in known]
        lessons = Lessons(pairs, [columns for _, columns in taught], pairs.batch)
        torch.manual_seed(seed)
        head = rebuild(description, corpus).to(team.device)
        _check_frames(head, known)
        shown = validation.pairs if validation else pairs
        return Training(
            # The schedule ends with the last epoch, so nothing stops earlier.
            Plan(output, settings, epochs, seed, precision, epochs, time_limit, str(tensorboard)),
            team,
            description,
            head,
            Teaching(HeadStudent(head, temperature), [tutor for tutor, _ in taught], recipe),
            optimizer_of(head.parameters(), settings),
            schedule_of(settings),
            batches=lambda number: lessons.epoch(number, batch_size, seed, team.rank, team.size),
            steps=pairs.steps(batch_size, team.size),
            validation=validation,
            about=lambda: {"weights": mean_weights(head, shown, SAMPLE)},
            report=report,
        ).run()


def _check_names(own: Sequence[str], others: Sequence[str]) -> None:
    """Raises MismatchError where student and teachers have different features with the same name."""
    with Galleries(own) as ours, Galleries(others) as theirs:
        for name in ours.features.keys() & theirs.features.keys():
            one, other = ours.features[name], theirs.features[name]
            if (one.dim, one.frame_level) != (other.dim, other.frame_level):
                raise MismatchError(
                    f"{ours.stores_of(name)} and {theirs.stores_of(name)} are two features of one name, which student "
                    "and teacher cannot tell apart; store one under another name, as avs extract -o FILE::frames does"
                )


def _check_frames(student: Head, teachers: Sequence[HeadTeacher]) -> None:
    """Raises MismatchError where the frames of student and teacher differ."""
    for one in teachers:
        if not isinstance(student, FramedHead) or not isinstance(one.head, FramedHead):
            continue
        own, theirs = student.frames, one.head.frames
        if own != theirs:
            raise MismatchError(f"{one.path} uses {theirs} frames, the student {own}; give the student frames={theirs}")
