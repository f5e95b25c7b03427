"""`avs train`: train a head on captions, video features and text features."""

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from avs_cli import applies
from avs_cli.console import TERMINAL
from avs_cli.core.models.heads import heads
from avs_cli.core.models.text import text_encoders
from avs_cli.core.training.objectives import objectives
from avs_cli.errors import SpecError
from avs_cli.options import (
    TRAINED,
    AllowMismatch,
    BatchSize,
    Device,
    Epochs,
    Seed,
    SkipMissing,
    TensorBoard,
    Threads,
    TimeLimit,
)
from avs_cli.stages.training import (
    SAMPLE,
    Data,
    Judge,
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
    from avs_cli.core.models.text.words import Corpus
    from avs_cli.core.training.pairs import Pairs

CAPTION_METRICS = ("mir", "mAP", "SumR")


def train(
    context: typer.Context,
    captions: Annotated[list[str], typer.Argument(metavar="CAPTIONS...", help="Training captions.")],
    output: Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="Output head (.safetensors)."), TRAINED],
    video: Annotated[list[str], typer.Option(metavar="STORE", help="Video features; repeatable.")],
    text: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STORE|NAME",
            help=f"Caption features: a store, or a text encoder ({', '.join(text_encoders.names())}); repeatable.",
        ),
    ] = None,
    head: Annotated[
        str, typer.Option(metavar="NAME", help=f"Head architecture: {', '.join(heads.names())}.", show_default="laff")
    ] = "",
    objective: Annotated[
        str, typer.Option(metavar="NAME", help=f"Training objective (loss): {', '.join(objectives.names())}.")
    ] = "triplet",
    validate: Annotated[
        list[str] | None, typer.Option(metavar="FILE", help="Validation captions (with --qrels, topics); repeatable.")
    ] = None,
    qrels: Annotated[str, typer.Option(metavar="FILE", help="Judgments of the --validate topics.")] = "",
    metric: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Metric for model selection: mir, mAP or SumR; with --qrels any measure of avs eval.",
            show_default="mir; xinfAP",
        ),
    ] = "",
    init: Annotated[
        str, typer.Option(metavar="HEAD", help="Initialise from this head, including its vocabularies.")
    ] = "",
    negated: Annotated[str, typer.Option(metavar="FILE", help="Negated captions (JSON lines).")] = "",
    word_vectors: Annotated[
        str, typer.Option(metavar="PATH", help="Pretrained word vectors: a BigFile folder or a text file.")
    ] = "",
    optimizer: Annotated[Literal["rmsprop", "adamw"], typer.Option(help="Optimizer.")] = "rmsprop",
    learning_rate: Annotated[float, typer.Option(min=0.0, help="Peak learning rate.")] = 1e-4,
    weight_decay: Annotated[float, typer.Option(min=0.0, help="Decoupled weight decay (adamw).")] = 0.01,
    schedule: Annotated[
        Literal["plateau", "cosine"],
        typer.Option(help="Learning-rate schedule: decay on plateau, as published, or cosine decay to zero."),
    ] = "plateau",
    epochs: Epochs = 80,
    patience: Annotated[int, typer.Option(min=0, help="Stop after more epochs than this without improvement.")] = 10,
    batch_size: BatchSize = 128,
    precision: Annotated[
        Literal["fp32", "bf16", "fp16"], typer.Option(help="Numeric precision of matrix products (autocast).")
    ] = "fp32",
    seed: Seed = 0,
    time_limit: TimeLimit = 0.0,
    skip_missing: SkipMissing = False,
    allow_mismatch: AllowMismatch = False,
    tensorboard: TensorBoard = "",
    device: Device = "auto",
    threads: Threads = 0,
) -> None:
    """Train a text-to-video retrieval head on stored features.

    The head with the best validation metric is written to FILE, the values of each epoch to FILE.csv, and the state
    of training to FILE.last: the same command resumes after the last complete epoch. FILE is then byte for byte that of
    an uninterrupted training; FILE.last and FILE.csv differ in the recorded times only. To train on several data sets,
    give several CAPTIONS and several stores. Under torchrun, training is data-parallel.

    \b
    Examples:
      avs train train.txt --video clip.h5 --text clip-text.h5 --text bow --validate val.txt -o laff.safetensors
      avs train train.txt --video clip.h5 --text gru --objective contrastive --optimizer adamw -o gru.safetensors
    """
    if output == "-":
        raise SpecError("train needs --output FILE: the state of training is saved next to it")
    applies.refuse(
        context,
        (not validate, ("qrels", "metric", "patience"), "without --validate"),
        (optimizer != "adamw", ["weight_decay"], "without --optimizer adamw"),
        (objective.partition(":")[0] != "negation", ["negated"], "without --objective negation"),
        (bool(init), ["word_vectors"], "with --init, which includes word vectors"),
        (not any(map(is_encoder, text or [])), ["word_vectors"], "without a text encoder in --text"),
    )
    if not validate:
        qrels = metric = ""
    given: dict[str, Any] = dict(
        head=head or ("" if init else "laff"), text=text or [], objective=objective, optimizer=optimizer,
        learning_rate=learning_rate, schedule=schedule, epochs=epochs, batch_size=batch_size, precision=precision,
        seed=seed, metric=metric or ("xinfAP" if qrels else "mir"),
    )  # fmt: skip
    if optimizer == "adamw":
        given["weight_decay"] = weight_decay
    if init and (head or [name for name in given["text"] if is_encoder(name)]):
        raise SpecError("--init already defines the head and its text encoders; omit --head and encoders in --text")
    if validate and not qrels and given["metric"] not in CAPTION_METRICS:
        raise SpecError(
            f"--metric {metric}: for captions, choose from {', '.join(CAPTION_METRICS)}; other measures need --qrels"
        )
    if objective.partition(":")[0] == "negation":
        if not negated:
            raise SpecError("the negation objective needs --negated FILE")
        if os.environ.get("WORLD_SIZE", "1") != "1":
            raise SpecError("the negation objective runs in one process, not under torchrun")
    from avs_cli.core.device import prepare
    from avs_cli.stages.inputs import comparison

    place = prepare(device, threads)
    with ExitStack() as stack:
        team = Team.join(stack, place.device)
        stored = [name for name in given["text"] if not is_encoder(name)]
        data = Data(stack, video, stored, skip_missing, comparison(allow_mismatch, TERMINAL))
        if init:
            data.arrange(init)
        learned = data.pairs(captions, negated)
        described = described_head(given["head"], given["text"], init, data, learned, word_vectors)
        judge = Judge(data, validate, qrels, str(given["metric"])) if validate else None
        plan = Plan(output, settings_of(given, learned), epochs, seed, precision, patience, time_limit, tensorboard)
        corpus = None if init else corpus_of(learned, word_vectors)
        _train(plan, team, described, learned, judge, corpus, init)


def _train(
    plan: Plan,
    team: Team,
    described: dict[str, Any],
    pairs: "Pairs",
    judge: Judge | None,
    corpus: "Corpus | None",
    init: str,
) -> None:
    """Train until the validation metric stops improving."""
    import torch

    from avs_cli.core.models.described import rebuild, rebuilt
    from avs_cli.core.training.pairs import Matching, mean_weights
    from avs_cli.io.head_file import load_head

    settings = plan.settings
    torch.manual_seed(plan.seed)
    head = rebuilt(described, load_head(init).weights, init) if init else rebuild(described, corpus)
    head = head.to(team.device)
    seen = judge.pairs if judge else pairs
    Training(
        plan,
        team,
        described,
        head,
        Matching(head, objectives.load(settings["objective"])()),
        optimizer_of(head.parameters(), settings),
        schedule_of(settings),
        batches=lambda number: pairs.epoch(number, settings["batch_size"], plan.seed, team.rank, team.size),
        steps=pairs.steps(settings["batch_size"], team.size),
        judge=judge,
        about=lambda: {"weights": mean_weights(head, seen, SAMPLE)},
    ).run()
