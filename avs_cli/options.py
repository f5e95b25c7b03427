"""Options and arguments shared by several commands: one name and one help text each."""

from typing import Annotated

import typer

from avs_cli.outputs import WRITES, Writes

Output = Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="Output file; - is stdout."), WRITES]
Runs = Annotated[list[str], typer.Argument(metavar="RUN...", help="TREC runs, plain or .gz; - is stdin.")]
Topics = Annotated[
    str,
    typer.Option(
        metavar="FILE|RANGE",
        help="Topics to select: a topics file, or ids and ranges such as 731-750,761.",
        show_default="all",
    ),
]
# Files that train and distill write next to a model.
TRAINED = Writes((".last", ".csv", ".lock"))
Depth = Annotated[int, typer.Option(min=1, help="Maximum number of shots per topic.")]
Tag = Annotated[str, typer.Option(metavar="NAME", help="Run tag, the last column of a run.")]
Seed = Annotated[int, typer.Option(help="Random seed.")]
Threads = Annotated[int, typer.Option(min=0, max=1024, help="CPU threads; 0 uses all cores.")]
Device = Annotated[str, typer.Option(help="Device: auto (a GPU if available), cpu, cuda, cuda:1, mps …")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Workers = Annotated[int, typer.Option(min=0, help="Video decoding processes; 0 chooses from the available cores.")]
Weights = Annotated[
    str | None, typer.Option(metavar="PATH", help="Local checkpoint of the model, instead of the published weights.")
]
Epochs = Annotated[int, typer.Option(min=1, help="Maximum number of epochs.")]
BatchSize = Annotated[int, typer.Option(min=2, help="Captions per batch.")]
TimeLimit = Annotated[
    float,
    typer.Option(
        min=0.0, metavar="MINUTES", help="Time limit, in minutes: no epoch starts that would exceed it; 0 is no limit."
    ),
]
SkipMissing = Annotated[bool, typer.Option("--skip-missing", help="Skip captions whose video or vector is missing.")]
TensorBoard = Annotated[str, typer.Option(metavar="FOLDER", help="Log directory for TensorBoard."), WRITES]
AllowMismatch = Annotated[
    bool,
    typer.Option(
        "--allow-mismatch",
        help="Warn instead of failing when vectors come from different models, weights or preprocessing.",
    ),
]
