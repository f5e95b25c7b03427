"""`avs search`: rank the shots of a gallery for queries, as a run or, for one query, as a table."""

import shutil
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from avs_cli import applies
from avs_cli.console import TERMINAL, note, table
from avs_cli.errors import MismatchError, SpecError, few
from avs_cli.options import AllowMismatch, Depth, Device, Threads
from avs_cli.outputs import WRITES
from avs_cli.types import Run, Topic

if TYPE_CHECKING:
    from avs_cli.io.store.galleries import JoinedGallery
    from avs_cli.io.store.reader import Gallery
    from avs_cli.stages.search import Missing

Galleries = Annotated[
    list[str],
    typer.Argument(
        metavar="GALLERY...",
        help="Feature stores, searched as one gallery: FILE or FILE::FEATURE. Without --head, all of the same feature.",
    ),
]
# Below this cosine, the best shot of a query was wrong in every case checked.
DOUBTFUL = {"conse": 0.35}
NAMED = 5


def search(
    context: typer.Context,
    gallery: Galleries,
    query: Annotated[
        str,
        typer.Option(
            "--query", "-q", metavar="TEXT|PICTURE", help="A single query: text, or the path of an example image."
        ),
    ] = "",
    topics: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="Topics to search for; - is stdin. A topic may also be the path of an example image.",
        ),
    ] = "",
    vectors: Annotated[
        list[str] | None,
        typer.Option(metavar="STORE", help="Topic vectors, from avs extract --text; with --head, repeatable."),
    ] = None,
    head: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Trained head; repeatable: --output is then a folder with one run per head."),
    ] = None,
    explain: Annotated[
        str,
        typer.Option(metavar="FILE", help="Write the weight of each feature, for topics and their top shots (TSV)."),
        WRITES,
    ] = "",
    times: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="Write seconds per topic, for avs submit --elapsed; a folder gets HEAD.times for each head.",
        ),
        WRITES,
    ] = "",
    field: Annotated[
        Literal["query", "narrative", "both"] | None,
        typer.Option(
            help="Text of each topic to search with; with --vectors, the one that was encoded.",
            show_default="query, or that of --vectors",
        ),
    ] = None,
    missing: Annotated[
        Literal["error", "skip", "zero"] | None,
        typer.Option(
            help="Shots that lack some of a head's features: report an error, skip them, or use zero vectors.",
            show_default="error",
        ),
    ] = None,
    depth: Depth = 1000,
    tag: Annotated[
        str,
        typer.Option(metavar="NAME", help="Run tag, the last column of a run.", show_default="avs; in a folder, HEAD"),
    ] = "",
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE|FOLDER",
            help="Output file; - is stdout. A folder (existing, or with a final /) gets HEAD.run for each head, or "
            "TAG.run without a head.",
        ),
        WRITES,
    ] = "-",
    weights: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH|FEATURE=PATH",
            help="Local checkpoint of the gallery's model; with --head, of a text feature's model.",
        ),
    ] = None,
    allow_mismatch: AllowMismatch = False,
    device: Device = "auto",
    threads: Threads = 0,
) -> None:
    """Rank the shots of a gallery for a query or for each topic of a file.

    Search is exact. Scores are cosine similarities (of a shot with several vectors, the maximum); ties are broken by
    descending shot id. The result of --query on a terminal is a table, any other a run. With several heads, the gallery
    is read once. Topics are processed as one batch: the time of a topic in --times is the wall time of the batch
    (loading the text models, encoding, the head's part of the search) divided by the number of topics.

    \b
    Examples:
      avs search gallery.h5 --query 'a dog on a beach'
      avs search gallery.h5 --topics tv22.txt --tag clip -o tv22.run
    """
    if sum(map(bool, (query, topics))) > 1 or not (query or topics or vectors):
        raise SpecError("search needs one of --query TEXT, --topics FILE and --vectors STORE")
    if query and vectors:
        raise SpecError("--vectors contains topic vectors and cannot be combined with --query")
    table_alone = bool(query) and output == "-" and sys.stdout.isatty()
    applies.refuse(
        context,
        (bool(query), ["field"], "with --query; it selects a text of --topics"),
        (table_alone, ["tag"], "on a table; give --output FILE"),
        (not head, ("explain", "missing"), "without --head"),
        (bool(vectors) and not head, ("weights", "device"), "with --vectors, which are encoded already"),
    )
    if query:
        field = None
    if [*gallery, topics, *(vectors or [])].count("-") > 1:
        raise SpecError("- is stdin, which can be read once")
    if [output, times, explain].count("-") > 1:
        raise SpecError("- is stdout, which takes one of --output, --times and --explain")
    given = Wanted(gallery, query, topics, vectors or [], field, depth, tag, output, times, allow_mismatch)
    if head:
        if not (query or topics):
            raise SpecError("--head needs text; give --topics FILE or --query TEXT")
        _with_heads(given, head, _by_feature(weights or []), explain, missing or "error", device, threads)
        return
    if vectors and len(vectors) > 1:
        raise SpecError("several --vectors need --head; a search without a head takes one store")
    if weights and len(weights) > 1:
        raise SpecError("several --weights need --head; a search without a head has one model")
    _with_cosines(given, weights[0] if weights else None, device, threads)


