"""`avs search`: rank the shots of a gallery for queries, as a run or, for one query, as a table."""

import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from avs_cli import applies
from avs_cli.console import TERMINAL, table
from avs_cli.errors import SpecError
from avs_cli.options import AllowMismatch, Depth, Device, Engine, Scheduler, Threads, workers_of
from avs_cli.outputs import WRITES

if TYPE_CHECKING:
    from avs_cli.core.search.confidence import Confidence
    from avs_cli.io.store.galleries import JoinedGallery
    from avs_cli.io.store.reader import Gallery
    from avs_cli.io.store.texts import TextGallery
    from avs_cli.stages.search import FeatureWeight
    from avs_cli.stages.topic_texts import Topics

# What has no effect on features of texts.
OF_VECTORS = ("vectors", "negation", "confidence", "weights", "device", "threads", "engine", "scheduler")

Galleries = Annotated[
    list[str],
    typer.Argument(
        metavar="GALLERY...",
        help="Feature stores, searched as one gallery: FILE or FILE::FEATURE. Without --head, all of the same feature "
        "of vectors, and any features of texts; with --head, stores of the head's features, or of its vectors (avs "
        "extract --head).",
    ),
]


def search(
    context: typer.Context,
    gallery: Galleries,
    query: Annotated[
        str,
        typer.Option(
            "--query",
            "-q",
            metavar="TEXT|PICTURE",
            help="A single query: a sentence, one with structure (see above), or the path of an example image.",
        ),
    ] = "",
    then: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT|PICTURE",
            help="What follows in the same video, as > in a query; repeatable, for longer sequences.",
        ),
    ] = None,
    within: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=0.0,
            help="Time from the end of a shot to the start of the one of --then, at most, as < in a query.",
        ),
    ] = 30.0,
    like: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SHOT",
            help="Shot of the gallery to search with, alone or beside --query, as like: in a query; repeatable.",
        ),
    ] = None,
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
    negation: Annotated[
        Literal["subtract", "deo", "sentence"],
        typer.Option(
            help="For X -Y, subtract the score of Y, optimize the vector of X away from that of Y (deo), or search for "
            "the sentence X without Y, for heads that were trained with negated captions."
        ),
    ] = "subtract",
    missing: Annotated[
        Literal["error", "skip", "zero"] | None,
        typer.Option(
            help="Shots that lack some of a head's features: report an error, skip them, or use zero vectors.",
            show_default="error",
        ),
    ] = None,
    depth: Depth = 1000,
    at_least: Annotated[
        float | None,
        typer.Option(
            metavar="P",
            min=0.0,
            max=1.0,
            help="Leave out shots of a confidence below P, from 0 to 1; of texts, shots with a smaller share of the "
            "query's words, weighted by how rare they are.",
            show_default="0; of texts, 0.8, or 0.5 with --ngrams",
        ),
    ] = None,
    ngrams: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            max=9,
            help="In texts, match pieces of words of N characters, which tolerates errors of OCR and endings of words; "
            "0 matches whole words.",
        ),
    ] = 0,
    confidence: Annotated[
        str,
        typer.Option(metavar="FILE", help="Write a run whose scores are confidences, for avs view --confidence."),
        WRITES,
    ] = "",
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
    engine: Engine = "local",
    scheduler: Scheduler = "",
) -> None:
    """Rank the shots of a gallery for a query or for each topic of a file.

    Search is exact. Scores are cosine similarities (of a shot with several vectors, the maximum); ties are broken by
    descending shot id. The result of --query on a terminal is a table, any other a run. With several heads, the gallery
    is read once. Topics are processed as one batch: the time of a topic in --times is the wall time of the batch
    (loading the text models, encoding, the head's part of the search) divided by the number of topics.

    With --head, a store of the head's vectors (avs extract --head) may stand for those of its features: a score is then
    one dot product per shot, and differs by what the vectors were rounded.

    Features of texts (subtitles, OCR, speech) are ranked by BM25: words of the query in any order, and "phrases" in
    double quotes, which a shot must have word for word: quote what is written or said in a longer description. Words
    are compared in Unicode's NFKC_Casefold; Chinese, Japanese, Korean, Thai, Lao, Khmer and Burmese by characters and
    pairs of them. A topic may have no shots; this is noted, and avs fuse then ranks it by the other runs alone. How
    rare a word is depends on the whole gallery, so parts of it cannot be searched apart. Several features, of texts or
    one of vectors, write FEATURE.run each into a folder.

    Queries, also those of a topics file, may have structure (avs-formats(7), QUERIES): X -Y is X without Y, X +Z ^0.5
    adds a sentence with a weight, like:NAME is an example (a shot of the gallery or an image), and A > B < 20s finds a
    shot of A that one of B follows in the same video within 20 seconds.

    Examples are compared by the stored vectors of shots, which needs no model. Beside a sentence, the query moves
    towards these shots by Rocchio's formula, as in avs rerank --method feedback. They are left out of the result.

    In a sequence, a shot is found where one of the next step starts later in the same video, at most so many seconds
    after the first one's end; its score is the sum of its cosine and the highest of those that follow. All shots of
    the gallery are considered, and the run ranks those of the first step.

    A confidence is the estimated probability that a shot shows what the query says, or something close to it: by how
    much its cosine exceeds what other sentences find in the same gallery, calibrated on photos with captions, for
    lite. For other models it is the share of these sentences for which the gallery has nothing as close. The table
    shows the probability for galleries of up to 50,000 shots, and a note names queries where it is below one half for
    the best shot.

    Parts of a gallery may be searched apart, also with heads: avs fuse --method merge joins their runs to the run over
    all of it, byte for byte.

    \b
    Examples:
      avs search gallery.h5 --topics tv22.txt --tag clip -o tv22.run
      avs search gallery.h5 words.h5 --topics tv22.txt -o runs/
      avs search videos.h5 --query 'a dog runs -people > it jumps into water < 20s'
      avs search laff.h5 --head laff.safetensors --topics tv22.txt -o laff.run
    """
    if sum(map(bool, (query, topics))) > 1 or not (query or topics or vectors or like):
        raise SpecError("search needs one of --query TEXT, --like SHOT, --topics FILE and --vectors STORE")
    if like and (topics or vectors):
        raise SpecError("--like SHOT goes alone or with --query TEXT")
    if query and vectors:
        raise SpecError("--vectors contains topic vectors and cannot be combined with --query")
    if then and not query:
        raise SpecError("--then TEXT follows a --query TEXT")
    if then and not all(map(str.strip, then)):
        raise SpecError("--then is empty; give what is to follow")
    shown = bool(query or like) and output == "-" and sys.stdout.isatty()
    applies.refuse(
        context,
        (bool(query or like), ["field"], f"with --{'query' if query else 'like'}; it selects a text of --topics"),
        (bool(head), ["like"], "with --head; search a store of its vectors (avs extract --head) by --like alone"),
        (not then, ["within"], "without --then"),
        (bool(then), ("at_least", "confidence", "explain"), "with --then"),
        (bool(like), ("at_least", "confidence"), "with --like: confidences are those of sentences"),
        (bool(like) and not query, ("weights", "device"), "with --like alone, which needs no model"),
        (shown, ["tag"], "on a table; give --output FILE"),
        (not head, ("explain", "missing"), "without --head"),
        (bool(head), ("at_least", "confidence"), "with --head: confidences are those of cosines"),
        (
            bool(vectors) and not (head or at_least or confidence),
            ("weights", "device"),
            "with --vectors, which are encoded already",
        ),
        (bool(vectors), ["negation"], "with --vectors, which are encoded already"),
        (engine == "local", ["scheduler"], "without --engine dask"),
    )
    if [*gallery, topics, *(vectors or [])].count("-") > 1:
        raise SpecError("- is stdin, which can be read once")
    texts: dict[str, list[str]] = {}
    if not head:
        from avs_cli.stages.search_words import by_feature

        texts, vectored = by_feature(gallery)
        gallery = vectored if texts else gallery
    alone = bool(texts) and not gallery
    applies.refuse(
        context,
        (not texts, ["ngrams"], "without a feature of texts"),
        (bool(texts), ("like", "then"), "on a feature of texts"),
        (alone, OF_VECTORS, "on features of texts"),
    )
    several_features = len(texts) + bool(gallery) > 1
    if [output, times, explain, confidence].count("-") > 1:
        raise SpecError("- is stdout, which takes one of --output, --times, --explain and --confidence")
    wanted: Topics = {"query": query} if query else topics
    if then:
        from avs_cli.stages.topic_texts import followed

        wanted = [followed(query, then, within, negation)]
    if query:
        field = None
    if texts:
        from avs_cli.core.search.queries import words_of
        from avs_cli.io.atomic import names_folder

        if not wanted:
            raise SpecError("features of texts need words to search for; give --topics FILE or --query TEXT")
        if several_features and not names_folder(output):
            raise SpecError("several features write several runs; give --output FOLDER (existing, or with a final /)")
        if several_features and tag:
            raise SpecError("--tag names a single run; with several features, each run has the name of its feature")
        if several_features and topics == "-":
            raise SpecError("--topics - is stdin, which can be read once, and there are several features to search")
        sought = words_of(query) if query else ""
        _search_texts(
            texts,
            wanted,
            sought,
            field,
            depth,
            at_least,
            ngrams,
            allow_mismatch,
            output,
            times,
            tag,
            several_features,
            shown,
        )
        if alone:
            return
    at_least = at_least or 0.0
    if head:
        if not wanted:
            raise SpecError("--head needs text; give --topics FILE or --query TEXT")
        several = len(head) > 1
        if several and output == "-":
            raise SpecError("several heads write several runs; give --output FOLDER")
        if several and times == "-":
            raise SpecError("several heads write several files of times; give --times FOLDER")
        if several and tag:
            raise SpecError("--tag names a single run; with several heads, each run has the name of its head")
        checkpoints = _by_feature(weights or [])
        from avs_cli.io.atomic import names_folder
        from avs_cli.io.text.trec import write_run
        from avs_cli.stages.search import searching_heads

        with (
            workers_of(engine, scheduler, device=device) as cluster,
            searching_heads(
                gallery,
                wanted,
                head,
                vectors=vectors or [],
                weights=checkpoints,
                field=field,
                negation=negation if not vectors else "subtract",
                missing=missing or "error",
                depth=depth,
                allow_mismatch=allow_mismatch,
                device=device,
                threads=threads,
                engine=cluster,
                report=TERMINAL,
            ) as of_heads,
        ):
            if explain:
                _write_weights(explain, of_heads.explanation())
            folder = several or names_folder(output)
            for name, (run, seconds) in of_heads.runs.items():
                if shown:
                    _show(run["query"], of_heads.gallery)
                else:
                    write_run(_target(output, f"{name}.run", several), run, tag or (name if folder else "avs"), depth)
                if times:
                    _write_times(_target(times, f"{name}.times", several), [*run], seconds)
        return
    if vectors and len(vectors) > 1:
        raise SpecError("several --vectors need --head; a search without a head takes one store")
    if weights and len(weights) > 1:
        raise SpecError("several --weights need --head; a search without a head has one model")
    from avs_cli.io.text.trec import write_run
    from avs_cli.stages.search import searching

    with (
        workers_of(engine, scheduler) as cluster,
        searching(
            gallery,
            wanted or None,
            vectors="".join(vectors or []),
            weights=weights[0] if weights else None,
            field=field,
            negation=negation if not vectors else "subtract",
            like=like or [],
            depth=depth,
            at_least=at_least,
            confidence="always" if confidence else "cheap" if shown and not then else "never",
            allow_mismatch=allow_mismatch,
            device=device,
            threads=threads,
            engine=cluster,
            report=TERMINAL,
        ) as found,
    ):
        tag = tag or (found.gallery.feature if several_features else "avs")
        run = found.run
        if confidence and found.confidence:
            write_run(confidence, found.confidence.of_run(found.run), tag, depth)
        if shown:
            _show(run["query"], found.gallery, found.confidence)
        else:
            write_run(_target(output, f"{tag}.run"), run, tag, depth)
        if times:
            _write_times(_target(times, f"{tag}.times"), [*run], found.seconds)


