"""Train a text-to-video retrieval head on stored features."""

from collections.abc import Mapping
from typing import Any, Literal

import torch

from avs_cli.core.device import prepare
from avs_cli.core.models.described import rebuild, rebuilt
from avs_cli.core.models.text import text_encoders
from avs_cli.core.training.loop import Precision
from avs_cli.core.training.objectives import objectives
from avs_cli.core.training.pairs import Matching, mean_weights
from avs_cli.errors import SpecError
from avs_cli.io.head_file import load_head
from avs_cli.reporting import LOGGED, Reporter
from avs_cli.stages.inputs import FilePath, Paths, comparison, path_names
from avs_cli.stages.team import joined, processes
from avs_cli.stages.training import SAMPLE, Plan, Trained, Training, optimizer_of, schedule_of, settings_of
from avs_cli.stages.training_data import TrainingData
from avs_cli.stages.untrained import corpus_of, described
from avs_cli.stages.validation import CaptionValidation, HeadValidation, TopicValidation

CAPTION_METRICS = ("mir", "mAP", "SumR")


def train(
    captions: Paths,
    videos: Paths,
    texts: Paths = (),
    *,
    output: FilePath,
    head: str = "",
    objective: str = "triplet",
    validate: Paths = (),
    qrels: FilePath = "",
    metric: str = "",
    init: FilePath = "",
    negated: FilePath = "",
    word_vectors: FilePath = "",
    optimizer: Literal["rmsprop", "adamw"] = "rmsprop",
    learning_rate: float = 1e-4,
    weight_decay: float = 0.01,
    schedule: Literal["plateau", "cosine"] = "plateau",
    epochs: int = 80,
    patience: int = 10,
    batch_size: int = 128,
    precision: Precision = "fp32",
    seed: int = 0,
    time_limit: float = 0.0,
    skip_missing: bool = False,
    allow_mismatch: bool = False,
    tensorboard: FilePath = "",
    device: str = "auto",
    threads: int = 0,
    report: Reporter = LOGGED,
) -> Trained:
    """Train a head until validation stops improving; interrupted and called again, it resumes.

    captions        training captions
    videos          stores of video features
    texts           stores of caption features, and names of text encoders that are trained with the head, such as bow
    output          the best head; `.last` beside it has the state for resuming, `.csv` the values of each epoch
    head            spec of the head: laff by default; "" with `init`
    objective       spec of the loss
    validate        validation captions; topics, with `qrels`
    qrels           judgments of these topics
    metric          for model selection: mir (the default), mAP or SumR; with `qrels` any measure, by default xinfAP
    init            head to start from, with its vocabularies
    negated         negated captions (JSON lines), for the objective negation
    word_vectors    pretrained word vectors: a BigFile folder or a text file
    learning_rate   its peak
    weight_decay    decoupled; of adamw only
    epochs          the maximum number
    patience        epochs without improvement before training stops
    time_limit      in minutes: no epoch starts that would exceed it; 0 is no limit
    skip_missing    skip captions whose video or vector is missing
    allow_mismatch  note instead of raise where vectors come from different models, weights or preprocessing
    tensorboard     log directory
    threads         of the CPU; 0 uses all cores

    In the processes of torchrun, training is data-parallel. Raises SpecError for settings that do not go together,
    MismatchError for data that lack something and for the state of another training in `output`.last.
    """
    captions, videos, texts, validate = map(path_names, (captions, videos, texts, validate))
    output, qrels, init, negated = map(str, (output, qrels, init, negated))
    if (qrels or metric) and not validate:
        raise SpecError("qrels and metric have no effect without captions or topics to validate on")
    metric = metric or ("xinfAP" if qrels else "mir")
    encoders = [name for name in texts if text_encoders.knows(name)]
    if init and (head or encoders):
        raise SpecError("--init already defines the head and its text encoders; omit --head and encoders in --text")
    if validate and not qrels and metric not in CAPTION_METRICS:
        raise SpecError(
            f"--metric {metric}: for captions, choose from {', '.join(CAPTION_METRICS)}; other measures need --qrels"
        )
    if word_vectors and not encoders:
        raise SpecError("word_vectors have no effect without a text encoder in texts")
    _check_negation(objective, negated)
    # Floats, since the file has 1 and 1.0 as different texts.
    settings: dict[str, Any] = dict(
        objective=objective, optimizer=optimizer, learning_rate=float(learning_rate), schedule=schedule, epochs=epochs,
        batch_size=batch_size, precision=precision, seed=seed, metric=metric,
    )  # fmt: skip
    if optimizer == "adamw":
        settings["weight_decay"] = float(weight_decay)
    stores = [name for name in texts if name not in encoders]
    compared = comparison(allow_mismatch, report)
    with (
        joined(prepare(device, threads).device) as team,
        TrainingData(videos, stores, skip_missing, compared, report) as data,
    ):
        initial = load_head(init) if init else None
        if initial:
            data.arrange(init, initial.head)
        pairs = data.pairs(captions, negated)
        corpus = None
        if initial:
            description = _untrained(initial.head)
        else:
            corpus = corpus_of(pairs, str(word_vectors))
            description = described(head or "laff", texts, data, corpus)
        validation: HeadValidation | None = None
        if qrels:
            validation = TopicValidation(data, validate, qrels, metric, report)
        elif validate:
            validation = CaptionValidation(data.pairs(validate), metric)
        settings = settings_of(settings, pairs)
        torch.manual_seed(seed)
        model = rebuilt(description, initial.weights, init) if initial else rebuild(description, corpus)
        model = model.to(team.device)
        shown = validation.pairs if validation else pairs
        return Training(
            Plan(output, settings, epochs, seed, precision, patience, time_limit, str(tensorboard)),
            team,
            description,
            model,
            Matching(model, objectives.load(objective)()),
            optimizer_of(model.parameters(), settings),
            schedule_of(settings),
            batches=lambda number: pairs.epoch(number, batch_size, seed, team.rank, team.size),
            steps=pairs.steps(batch_size, team.size),
            validation=validation,
            about=lambda: {"weights": mean_weights(model, shown, SAMPLE)},
            report=report,
        ).run()


def _check_negation(objective: str, negated: str) -> None:
    """Raises SpecError unless the negation objective has negated captions, and only it."""
    if objective.partition(":")[0] != "negation":
        if negated:
            raise SpecError("negated captions have no effect without the negation objective")
        return
    if not negated:
        raise SpecError("the negation objective needs --negated FILE")
    if processes() > 1:
        raise SpecError("the negation objective runs in one process, not under torchrun")


def _untrained(head: Mapping[str, Any]) -> dict[str, Any]:
    """The description of the head to start from, without what its own training added."""
    return {key: value for key, value in head.items() if key not in ("weights", "state")}
