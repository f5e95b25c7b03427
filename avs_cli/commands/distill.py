"""`avs distill`: train a fast student from slow teachers, on stored features or on raw clips."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from avs_cli import applies
from avs_cli.core.models.teachers import teachers
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
    Workers,
)
from avs_cli.outputs import WRITES, spare
from avs_cli.stages import distill_clips as _distill_clips
from avs_cli.stages import distill_heads as _distill_stores
from avs_cli.stages.clips import Keep
from avs_cli.stages.distill_clips import Clips
from avs_cli.stages.distill_heads import Stores
from avs_cli.stages.training import Plan, Team, is_encoder

Method = Literal["pear", "ce", "l1"]

# What an option needs to have an effect; those that are not listed always have one.
CLIPS, STORES, TEACHER, VALIDATE = "INPUT clips", "--video", "--teacher", "--validate"
SINGLE, ATTENTION = "a --student that has one vector per clip", "--aggregate attention"
ENCODER, KEPT = "a text encoder in --text", "INPUT clips or --teacher"
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
    "cache": (KEPT,),
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
) -> None:
    """Distil slow teachers into a student with one vector per shot.

    Teachers supervise the scores of all caption-video pairs in a batch (coarse) and the weights of the frames for each
    caption (fine). Their vectors are computed once and cached. On stored features (--video), student and teachers are
    heads. On clips (INPUT), the student is a CLIP model for avs extract --model teachclip --weights FILE; without a
    teacher it is CLIP4Clip. With clips, --student xclip trains a teacher for --teacher xclip=FILE. FILE.last and
    FILE.csv are as in avs train: the same command resumes after the last complete epoch.

    \b
    Examples:
      avs distill --captions train.txt --video frames.h5 --text text.h5 --teacher xclip.safetensors -o afa.safetensors
      avs distill videos/ --captions train.txt --teacher xclip=xclip.safetensors -o teachclip.safetensors
    """
    if output == "-":
        raise SpecError("distill needs --output FILE: the state of training is saved next to it")
    from avs_cli.stages.inputs import media_around

    spare(output, media_around(output, inputs))
    if bool(inputs) == bool(video):
        raise SpecError("distill trains either on INPUT clips or on the stores of --video; give one of them")
    taught_by, aggregate = teacher or [], aggregate or ("attention" if teacher else "mean")
    holds = {
        CLIPS: bool(inputs),
        STORES: bool(video),
        TEACHER: bool(teacher),
        VALIDATE: bool(validate),
        SINGLE: not (inputs and _distill_clips.is_teacher(student)),
        ATTENTION: aggregate == "attention",
        ENCODER: any(map(is_encoder, text or [])),
        KEPT: bool(inputs or teacher),
    }
    needing = {use: [name for name, uses in NEEDS.items() if use in uses] for use in holds}
    applies.refuse(context, *((not held, needing[use], f"without {use}") for use, held in holds.items()))
    if video and _distill_clips.is_teacher(student):
        raise SpecError(
            f"--student {student}: on stored features, a student is a head with one vector per shot, such as afa; "
            "teachers are trained by avs train --head xclip or xpool"
        )
    from avs_cli.core.device import prepare
    from avs_cli.core.training.distillation import Recipe

    place = prepare(device, threads)
    # Without a teacher there is only one loss, so its weight is 1.
    recipe = Recipe(coarse, fine, 1.0, *_weights(loss_weights)) if teacher else Recipe(matching_weight=1.0)
    given: dict[str, Any] = dict(
        epochs=epochs, batch_size=batch_size, precision=precision, seed=seed, metric=metric, schedule="cosine"
    )
    if teacher:
        given |= {"coarse": coarse, "fine": fine, "loss_weights": list(recipe.weights)}
    folder = Path(cache or f"{output}.kept")
    with ExitStack() as stack:
        team = Team.join(stack, place.device)
        if inputs:
            given |= {"optimizer": optimizer or "bertadam", "learning_rate": _or(learning_rate, 1e-4)}
            given["weight_decay"] = _or(weight_decay, 0.2)
            plan = Plan(output, given, epochs, seed, precision, epochs, time_limit, tensorboard)
            clips = Clips(
                inputs, student or "clip", weights, frames, words, aggregate, pool_temperature, masked, tower_rate,
                chunk, workers or place.workers, skip_missing,
            )  # fmt: skip
            keep = Keep(folder, cache_frames == "jpeg", cache_limit * 1e9)
            _distill_clips.run(stack, team, plan, clips, captions, validate or [], taught_by, recipe, keep)
            return
        given |= {"optimizer": optimizer or "adamw", "learning_rate": _or(learning_rate, 1e-3)}
        given["weight_decay"] = _or(weight_decay, 0.2 if optimizer == "bertadam" else 0.01)
        plan = Plan(
            output, {**given, "temperature": temperature}, epochs, seed, precision, epochs, time_limit, tensorboard
        )
        stores = Stores(
            video or [], text or [], teacher_video or [], teacher_text or [], word_vectors, skip_missing, allow_mismatch
        )
        _distill_stores.run(
            stack, team, plan, stores, captions, validate or [], student or "afa", taught_by, recipe, folder
        )


def _or(given: float | None, default: float) -> float:
    return default if given is None else given


def _weights(text: str) -> tuple[float | None, float | None, float | None]:
    if not text:
        return None, None, None
    try:
        matching, coarse, fine = map(float, text.split(","))
    except ValueError:
        raise SpecError(f"--loss-weights {text!r}: expected three numbers, such as 0.2,1,2") from None
    return matching, coarse, fine