def _search_texts(
    texts: Mapping[str, list[str]],
    wanted: "Topics",
    query: str,
    field: Literal["query", "narrative", "both"] | None,
    depth: int,
    at_least: float | None,
    ngrams: int,
    allow_mismatch: bool,
    output: str,
    times: str,
    tag: str,
    several: bool,
    shown: bool,
) -> None:
    """Search each feature of texts, and write its run or print its table."""
    from avs_cli.io.text.trec import write_run
    from avs_cli.stages.search_words import excerpt, searching_words

    for feature, names in texts.items():
        name = feature if several else tag or "avs"
        with searching_words(
            names,
            wanted,
            field=field,
            depth=depth,
            at_least=at_least,
            ngrams=ngrams,
            allow_mismatch=allow_mismatch,
            report=TERMINAL,
        ) as found:
            if shown:
                pieces = found.gallery.some_pieces([*found.run["query"]])
                words = {id: excerpt(own, query, ngrams) for id, own in pieces.items()}
                _show(found.run["query"], found.gallery, words=words)
            else:
                write_run(_target(output, f"{name}.run"), found.run, name, depth)
            if times:
                _write_times(_target(times, f"{name}.times"), [*found.run], found.seconds)


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


def _write_weights(path: str, weights: "Iterable[FeatureWeight]") -> None:
    """Write one line per weight of a feature, below a header."""
    from avs_cli.io.atomic import writing

    with writing(path) as out:
        out.write("head\ttopic\tshot\tfeature\tweight\n")
        out.writelines(f"{one.head}\t{one.topic}\t{one.shot}\t{one.feature}\t{one.weight:.6f}\n" for one in weights)


