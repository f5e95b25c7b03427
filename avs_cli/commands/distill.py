"""`avs distill`: a student that is fast learns from teachers that are not, over stored features or from raw clips."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from avs_cli.commands import _distill_stores
from avs_cli.commands._distill_stores import Stores
from avs_cli.commands._training import Plan, Team
from avs_cli.errors import SpecError
from avs_cli.options import Device, Seed, Threads

Method = Literal["pear", "ce", "l1"]


def distill(
    captions: Annotated[list[str], typer.Option(metavar="FILE", help="Captions to learn from; repeat for several.")],
    teacher: Annotated[list[str], typer.Option(metavar="HEAD", help="A trained head that teaches; several may.")],
    output: Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="The student, .safetensors.")],
    video: Annotated[
        list[str] | None, typer.Option(metavar="STORE", help="Video features; repeat for each store.")
    ] = None,
    text: Annotated[
        list[str] | None, typer.Option(metavar="STORE|NAME", help="The captions' vectors, or a text encoder.")
    ] = None,
    teacher_video: Annotated[
        list[str] | None, typer.Option(metavar="STORE", help="Video features that teachers alone look at.")
    ] = None,
    teacher_text: Annotated[
        list[str] | None, typer.Option(metavar="STORE", help="Captions' vectors that teachers alone look at.")
    ] = None,
    student: Annotated[str, typer.Option(metavar="SPEC", help="The head that learns.")] = "afa",
    validate: Annotated[list[str] | None, typer.Option(metavar="FILE", help="Captions to choose by.")] = None,
    metric: Annotated[
        Literal["R@1", "R@5", "R@10", "SumR"], typer.Option(help="Of the --validate captions, what is to be large.")
    ] = "SumR",
    coarse: Annotated[Method, typer.Option(help="How scores of pairs are taught.")] = "pear",
    fine: Annotated[Method, typer.Option(help="How the frames' weights are taught.")] = "ce",
    loss_weights: Annotated[
        str, typer.Option(metavar="M,C,F", help="Of matching, coarse and fine.", show_default="as published")
    ] = "",
    temperature: Annotated[float, typer.Option(min=0.001, help="Cosines are divided by it.")] = 0.05,
    cache: Annotated[
        str, typer.Option(metavar="FOLDER", help="Where teachers' vectors are kept.", show_default="FILE.teachers")
    ] = "",
    optimizer: Annotated[Literal["rmsprop", "adamw"], typer.Option(help="Which rule takes the steps.")] = "adamw",
    learning_rate: Annotated[float, typer.Option(min=0.0, help="The largest step size.")] = 1e-3,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the captions.")] = 10,
    batch_size: Annotated[int, typer.Option(min=2, help="Captions per step.")] = 120,
    precision: Annotated[Literal["fp32", "bf16", "fp16"], typer.Option(help="Of the student's products.")] = "fp32",
    seed: Seed = 0,
    time_limit: Annotated[
        float, typer.Option(min=0.0, metavar="MINUTES", help="Begin no epoch that would end later; 0: no limit.")
    ] = 0.0,
    skip_missing: Annotated[
        bool, typer.Option("--skip-missing", help="Leave out captions whose video or vector a store lacks.")
    ] = False,
    tensorboard: Annotated[str, typer.Option(metavar="FOLDER", help="Write curves for TensorBoard.")] = "",
    device: Device = "auto",
    threads: Threads = 0,
) -> None:
    """Train a student that is as fast as a dot product by teachers that are not.

    Teachers say how well every caption of a batch fits every video (coarse), and how much each frame has to do with
    its caption (fine). What they make of an item is computed once and kept in a folder. FILE, FILE.last and FILE.csv
    are those of avs train, and the same command goes on after the last whole epoch.
    """
    if output == "-":
        raise SpecError("distill needs a file for --output: it keeps the state of the training beside it")
    if not video:
        raise SpecError("distill needs --video: a store of the videos' frames")
    from avs_cli.core.device import prepare
    from avs_cli.core.distillation import Recipe

    place = prepare(device, threads)
    recipe = Recipe(coarse, fine, 1.0, *_weights(loss_weights))
    given: dict[str, Any] = dict(
        coarse=coarse, fine=fine, loss_weights=list(recipe.weights), temperature=temperature, optimizer=optimizer,
        learning_rate=learning_rate, schedule="cosine", epochs=epochs, batch_size=batch_size, precision=precision,
        seed=seed, metric=metric,
    )  # fmt: skip
    stores = Stores(video, text or [], teacher_video or [], teacher_text or [], skip_missing)
    folder = Path(cache or f"{output}.teachers")
    with ExitStack() as stack:
        team = Team.join(stack, place.device)
        plan = Plan(output, given, epochs, seed, precision, epochs, time_limit, tensorboard)
        _distill_stores.run(stack, team, plan, stores, captions, validate or [], student, teacher, recipe, folder)


def _weights(text: str) -> tuple[float | None, float | None, float | None]:
    if not text:
        return None, None, None
    try:
        matching, coarse, fine = map(float, text.split(","))
    except ValueError:
        raise SpecError(f"--loss-weights {text!r}: write three numbers, as 0.2,1,2") from None
    return matching, coarse, fine
