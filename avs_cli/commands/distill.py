"""`avs distill`: train a fast student from slow teachers, on stored features or on raw clips."""

from typing import Annotated, Any, Literal

import typer

from avs_cli import applies
from avs_cli.console import TERMINAL
from avs_cli.core.models.teachers import teachers
from avs_cli.core.models.text import text_encoders
from avs_cli.errors import IncompleteError, SpecError
from avs_cli.options import (
    TRAINED,
    AllowMismatch,
    BatchSize,
    Device,
    Engine,
    Epochs,
    Scheduler,
    Seed,
    SkipMissing,
    TensorBoard,
    Threads,
    TimeLimit,
    Workers,
    workers_of,
)
from avs_cli.outputs import WRITES, spare

Method = Literal["pear", "ce", "l1"]

# What an option needs to have an effect; those that are not listed always have one.
CLIPS, STORES, TEACHER, VALIDATE = "INPUT clips", "--video", "--teacher", "--validate"
SINGLE, ATTENTION = "a --student that has one vector per clip", "--aggregate attention"
ENCODER, CACHED = "a text encoder in --text", "INPUT clips or --teacher"
DASK = "--engine dask"
NEEDS = {
    "teacher": (SINGLE,),
    "weights": (CLIPS,),
    "frames": (CLIPS,),
    "words": (CLIPS,),
    "aggregate": (CLIPS, SINGLE),
    "pool_temperature": (CLIPS, SINGLE, ATTENTION),
    "masked": (CLIPS, SINGLE, ATTENTION),
    "tower_rate": (CLIPS,),
    "chunk": (CLIPS,),
    "workers": (CLIPS,),
    "text": (STORES,),
    "word_vectors": (STORES, ENCODER),
    "teacher_video": (STORES, TEACHER),
    "teacher_text": (STORES, TEACHER),
    "temperature": (STORES,),
    "allow_mismatch": (STORES,),
    "coarse": (TEACHER,),
    "fine": (TEACHER,),
    "loss_weights": (TEACHER,),
    "cache": (CACHED,),
    "engine": (TEACHER,),
    "scheduler": (TEACHER, DASK),
    "cache_frames": (CLIPS,),
    "cache_limit": (CLIPS,),
    "metric": (VALIDATE,),
}