def _write_times(path: str, topics: Sequence[str], seconds: float) -> None:
    """Write one line per topic: its id and its equal share of the seconds."""
    from avs_cli.io.atomic import writing

    with writing(path) as out:
        out.writelines(f"{topic}\t{seconds / len(topics):.6f}\n" for topic in topics)


def _show(
    ranking: Mapping[str, float],
    gallery: "Gallery | JoinedGallery | TextGallery",
    confidence: "Confidence | None" = None,
    words: Mapping[str, str] | None = None,
) -> None:
    """Print the top of the ranking, as far as it fits the terminal, with confidences or words where they are known."""
    sure = confidence.of_run({"": dict(ranking)})[""] if confidence else {}
    rows: list[Iterable[object]] = []
    best = list(ranking.items())[: max(5, shutil.get_terminal_size().lines - 6)]
    shots = gallery.some_shots([id for id, _ in best])
    for rank, (id, score) in enumerate(best, start=1):
        shot = shots.get(id)
        when = f"{_clock(shot.start)}-{_clock(shot.end)}" if shot and shot.end > shot.start else ""
        percent = (f"{sure[id]:.0%}",) if sure else () if words is None else (words.get(id, ""),)
        rows.append((rank, id, shot.video if shot else "", when, f"{score:.3f}", *percent))
    last = () if confidence is None else ("confidence" if confidence.calibration else "against chance",)
    last = last if words is None else ("text",)
    table(("rank", "shot", "video", "time", "score", *(last if rows else ())), rows)


def _clock(seconds: float) -> str:
    minutes, tenths = divmod(round(seconds * 10), 600)
    hours, minutes = divmod(minutes, 60)
    rest = f"{tenths / 10:04.1f}"
    return f"{hours}:{minutes:02d}:{rest}" if hours else f"{minutes}:{rest}"
