"""`avs distill`: a student that is fast learns from teachers that are not, over stored features or from raw clips."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from avs_cli.commands import _applies, _distill_clips, _distill_stores
from avs_cli.commands._clips import Keep
from avs_cli.commands._distill_clips import Clips
from avs_cli.commands._distill_stores import Stores
from avs_cli.commands._inputs import spare_media
from avs_cli.commands._training import Plan, Team, is_encoder
from avs_cli.core.teachers import teachers
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
from avs_cli.outputs import WRITES

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
        list[str], typer.Argument(metavar="INPUT...", help="Videos, folders or shot tables; none with --video.")
    ] = [],  # noqa: B006  typer reads the default
    *,
    captions: Annotated[list[str], typer.Option(metavar="FILE", help="Captions to learn from; repeat for several.")],
    output: Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="The student, .safetensors."), TRAINED],
    teacher: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HEAD|NAME=FILE",
            help=f"A trained head; or, from clips, one of {', '.join(teachers.names())} and its weights; repeat for "
            "several. Without one the student learns from the captions alone.",
        ),
    ] = None,
    student: Annotated[
        str,
        typer.Option(
            metavar="SPEC",
            help="The head to train; from clips, the CLIP to start from, as open-clip:NAME/TAG, or a teacher to train, "
            f"over clip: {', '.join(teachers.names())}.",
            show_default="afa; clip",
        ),
    ] = "",
    video: Annotated[list[str] | None, typer.Option(metavar="STORE", help="Learn over this store of frames.")] = None,
    text: Annotated[
        list[str] | None, typer.Option(metavar="STORE|NAME", help="The captions' vectors, or a text encoder.")
    ] = None,
    teacher_video: Annotated[
        list[str] | None, typer.Option(metavar="STORE", help="Video features that teachers alone look at.")
    ] = None,
    teacher_text: Annotated[
        list[str] | None, typer.Option(metavar="STORE", help="Captions' vectors that teachers alone look at.")
    ] = None,
    word_vectors: Annotated[
        str, typer.Option(metavar="PATH", help="Pretrained word vectors: a BigFile folder or a text file.")
    ] = "",
    weights: Annotated[
        str | None, typer.Option(metavar="PATH", help="A local checkpoint of the student's CLIP.")
    ] = None,
    frames: Annotated[int, typer.Option(min=1, help="Of a clip, at most: one a second, evenly spread.")] = 12,
    words: Annotated[int, typer.Option(min=3, help="Of a caption, at most, with its start and end.")] = 32,
    aggregate: Annotated[
        Literal["attention", "seqtransf", "mean"] | None,
        typer.Option(
            help="A clip's vector: TeachCLIP's attention, or CLIP4Clip's mean with or without its header.",
            show_default="attention; mean without --teacher",
        ),
    ] = None,
    pool_temperature: Annotated[
        float, typer.Option(min=0.001, help="Of the attention that makes a clip's vector.")
    ] = 0.1,
    masked: Annotated[
        bool, typer.Option("--masked", help="Leave what fills a short clip up out of the student's attention.")
    ] = False,
    tower_rate: Annotated[
        float, typer.Option(min=0.0, help="CLIP's learning rate, as a share; 0: CLIP stays as it is.")
    ] = 1e-3,
    chunk: Annotated[
        int, typer.Option(min=0, help="Frames in memory at once, computed again for the gradient; 0: all, and kept.")
    ] = 48,
    validate: Annotated[list[str] | None, typer.Option(metavar="FILE", help="Captions to choose by.")] = None,
    metric: Annotated[
        Literal["R@1", "R@5", "R@10", "SumR"], typer.Option(help="Of the --validate captions, what is to be large.")
    ] = "SumR",
    coarse: Annotated[Method, typer.Option(help="How scores of pairs are taught.")] = "pear",
    fine: Annotated[Method, typer.Option(help="How the frames' weights are taught.")] = "ce",
    loss_weights: Annotated[
        str, typer.Option(metavar="M,C,F", help="Of matching, coarse and fine.", show_default="as published")
    ] = "",
    temperature: Annotated[float, typer.Option(min=0.001, help="Heads' cosines are divided by it.")] = 0.05,
    cache: Annotated[
        str,
        typer.Option(metavar="FOLDER", help="Where frames and teachers' vectors are kept.", show_default="FILE.kept"),
        WRITES,
    ] = "",
    cache_frames: Annotated[
        Literal["raw", "jpeg"],
        typer.Option(help="How decoded frames are kept; jpeg takes a seventh of the disk and changes pixels a little."),
    ] = "raw",
    cache_limit: Annotated[
        float, typer.Option(min=0.0, metavar="GB", help="Stop before decoded frames take more than this.")
    ] = 100.0,
    optimizer: Annotated[
        Literal["adamw", "bertadam"] | None,
        typer.Option(help="Which rule takes the steps.", show_default="adamw; from clips bertadam"),
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(min=0.0, help="The largest step size.", show_default="0.001; from clips 0.0001")
    ] = None,
    weight_decay: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="How much of the weights a step takes away, times its size.",
            show_default="0.01; of bertadam, and from clips, 0.2",
        ),
    ] = None,
    epochs: Epochs = 10,
    batch_size: BatchSize = 120,
    precision: Annotated[Literal["fp32", "bf16", "fp16"], typer.Option(help="Of the student's products.")] = "fp32",
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

    Teachers say how well every caption of a batch fits every video (coarse), and how much each frame has to do with its
    caption (fine). What they make of an item is computed once and kept in a folder. Over stores, student and teachers
    are heads; from clips, the student is a CLIP, which avs extract --model teachclip then takes as --weights. Without a
    teacher the student learns from the captions alone: over stores a baseline, from clips CLIP4Clip. From clips,
    --student xclip trains a teacher, whose file --teacher xclip=FILE takes. FILE.last and FILE.csv are those of avs
    train: the same command goes on after the last whole epoch.
    """
    if output == "-":
        raise SpecError("distill needs a file for --output: it keeps the state of the training beside it")
    spare_media(output, inputs)
    if bool(inputs) == bool(video):
        raise SpecError("distill learns either from INPUT clips or over the stores of --video; give one of them")
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
    _applies.refuse(context, *((not held, needing[use], f"without {use}") for use, held in holds.items()))
    if video and _distill_clips.is_teacher(student):
        raise SpecError(
            f"--student {student}: over stores a student is a head whose score is one dot product, as afa; teachers "
            "are trained by avs train --head xclip or xpool"
        )
    from avs_cli.core.device import prepare
    from avs_cli.core.distillation import Recipe

    place = prepare(device, threads)
    # Alone, a student has one loss, which is weighed against no other.
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
        raise SpecError(f"--loss-weights {text!r}: write three numbers, as 0.2,1,2") from None
    return matching, coarse, fine
