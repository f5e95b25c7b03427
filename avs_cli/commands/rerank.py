"""`avs rerank`: rerank the top shots of runs."""

from pathlib import Path
from typing import Annotated

import typer

from avs_cli import applies
from avs_cli.console import TERMINAL
from avs_cli.core.search.rerankers import rerankers
from avs_cli.errors import SpecError
from avs_cli.options import (
    AllowMismatch,
    Device,
    Engine,
    Output,
    Runs,
    Scheduler,
    Tag,
    Threads,
    Weights,
    workers_of,
)
from avs_cli.outputs import spare


def rerank(
    context: typer.Context,
    runs: Runs,
    method: Annotated[
        str, typer.Option(metavar="NAME", help=f"Reranker, as NAME or NAME:KEY=VALUE: {', '.join(rerankers.names())}.")
    ],
    gallery: Annotated[
        list[str] | None,
        typer.Option("--gallery", "-g", metavar="STORE", help="Feature store of the shots; repeatable."),
    ] = None,
    topics: Annotated[
        str,
        typer.Option(
            metavar="FILE|RANGE",
            help="Topics to rerank: a topics file, encoded with the gallery's model unless --vectors is given, or ids "
            "and ranges such as 731-750,761.",
            show_default="all",
        ),
    ] = "",
    vectors: Annotated[str, typer.Option(metavar="STORE", help="Topic vectors, from avs extract --text.")] = "",
    bank: Annotated[
        str,
        typer.Option(
            metavar="STORE", help="Query bank for hubness: vectors of other texts, such as training captions."
        ),
    ] = "",
    gallery_bank: Annotated[
        str,
        typer.Option(
            metavar="STORE",
            help="Gallery bank for hubness:kind=dbnorm and dbsn: vectors of other shots, such as training videos.",
        ),
    ] = "",
    scores: Annotated[
        str, typer.Option(metavar="FILE", help="Scores for --method scores: a run, or lines of [topic] shot score.")
    ] = "",
    qrels: Annotated[
        str, typer.Option(metavar="FILE", help="Judged shots for --method feedback: qrels, such as a page's marks.")
    ] = "",
    depth: Annotated[int, typer.Option(min=1, help="Shots reranked per topic; the others stay below them.")] = 1000,
    weight: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Interpolation weight of the reranker's score; the run's score has 1 - WEIGHT.",
            show_default="0.5; diverse 1, feedback with topics 0.75",
        ),
    ] = None,
    tag: Tag = "reranked",
    output: Output = "-",
    weights: Weights = None,
    allow_mismatch: AllowMismatch = False,
    device: Device = "auto",
    threads: Threads = 0,
    engine: Engine = "local",
    scheduler: Scheduler = "",
) -> None:
    """Rerank runs by vectors, a query bank, judged shots or external scores.

    neighbours: k-reciprocal nearest neighbours of the query (kind=reciprocal), or the number of candidates that a shot
    is a neighbour of (kind=hubs; needs no topics). hubness: penalises shots that are close to many queries of --bank
    (kind=nnn or qbnorm), and to shots of --gallery-bank (kind=dbnorm or dbsn; dbsn reads the gallery ten times).
    framemax: the best frame of a shot, for frame-level galleries. scores: scores from a file, such as those of a
    vision-language model. feedback: resemblance to the shots that --qrels judges relevant, and not to the irrelevant
    ones: Rocchio's formula (kind=rocchio, from the query where topics are given) or the nearest judged shots
    (kind=nearest). Judged shots need not be in the run; those that are come first if relevant and last if not, so an
    evaluation must leave them out. Topics without judgments keep their scores. diverse: near-duplicates of better shots
    (cosine of fold=0.9 or more) follow after all others, which are ordered by maximal marginal relevance (novelty=0.3).

    The scores of the run and of the method are min-max normalised and interpolated by --weight. Several runs are
    written to a folder under their own names.

    \b
    Examples:
      avs rerank tv22.run --method neighbours --gallery gallery.h5 --topics tv22.txt -o reranked.run
      avs rerank tv22.run --method scores --scores vlm.tsv --depth 100 --weight 0.8 -o reranked.run
      avs rerank dog.run --method feedback --qrels marks.qrels --gallery videos.h5 -o better.run
      avs rerank dog.run --method diverse:fold=0.85 --gallery videos.h5 -o varied.run
    """
    if len({Path(run).name for run in runs}) < len(runs):
        raise SpecError("two runs have the same name, and reranked runs keep their names; rename one")
    if len(runs) > 1 and output == "-":
        raise SpecError("several runs are written to a folder; give --output FOLDER")
    if (vectors or bank or gallery_bank) and not gallery:
        raise SpecError("--vectors, --bank and --gallery-bank need the shots' vectors; give --gallery STORE")
    if bool(scores) != (method.partition(":")[0] == "scores"):
        raise SpecError("--scores FILE and --method scores need each other")
    if [*runs, *(gallery or []), topics, vectors, bank, gallery_bank, scores, qrels].count("-") > 1:
        raise SpecError("- is stdin, which can be read once")
    if len(runs) > 1:
        for path in runs:
            spare(str(Path(output) / Path(path).name), runs)
    from avs_cli.core.search.rerankers.candidates import evidence_of
    from avs_cli.io.text.topics import is_topics_file
    from avs_cli.io.text.trec import read_run, write_run
    from avs_cli.stages.rerank import rerank_runs

    used = evidence_of(rerankers.load(method))
    encodes = "queries" in used and is_topics_file(topics) and not vectors
    applies.refuse(
        context,
        ("gallery" not in used, ("gallery", "allow_mismatch"), f"with --method {method}"),
        ("queries" not in used, ["vectors"], f"with --method {method}"),
        ("bank" not in used, ["bank"], f"with --method {method}"),
        ("gallery bank" not in used, ["gallery_bank"], f"with --method {method}"),
        ("qrels" not in used, ["qrels"], f"with --method {method}"),
        (not gallery, ["allow_mismatch"], "without --gallery"),
        (not encodes, ["weights", "device"], "without topics to encode"),
        (engine == "local", ["scheduler"], "without --engine dask"),
    )
    with workers_of(engine, scheduler) as cluster:
        reranked = rerank_runs(
            {path: read_run(path) for path in runs},
            gallery or [] if "gallery" in used else [],
            method=method,
            topics=topics,
            vectors=vectors if "queries" in used else "",
            bank=bank if "bank" in used else "",
            gallery_bank=gallery_bank if "gallery bank" in used else "",
            scores=scores,
            qrels=qrels if "qrels" in used else "",
            depth=depth,
            weight=weight,
            weights=weights,
            allow_mismatch=allow_mismatch,
            device=device,
            threads=threads,
            engine=cluster,
            report=TERMINAL,
        )
    if len(runs) > 1:
        Path(output).mkdir(parents=True, exist_ok=True)
    for path, run in reranked.items():
        target = output if len(runs) == 1 else str(Path(output) / Path(path).name)
        write_run(target, run, tag, max(map(len, run.values())))
