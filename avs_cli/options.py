"""Options and arguments that several commands share, so that one thing has one name and one help text."""

from typing import Annotated

import typer

from avs_cli.outputs import WRITES, Writes

Output = Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="Where to write; - is stdout."), WRITES]
Runs = Annotated[list[str], typer.Argument(metavar="RUN...", help="TREC runs, plain or .gz; - is stdin.")]
Topics = Annotated[
    str,
    typer.Option(
        metavar="FILE|RANGE",
        help="Topics to select: a topics file, or ids and ranges such as 731-750,761. All of them if not given.",
    ),
]
# What train and distill write beside a model.
TRAINED = Writes((".last", ".csv", ".lock"))
Depth = Annotated[int, typer.Option(min=1, help="Shots kept per topic.")]
Tag = Annotated[str, typer.Option(metavar="NAME", help="The run's name, written in its last column.")]
Seed = Annotated[int, typer.Option(help="Seed of every random choice.")]
Threads = Annotated[
    int, typer.Option(min=0, max=1024, help="CPU threads for the arithmetic; 0 takes the cores there are.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps …; auto takes a GPU when there is one.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Workers = Annotated[int, typer.Option(min=0, help="Decoding processes; 0 takes what the machine has to spare.")]
Weights = Annotated[
    str | None, typer.Option(metavar="PATH", help="A local checkpoint of the model instead of the published one.")
]
Epochs = Annotated[int, typer.Option(min=1, help="Passes over the captions.")]
BatchSize = Annotated[int, typer.Option(min=2, help="Captions per step.")]
TimeLimit = Annotated[
    float, typer.Option(min=0.0, metavar="MINUTES", help="Begin no epoch that would end later; 0: no limit.")
]
SkipMissing = Annotated[
    bool, typer.Option("--skip-missing", help="Leave out captions whose video or vector is missing.")
]
TensorBoard = Annotated[str, typer.Option(metavar="FOLDER", help="Write curves for TensorBoard."), WRITES]
AllowMismatch = Annotated[
    bool,
    typer.Option(
        "--allow-mismatch",
        help="Warn instead of failing when vectors come from different models, weights or preprocessing.",
    ),
]