class Wanted(NamedTuple):
    """The queries, the gallery and the outputs of a search."""

    gallery: Sequence[str]
    query: str
    topics: str
    vectors: Sequence[str]
    field: str | None
    depth: int
    tag: str
    output: str
    times: str
    allow_mismatch: bool

    def on_terminal(self) -> bool:
        """Whether the result is a table for a single query."""
        return bool(self.query) and self.output == "-" and sys.stdout.isatty()


def _with_cosines(wanted: Wanted, weights: str | None, device: str, threads: int) -> None:
    """Search by the cosines of the gallery's own vectors."""
    from avs_cli.core.device import prepare
    from avs_cli.core.search.exact import top_shots
    from avs_cli.io.store.reader import open_gallery
    from avs_cli.io.text.trec import write_run
    from avs_cli.stages import topics as _queries
    from avs_cli.stages.inputs import comparison

    with open_gallery(wanted.gallery, comparison(wanted.allow_mismatch, TERMINAL)) as shots:
        if not len(shots):
            raise MismatchError(f"{', '.join(wanted.gallery)}: no shots to search")
        store = "".join(wanted.vectors)
        asked = None
        if wanted.query:
            asked = [Topic("query", wanted.query)]
        elif wanted.topics:
            # With --vectors, a topics file selects topics of the store, whose texts are already encoded.
            asked = _queries.read(wanted.topics, "query" if store else wanted.field or "query")
        if asked and not store:
            _queries.check_pictures(asked, wanted.topics)
        place = prepare(device, threads)
        begun = time.perf_counter()
        named, queries = _queries.vectors_of(store, asked, shots, place.device, place.threads, weights, wanted.field)
        (rankings,) = top_shots([queries], shots, wanted.depth, place.threads)
        seconds = time.perf_counter() - begun
        run: Run = dict(zip(named, rankings, strict=True))
        _doubt(run, shots.provenance)
        if wanted.on_terminal():
            _show(run["query"], shots)
        else:
            tag = wanted.tag or "avs"
            write_run(_target(wanted.output, f"{tag}.run"), run, tag, wanted.depth)
        if wanted.times:
            _write_times(_target(wanted.times, f"{wanted.tag or 'avs'}.times"), named, seconds)