def distill(
    context: typer.Context,
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT...", help="Videos, folders of them, or shot tables; omit with --video."),
    ] = [],  # noqa: B006  typer reads the default
    *,
    captions: Annotated[list[str], typer.Option(metavar="FILE", help="Training captions; repeatable.")],
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="Output student (.safetensors)."), TRAINED
    ],
    teacher: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HEAD|NAME=FILE",
            help=f"Teacher: a trained head or, with clips, the weights of {', '.join(teachers.names())}; repeatable. "
            "Without a teacher, the student is trained on the captions only.",
        ),
    ] = None,
    student: Annotated[
        str,
        typer.Option(
            metavar="SPEC",
            help="Student: a head; with clips, the CLIP model to fine-tune (clip, open-clip:NAME/TAG) or a teacher to "
            f"train: {', '.join(teachers.names())}.",
            show_default="afa; with clips, clip",
        ),
    ] = "",
    video: Annotated[
        list[str] | None, typer.Option(metavar="STORE", help="Frame-level video features; repeatable.")
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(metavar="STORE|NAME", help="Caption features: a store, or a text encoder; repeatable."),
    ] = None,
    teacher_video: Annotated[
        list[str] | None, typer.Option(metavar="STORE", help="Video features for the teachers only; repeatable.")
    ] = None,
    teacher_text: Annotated[
        list[str] | None, typer.Option(metavar="STORE", help="Caption features for the teachers only; repeatable.")
    ] = None,
    word_vectors: Annotated[
        str, typer.Option(metavar="PATH", help="Pretrained word vectors: a BigFile folder or a text file.")
    ] = "",
    weights: Annotated[
        str | None, typer.Option(metavar="PATH", help="A local checkpoint of the student's CLIP.")
    ] = None,
    frames: Annotated[
        int,
        typer.Option(
            min=1, help="Maximum number of frames per clip, sampled at 1 fps or, for longer clips, uniformly."
        ),
    ] = 12,
    words: Annotated[
        int, typer.Option(min=3, help="Maximum number of tokens per caption, including start and end.")
    ] = 32,
    aggregate: Annotated[
        Literal["attention", "seqtransf", "mean"] | None,
        typer.Option(
            help="Frame aggregation: TeachCLIP's attention, CLIP4Clip's seqTransf, or the mean.",
            show_default="attention; mean without --teacher",
        ),
    ] = None,
    pool_temperature: Annotated[
        float, typer.Option(min=0.001, help="Softmax temperature of the frame attention.")
    ] = 0.1,
    masked: Annotated[
        bool, typer.Option("--masked", help="Exclude padding frames from the student's attention.")
    ] = False,
    tower_rate: Annotated[
        float,
        typer.Option(min=0.0, help="Learning rate of CLIP's towers, relative to --learning-rate; 0 freezes them."),
    ] = 1e-3,
    chunk: Annotated[int, typer.Option(min=0, help="Gradient-checkpointing chunk, in frames; 0 disables it.")] = 48,
    validate: Annotated[list[str] | None, typer.Option(metavar="FILE", help="Validation captions; repeatable.")] = None,
    metric: Annotated[Literal["R@1", "R@5", "R@10", "SumR"], typer.Option(help="Metric for model selection.")] = "SumR",
    coarse: Annotated[Method, typer.Option(help="Loss on the teachers' caption-video scores.")] = "pear",
    fine: Annotated[Method, typer.Option(help="Loss on the teachers' caption-frame weights.")] = "ce",
    loss_weights: Annotated[
        str,
        typer.Option(
            metavar="M,C,F", help="Weights of the matching, coarse and fine losses.", show_default="as published"
        ),
    ] = "",
    temperature: Annotated[
        float, typer.Option(min=0.001, help="Temperature that divides the cosines of heads.")
    ] = 0.05,
    cache: Annotated[
        str,
        typer.Option(metavar="FOLDER", help="Cache of decoded frames and teachers' vectors.", show_default="FILE.kept"),
        WRITES,
    ] = "",
    cache_frames: Annotated[
        Literal["raw", "jpeg"],
        typer.Option(help="Format of cached frames; jpeg needs a seventh of the disk space and is slightly lossy."),
    ] = "raw",
    cache_limit: Annotated[
        float,
        typer.Option(
            min=0.0, metavar="GB", help="Maximum size of the frame cache; training stops rather than exceed it."
        ),
    ] = 100.0,
    optimizer: Annotated[
        Literal["adamw", "bertadam"] | None,
        typer.Option(help="Optimizer.", show_default="adamw; with clips, bertadam"),
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(min=0.0, help="Peak learning rate.", show_default="0.001; with clips, 0.0001")
    ] = None,
    weight_decay: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Decoupled weight decay.",
            show_default="0.01; with bertadam or clips, 0.2",
        ),
    ] = None,
    epochs: Epochs = 10,
    batch_size: BatchSize = 120,
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
    workers: Workers = 0,
    engine: Engine = "local",
    scheduler: Scheduler = "",
) -> None:
    """Distil slow teachers into a student with one vector per shot.

    Teachers supervise the scores of all caption-video pairs in a batch (coarse) and the weights of the frames for each
    caption (fine). Their vectors are computed once and cached. On stored features (--video), student and teachers are
    heads. On clips (INPUT), the student is a CLIP model for avs extract --model teachclip --weights FILE; without a
    teacher it is CLIP4Clip. With clips, --student xclip trains a teacher for --teacher xclip=FILE. FILE.last and
    FILE.csv are as in avs train: the same command resumes after the last complete epoch. --engine dask computes the
    vectors of teachers on the workers of a cluster, which see the same files; decoding and training run here.

    \b
    Examples:
      avs distill --captions train.txt --video frames.h5 --text text.h5 --teacher xclip.safetensors -o afa.safetensors
      avs distill videos/ --captions train.txt --teacher xclip=xclip.safetensors -o teachclip.safetensors
      avs distill videos/ --captions train.txt --teacher xclip=xclip.safetensors --engine dask -o teachclip.safetensors
    """
    if output == "-":
        raise SpecError("distill needs --output FILE: the state of training is saved next to it")
    from avs_cli.stages.inputs import media_around
    from avs_cli.stages.team import processes

    spare(output, media_around(output, inputs))
    if bool(inputs) == bool(video):
        raise SpecError("distill trains either on INPUT clips or on the stores of --video; give one of them")
    holds = {
        CLIPS: bool(inputs),
        STORES: bool(video),
        TEACHER: bool(teacher),
        VALIDATE: bool(validate),
        SINGLE: not (inputs and teachers.knows(student)),
        ATTENTION: (aggregate or ("attention" if teacher else "mean")) == "attention",
        ENCODER: any(map(text_encoders.knows, text or [])),
        CACHED: bool(inputs or teacher),
        DASK: engine == "dask",
    }
    needing = {use: [name for name, uses in NEEDS.items() if use in uses] for use in holds}
    applies.refuse(context, *((not held, needing[use], f"without {use}") for use, held in holds.items()))
    # Teachers of the environment or of avs.toml are for students with one vector per clip.
    taught_by = (teacher or []) if holds[SINGLE] else []
    chosen = _weights(loss_weights) if taught_by else None
    given: dict[str, Any] = dict(
        output=output, teachers=taught_by, validate=validate or [], metric=metric, coarse=coarse, fine=fine,
        loss_weights=chosen, cache=cache, epochs=epochs, batch_size=batch_size, precision=precision,
        seed=seed, time_limit=time_limit, skip_missing=skip_missing, tensorboard=tensorboard, device=device,
        threads=threads, report=TERMINAL,
    )  # fmt: skip
    # The defaults of these differ between stores and clips.
    differing = {"optimizer": optimizer, "learning_rate": learning_rate, "weight_decay": weight_decay}
    given |= {name: value for name, value in differing.items() if value is not None}
    if student:
        given["student"] = student
    if engine == "dask" and not scheduler and processes() > 1:
        raise SpecError("--engine dask under torchrun needs --scheduler, or each of its processes starts a cluster")
    # Without teachers there is nothing for a cluster to compute; --engine of the environment is for other commands.
    with workers_of(engine if taught_by else "local", scheduler, device=device) as cluster:
        given["engine"] = cluster
        if inputs:
            from avs_cli.stages import distill_clips

            trained = distill_clips.distill(
                inputs, captions, weights=weights, frames=frames, words=words, aggregate=aggregate,
                pool_temperature=pool_temperature, masked=masked, tower_rate=tower_rate, chunk=chunk,
                cache_frames=cache_frames, cache_limit=cache_limit, workers=workers, **given,
            )  # fmt: skip
            if trained.unreadable:
                raise IncompleteError(f"{output}: trained without {len(trained.unreadable)} unreadable videos")
            return
        from avs_cli.stages import distill_heads

        distill_heads.distill(
            captions, video or [], text or [], teacher_videos=teacher_video or [], teacher_texts=teacher_text or [],
            word_vectors=word_vectors if holds[ENCODER] else "", temperature=temperature,
            allow_mismatch=allow_mismatch, **given,
        )  # fmt: skip


def _weights(text: str) -> tuple[float, float, float] | None:
    """The weights of --loss-weights; None: as published."""
    if not text:
        return None
    try:
        matching, coarse, fine = map(float, text.split(","))
    except ValueError:
        raise SpecError(f"--loss-weights {text!r}: expected three numbers, such as 0.2,1,2") from None
    return matching, coarse, fine
