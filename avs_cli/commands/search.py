"""`avs search`: the shots of a gallery that match queries best, as a run or, for one query, as a table."""

import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avs_cli.commands import _queries
from avs_cli.console import note, table
from avs_cli.errors import MismatchError, SpecError, few
from avs_cli.options import Depth, Device, Field, Output, Tag, Threads, Weights
from avs_cli.types import Run, Topic

if TYPE_CHECKING:
    from avs_cli.io.galleries import JoinedGallery
    from avs_cli.io.store import Gallery

Galleries = Annotated[
    list[str],
    typer.Argument(
        metavar="GALLERY...",
        help="Feature stores, searched as one: FILE or FILE::FEATURE. Without --head they hold one feature.",
    ),
]
# Below this cosine the best shot of a query was wrong each time that it was checked.
DOUBTFUL = {"conse": 0.35}
NAMED = 5


def search(
    gallery: Galleries,
    query: Annotated[str, typer.Option("--query", "-q", metavar="TEXT", help="One query.")] = "",
    topics: Annotated[str, typer.Option(metavar="FILE", help="Topics to search for; - is stdin.")] = "",
    vectors: Annotated[
        list[str] | None, typer.Option(metavar="STORE", help="The topics' vectors, from `avs extract --text`.")
    ] = None,
    head: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE", help="A trained head; with several, --output is a folder that gets a run of each."
        ),
    ] = None,
    explain: Annotated[
        str, typer.Option(metavar="FILE", help="Write how much each feature counts, for topics and their best shots.")
    ] = "",
    field: Field = "query",
    depth: Depth = 1000,
    tag: Tag = "avs",
    output: Output = "-",
    weights: Weights = None,
    device: Device = "auto",
    threads: Threads = 0,
) -> None:
    """Find the shots that match a query, or each topic of a file, best.

    Every shot of the gallery is compared; a shot with several vectors counts with its best one. Scores are cosines;
    equal ones are in descending order of shot ids. A --query on a terminal is answered by a table, all else by a run.
    Heads bring features together: the gallery is read once for all of them.
    """
    if sum(map(bool, (query, topics))) > 1 or not (query or topics or vectors):
        raise SpecError("search needs one of --query TEXT, --topics FILE and --vectors STORE")
    if query and vectors:
        raise SpecError("--vectors holds vectors of topics; it does not go with --query")
    if [*gallery, topics, *(vectors or [])].count("-") > 1:
        raise SpecError("- is stdin, which can be read once")
    if weights and (head or vectors):
        raise SpecError("--weights is of the gallery's own model, which neither --head nor --vectors needs")
    if head:
        if not (query or topics):
            raise SpecError("a head encodes words itself; give --topics FILE or --query TEXT")
        asked = _queries.read(topics, field) if topics else [Topic("query", query)]
        _with_heads(gallery, head, asked, vectors or [], depth, tag, output, explain, device, threads)
        return
    if explain:
        raise SpecError("--explain tells how a head weighs features; give --head")
    if vectors and len(vectors) > 1:
        raise SpecError("several --vectors are for heads; a search without one takes a single store")
    from avs_cli.io.store import open_gallery
    from avs_cli.io.trec import write_run

    with open_gallery(gallery) as shots:
        if not len(shots):
            raise MismatchError(f"{', '.join(gallery)}: no shots to search")
        from avs_cli.core.device import prepare
        from avs_cli.core.ranking import top_shots

        place = prepare(device, threads)
        wanted = [Topic("query", query)] if query else _queries.read(topics, field) if topics else None
        store = vectors[0] if vectors else ""
        named, queries = _queries.vectors_of(store, wanted, shots, place.device, place.threads, weights)
        (rankings,) = top_shots([queries], shots, depth, place.threads)
        run: Run = dict(zip(named, rankings, strict=True))
        _doubt(run, shots.provenance)
        if query and output == "-" and sys.stdout.isatty():
            _show(run["query"], shots)
        else:
            write_run(output, run, tag, depth)


def _with_heads(
    gallery: Sequence[str],
    paths: Sequence[str],
    topics: list[Topic],
    vectors: Sequence[str],
    depth: int,
    tag: str,
    output: str,
    explain: str,
    device: str,
    threads: int,
) -> None:
    """A run per head: one goes to `output`, several into that folder."""
    if len(paths) > 1 and output == "-":
        raise SpecError("several heads make several runs; give --output FOLDER")
    from pathlib import Path

    from avs_cli.commands import _heads
    from avs_cli.core.device import prepare
    from avs_cli.io.atomic import writing
    from avs_cli.io.galleries import Galleries
    from avs_cli.io.trec import write_run

    asked = _heads.asked(topics)
    place = prepare(device, threads)
    heads = _heads.load(paths, place.device)
    with Galleries(gallery) as stores, Galleries(vectors) as stored:
        shots = _heads.join(stores, heads)
        if not len(shots):
            raise MismatchError(f"{', '.join(gallery)}: no shots to search")
        known = _heads.texts_of(heads, asked, stored, place.device, place.threads)
        runs = _heads.search(heads, known, asked, shots, depth, place.threads)
        if explain:
            with writing(explain) as out:
                out.write("head\ttopic\tshot\tfeature\tweight\n")
                rows = _heads.explain(heads, known, asked, shots, runs)
                out.writelines(f"{where}\t{topic}\t{shot}\t{name}\t{w:.6f}\n" for where, topic, shot, name, w in rows)
        if len(heads) > 1:
            Path(output).mkdir(parents=True, exist_ok=True)
            for one, run in zip(heads, runs, strict=True):
                write_run(str(Path(output) / f"{one.name}.run"), run, one.name, depth)
        elif [topic.id for topic in topics] == ["query"] and output == "-" and sys.stdout.isatty():
            _show(runs[0]["query"], shots)
        else:
            write_run(output, runs[0], tag, depth)


def _doubt(run: Run, provenance: Mapping[str, Any]) -> None:
    """Say which topics have probably found nothing, for features where that shows."""
    model = str(provenance.get("spec", "")).partition(":")[0]
    if model not in DOUBTFUL:
        return
    doubtful = [topic for topic, scores in run.items() if max(scores.values(), default=1.0) < DOUBTFUL[model]]
    if doubtful:
        which = "the best shot" if [*run] == ["query"] else f"the best shot of {_named(doubtful)}"
        note(f"{which} has a cosine below {DOUBTFUL[model]}, which {model} seldom gives to a match: do not trust it")


def _named(topics: Sequence[str]) -> str:
    return f"topic {few(topics, NAMED)}" if len(topics) <= NAMED else f"{len(topics)} topics ({few(topics, NAMED)})"


def _show(ranking: Mapping[str, float], gallery: "Gallery | JoinedGallery") -> None:
    """As much of the ranking as the terminal has room for."""
    shots = gallery.shots()
    rows: list[Iterable[object]] = []
    room = max(5, shutil.get_terminal_size().lines - 6)
    for rank, (id, score) in enumerate(list(ranking.items())[:room], start=1):
        shot = shots.get(id)
        when = f"{_clock(shot.start)}-{_clock(shot.end)}" if shot and shot.end > shot.start else ""
        rows.append((rank, id, shot.video if shot else "", when, f"{score:.3f}"))
    table(("rank", "shot", "video", "time", "score"), rows)


def _clock(seconds: float) -> str:
    minutes, tenths = divmod(round(seconds * 10), 600)
    hours, minutes = divmod(minutes, 60)
    rest = f"{tenths / 10:04.1f}"
    return f"{hours}:{minutes:02d}:{rest}" if hours else f"{minutes}:{rest}"