def _with_heads(
    wanted: Wanted,
    paths: Sequence[str],
    weights: Mapping[str, str],
    explain: str,
    missing: "Missing",
    device: str,
    threads: int,
) -> None:
    """A run per head: one goes to `--output`, several into that folder."""
    several = len(paths) > 1
    if several and wanted.output == "-":
        raise SpecError("several heads write several runs; give --output FOLDER")
    if several and wanted.times == "-":
        raise SpecError("several heads write several files of times; give --times FOLDER")
    if several and wanted.tag:
        raise SpecError("--tag names a single run; with several heads, each run has the name of its head")
    from avs_cli.core.device import prepare
    from avs_cli.io.atomic import names_folder, writing
    from avs_cli.io.store.galleries import Galleries
    from avs_cli.io.text.trec import write_run
    from avs_cli.stages import search as _heads
    from avs_cli.stages import topics as _queries
    from avs_cli.stages.inputs import comparison

    compared = comparison(wanted.allow_mismatch, TERMINAL)
    topics = [Topic("query", wanted.query)] if wanted.query else _queries.read(wanted.topics)
    _queries.check_pictures(topics, wanted.topics)
    place = prepare(device, threads)
    heads = _heads.load(paths, place.device)
    with Galleries(wanted.gallery, compared) as stores, Galleries(wanted.vectors, compared) as stored:
        field = _heads.field_of(heads, stored, wanted.field)
        asked = _heads.asked(_queries.of_field(wanted.topics, topics, field))
        shots = _heads.join(stores, heads, missing)
        written = _heads.texts_of(heads, asked, stored, place.device, place.threads, weights)
        texts = [one.vectors for one in written]
        found = _heads.search(heads, texts, asked, shots, wanted.depth, place.threads, missing)
        runs = [one.run for one in found]
        if explain:
            with writing(explain) as out:
                out.write("head\ttopic\tshot\tfeature\tweight\n")
                rows = _heads.explain(heads, texts, asked, shots, runs)
                out.writelines(f"{where}\t{topic}\t{shot}\t{name}\t{w:.6f}\n" for where, topic, shot, name, w in rows)
        if wanted.on_terminal():
            _show(runs[0]["query"], shots)
        else:
            folder = several or names_folder(wanted.output)
            for one, run in zip(heads, runs, strict=True):
                target = _target(wanted.output, f"{one.name}.run", several)
                write_run(target, run, wanted.tag or (one.name if folder else "avs"), wanted.depth)
        if wanted.times:
            ids = [topic.id for topic in topics]
            for one, encoded, made in zip(heads, written, found, strict=True):
                _write_times(_target(wanted.times, f"{one.name}.times", several), ids, encoded.seconds + made.seconds)


def _by_feature(weights: Sequence[str]) -> dict[str, str]:
    """FEATURE=PATH options as a mapping."""
    paths: dict[str, str] = {}
    for text in weights:
        name, _, path = text.partition("=")
        if not (name and path):
            raise SpecError(f"--weights {text}: with --head, expected FEATURE=PATH")
        if name in paths:
            raise SpecError(f"--weights {text}: duplicate weights for {name}")
        paths[name] = path
    return paths


def _target(path: str, name: str, folder: bool = False) -> str:
    """The path to write: `name` in the folder `path`, which is created, or the file `path`."""
    from pathlib import Path

    from avs_cli.io.atomic import names_folder

    if not (folder or names_folder(path)):
        return path
    Path(path).mkdir(parents=True, exist_ok=True)
    return str(Path(path) / name)


def _write_times(path: str, topics: Sequence[str], seconds: float) -> None:
    """Write one line per topic: its id and its equal share of the seconds."""
    from avs_cli.io.atomic import writing

    with writing(path) as out:
        out.writelines(f"{topic}\t{seconds / len(topics):.6f}\n" for topic in topics)


def _doubt(run: Run, provenance: Mapping[str, Any]) -> None:
    """Warn of topics whose results are probably irrelevant, for models with a known threshold."""
    model = str(provenance.get("spec", "")).partition(":")[0]
    if model not in DOUBTFUL:
        return
    doubtful = [topic for topic, scores in run.items() if max(scores.values(), default=1.0) < DOUBTFUL[model]]
    if doubtful:
        which = "the best shot" if [*run] == ["query"] else f"the best shot of {_named(doubtful)}"
        note(f"{which} has a cosine below {DOUBTFUL[model]} ({model}): low similarity, results may be irrelevant")


def _named(topics: Sequence[str]) -> str:
    return f"topic {few(topics, NAMED)}" if len(topics) <= NAMED else f"{len(topics)} topics ({few(topics, NAMED)})"


def _show(ranking: Mapping[str, float], gallery: "Gallery | JoinedGallery") -> None:
    """Print the top of the ranking, as far as it fits the terminal."""
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
