"""`avs rerank`: rerank the top shots of runs."""

from pathlib import Path
from typing import Annotated

import typer

from avs_cli import applies
from avs_cli.console import TERMINAL
from avs_cli.core.judges import judges
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
    Videos,
    Weights,
    workers_of,
)
from avs_cli.outputs import Writes, spare


def rerank(
    context: typer.Context,
    runs: Runs,
    method: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help=f"Reranker, as NAME or NAME:KEY=VALUE: {', '.join(rerankers.names())}. Judges, as judge:model=NAME or "
            f"judge:model=NAME:SIZE: {', '.join(judges.names())}.",
        ),
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
        str,
        typer.Option(
            metavar="FILE",
            help="Scores for --method scores: a run, verdicts of a judge, or lines of [topic] shot score.",
        ),
    ] = "",
    qrels: Annotated[
        str, typer.Option(metavar="FILE", help="Judged shots for --method feedback: qrels, such as a page's marks.")
    ] = "",
    verdicts: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="Where --method judge keeps its verdicts and finds them again; other judges may share the file.",
        ),
        Writes((".lock",)),
    ] = "",
    budget: Annotated[
        float,
        typer.Option(
            min=0.0,
            metavar="MINUTES",
            help="Time limit of --method judge, in minutes: no batch starts that would exceed it; 0 is no limit.",
        ),
    ] = 0.0,
    videos: Videos = None,
    batch_size: Annotated[
        int, typer.Option(min=1, max=1024, help="Shots per forward pass of a judge; without influence on verdicts.")
    ] = 8,
    depth: Annotated[
        int | None,
        typer.Option(
            min=1, help="Shots reranked per topic; the others stay below them.", show_default="1000; judge 100"
        ),
    ] = None,
    weight: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Interpolation weight of the reranker's score; the run's score has 1 - WEIGHT.",
            show_default="0.5; diverse and judge 1, feedback with topics 0.75",
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
    """Rerank runs by vectors, a query bank, judged shots, a vision-language model or external scores.

    neighbours: k-reciprocal nearest neighbours of the query (kind=reciprocal), or the number of candidates that a shot
    is a neighbour of (kind=hubs; needs no topics). hubness: penalises shots that are close to many queries of --bank
    (kind=nnn or qbnorm), and to shots of --gallery-bank (kind=dbnorm or dbsn; dbsn reads the gallery ten times).
    framemax: the best frame of a shot, for frame-level galleries. scores: scores from a file, such as those of a
    vision-language model. feedback: resemblance to the shots that --qrels judges relevant, and not to the irrelevant
    ones: Rocchio's formula (kind=rocchio, from the query where topics are given) or the nearest judged shots
    (kind=nearest). Judged shots need not be in the run; those that are come first if relevant and last if not, so an
    evaluation must leave them out. Topics without judgments keep their scores. diverse: near-duplicates of better shots
    (cosine of fold=0.9 or more) follow after all others, which are ordered by maximal marginal relevance (novelty=0.3).

    judge: a vision-language model looks at frames of each shot (frames=4 of size=448 pixels, layout=frames or sheet)
    and gives the log-odds that they show what the topic asks for, by the logits of yes and no. Each verdict is a pass
    of a large network: the number of calls and the estimated time are printed, --budget ends it, and --verdicts keeps
    every one. Shots are judged rank by rank for all topics; those without a verdict follow in their order, and equal
    verdicts keep the order of the run. --method scores --scores VERDICTS.jsonl reads the verdicts on a machine without
    the model. A judge is no sure gain. In its authors' tables, Qwen3-VL-Reranker-2B is not better than the embedding
    model of its size (images 73.8 against 74.8, videos 52.1 against 53.6 on MMEB-V2), and the 8B one is (80.7 and
    55.8). Try it on judged topics: a simulated judge with errors in three of ten verdicts made a good run worse, the
    more the deeper it read, while --weight 0.5 still gained.

    The scores of the run and of the method are min-max normalised and interpolated by --weight. Several runs are
    written to a folder under their own names.

    \b
    Examples:
      avs rerank tv22.run --method neighbours --gallery gallery.h5 --topics tv22.txt -o reranked.run
      avs rerank tv22.run --method scores --scores vlm.tsv --depth 100 --weight 0.8 -o reranked.run
      avs rerank dog.run --method feedback --qrels marks.qrels --gallery videos.h5 -o better.run
      avs rerank tv22.run --method judge:model=smolvlm:500m --topics tv22.txt -g clip.h5 --verdicts v.jsonl -o b.run
    """
    if len({Path(run).name for run in runs}) < len(runs):
        raise SpecError("two runs have the same name, and reranked runs keep their names; rename one")
    if len(runs) > 1 and output == "-":
        raise SpecError("several runs are written to a folder; give --output FOLDER")
    if (vectors or bank or gallery_bank) and not gallery:
        raise SpecError("--vectors, --bank and --gallery-bank need the shots' vectors; give --gallery STORE")
    if bool(scores) != (method.partition(":")[0] == "scores"):
        raise SpecError("--scores FILE and --method scores need each other")
    if bool(verdicts) != (method.partition(":")[0] == "judge"):
        raise SpecError("--method judge and --verdicts FILE, which keeps what takes it hours, need each other")
    if [*runs, *(gallery or []), topics, vectors, bank, gallery_bank, scores, qrels].count("-") > 1:
        raise SpecError("- is stdin, which can be read once")
    if len(runs) > 1:
        for path in runs:
            spare(str(Path(output) / Path(path).name), runs)
    from avs_cli.core.search.rerankers.candidates import needs_of
    from avs_cli.io.text.topics import is_topics_file
    from avs_cli.io.text.trec import read_run, write_run
    from avs_cli.stages.rerank import Judging, rerank_runs

    used, seeing = needs_of(rerankers.load(method))
    encodes = "queries" in used and is_topics_file(topics) and not vectors
    applies.refuse(
        context,
        ("gallery" not in used and not seeing, ("gallery", "allow_mismatch"), f"with --method {method}"),
        ("gallery" not in used, ["allow_mismatch"], f"with --method {method}"),
        ("queries" not in used, ["vectors"], f"with --method {method}"),
        ("bank" not in used, ["bank"], f"with --method {method}"),
        ("gallery bank" not in used, ["gallery_bank"], f"with --method {method}"),
        ("qrels" not in used, ["qrels"], f"with --method {method}"),
        (not gallery, ["allow_mismatch"], "without --gallery"),
        (not seeing, ("budget", "videos", "batch_size"), f"with --method {method}"),
        (seeing is not None, ["engine"], f"with --method {method}"),
        (not encodes and not seeing, ["weights", "device"], "without topics to encode"),
        (engine == "local", ["scheduler"], "without --engine dask"),
    )
    with workers_of(engine, scheduler) as cluster:
        reranked = rerank_runs(
            {path: read_run(path) for path in runs},
            gallery or [] if "gallery" in used or seeing else [],
            method=method,
            topics=topics,
            vectors=vectors if "queries" in used else "",
            bank=bank if "bank" in used else "",
            gallery_bank=gallery_bank if "gallery bank" in used else "",
            scores=scores,
            qrels=qrels if "qrels" in used else "",
            judging=Judging(verdicts, budget, batch_size, videos or []) if seeing else None,
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
