"""Options and arguments shared by several commands: one name and one help text each."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from avs_cli.console import TERMINAL
from avs_cli.errors import SpecError
from avs_cli.outputs import BY_HAND, WRITES, Writes

if TYPE_CHECKING:
    from avs_cli.cluster import Cluster

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
EncodingWorkers = Annotated[
    int,
    typer.Option(
        min=0,
        help="Video decoding processes; 0 chooses from the available cores. With --engine dask and no --scheduler, "
        "workers of the cluster, where 0 is one per core.",
    ),
]
Processes = Annotated[int, typer.Option(min=0, help="Worker processes; 0 uses all cores.")]
Timeout = Annotated[float, typer.Option(min=1, help="Seconds without progress before a video is skipped.")]
FrameBatch = Annotated[int, typer.Option(min=1, max=4096, help="Frames (or clips) per forward pass.")]
Videos = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FOLDER",
        help="Folder with the videos, for stores that name other places; repeatable.",
        show_default=False,
    ),
]
Weights = Annotated[
    str | None, typer.Option(metavar="PATH", help="Local checkpoint of the model, instead of the published weights.")
]
Checkpoints = Annotated[
    str | None,
    typer.Option(
        metavar="PATH|MODEL=PATH,...",
        help="Local checkpoint of the model, instead of the published weights; of several models, each by its name.",
    ),
]
Engine = Annotated[
    Literal["local", "dask"],
    typer.Option(help="Where the work is done: in this process, or by the workers of a Dask cluster."),
]
Scheduler = Annotated[
    str,
    typer.Option(
        metavar="ADDRESS|FILE",
        help="Scheduler of the Dask cluster, as tcp://HOST:PORT or its file; it is trusted with running any code.",
        show_default="a cluster on this machine",
    ),
    BY_HAND,
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


@contextmanager
def workers_of(engine: str, scheduler: str = "", workers: int = 0, device: str = "auto") -> "Iterator[Cluster | None]":
    """The workers that --engine and --scheduler choose, while the context is open; None is this process.

    workers  of a cluster on this machine; 0: one per core
    """
    if engine == "local":
        yield None
        return
    from avs_cli.cluster import cluster

    with cluster(scheduler, workers, device.startswith("cuda"), TERMINAL) as found:
        yield found


def checkpoints(weights: str | None, models: list[str]) -> str | dict[str, str] | None:
    """The checkpoint of the one model, or those of several by model: `clip=a.pt,blip2=b.pt`."""
    if weights is None or len(models) == 1:
        return weights
    # A path may contain commas and equals signs: only the names of models begin a new one.
    starts = "|".join(re.escape(model) for model in sorted(models, key=len, reverse=True))
    pieces = re.split(rf"(?:^|,)({starts})=", weights)
    if pieces[0] or len(pieces) == 1:
        raise SpecError(f"--weights {weights}: of which model? write {models[0]}=PATH, with commas between several")
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))
