"""`avs train`: train a head on captions, video features and text features."""

from typing import Annotated, Literal

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
    negated: Annotated[
        str, typer.Option(metavar="FILE", help="Negated captions (JSON lines), from avs convert --negate.")
    ] = "",
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
    negation, encoded = objective.partition(":")[0] == "negation", any(map(text_encoders.knows, text or []))
    applies.refuse(
        context,
        (not validate, ("qrels", "metric", "patience"), "without --validate"),
        (optimizer != "adamw", ["weight_decay"], "without --optimizer adamw"),
        (not negation, ["negated"], "without --objective negation"),
        (bool(init), ["word_vectors"], "with --init, which includes word vectors"),
        (not encoded, ["word_vectors"], "without a text encoder in --text"),
    )
    from avs_cli.stages import train as stage

    stage.train(
        captions, video, text or [], output=output, head=head, objective=objective, validate=validate or [],
        qrels=qrels if validate else "", metric=metric if validate else "", init=init,
        negated=negated if negation else "", word_vectors=word_vectors if encoded else "", optimizer=optimizer,
        learning_rate=learning_rate, weight_decay=weight_decay, schedule=schedule, epochs=epochs, patience=patience,
        batch_size=batch_size, precision=precision, seed=seed, time_limit=time_limit, skip_missing=skip_missing,
        allow_mismatch=allow_mismatch, tensorboard=tensorboard, device=device, threads=threads, report=TERMINAL,
    )  # fmt: skip
