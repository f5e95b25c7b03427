"""`avs rerank`: rerank the top shots of runs."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from avs_cli import applies
from avs_cli.console import TERMINAL, note
from avs_cli.core.search.rerankers import rerankers
from avs_cli.errors import MismatchError, SpecError, few
from avs_cli.options import AllowMismatch, Device, Output, Runs, Tag, Threads, Weights
from avs_cli.outputs import spare
from avs_cli.types import Run, ranked

if TYPE_CHECKING:
    import numpy as np

    from avs_cli.core.search.rerankers.candidates import Bank, Candidates
    from avs_cli.io.store.reader import Gallery


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
    scores: Annotated[
        str, typer.Option(metavar="FILE", help="Scores for --method scores: a run, or lines of [topic] shot score.")
    ] = "",
    depth: Annotated[int, typer.Option(min=1, help="Shots reranked per topic; the others stay below them.")] = 1000,
    weight: Annotated[
        float,
        typer.Option(
            min=0.0, max=1.0, help="Interpolation weight of the reranker's score; the run's score has 1 - WEIGHT."
        ),
    ] = 0.5,
    tag: Tag = "reranked",
    output: Output = "-",
    weights: Weights = None,
    allow_mismatch: AllowMismatch = False,
    device: Device = "auto",
    threads: Threads = 0,
) -> None:
    """Rerank runs by vectors, a query bank or external scores.

    neighbours: k-reciprocal nearest neighbours of the query (kind=reciprocal), or the number of candidates that a shot
    is a neighbour of (kind=hubs; needs no topics). hubness: penalises shots that are close to many queries of --bank.
    framemax: the best frame of a shot, for frame-level galleries. scores: scores from a file, such as those of a
    vision-language model. The scores of the run and of the method are min-max normalised and interpolated by --weight.
    Several runs are written to a folder under their own names.

    \b
    Examples:
      avs rerank tv22.run --method neighbours --gallery gallery.h5 --topics tv22.txt -o reranked.run
      avs rerank tv22.run --method scores --scores vlm.tsv --depth 100 --weight 0.8 -o reranked.run
    """
    if len({Path(run).name for run in runs}) < len(runs):
        raise SpecError("two runs have the same name, and reranked runs keep their names; rename one")
    if len(runs) > 1 and output == "-":
        raise SpecError("several runs are written to a folder; give --output FOLDER")
    if (vectors or bank) and not gallery:
        raise SpecError("--vectors and --bank need the shots' vectors; give --gallery STORE")
    if bool(scores) != (method.partition(":")[0] == "scores"):
        raise SpecError("--scores FILE and --method scores need each other")
    if [*runs, *(gallery or []), topics, vectors, bank, scores].count("-") > 1:
        raise SpecError("- is stdin, which can be read once")
    if len(runs) > 1:
        for path in runs:
            spare(str(Path(output) / Path(path).name), runs)
    method_of = rerankers.load(method)
    from avs_cli.core.device import prepare
    from avs_cli.core.search.rerankers.candidates import evidence_of
    from avs_cli.io.store.reader import open_gallery
    from avs_cli.io.text.scores import read_verdicts
    from avs_cli.io.text.topics import is_topics_file
    from avs_cli.io.text.trec import read_run, write_run
    from avs_cli.stages.inputs import comparison

    looks_at = evidence_of(method_of)
    asked = topics if "queries" in looks_at and is_topics_file(topics) and not vectors else ""
    applies.refuse(
        context,
        ("gallery" not in looks_at, ("gallery", "allow_mismatch"), f"with --method {method}"),
        ("queries" not in looks_at, ["vectors"], f"with --method {method}"),
        ("bank" not in looks_at, ["bank"], f"with --method {method}"),
        (not gallery, ["allow_mismatch"], "without --gallery"),
        (not asked, ["weights", "device"], "without topics to encode"),
    )
    gallery, bank = gallery if "gallery" in looks_at else None, bank if "bank" in looks_at else ""
    vectors = vectors if "queries" in looks_at else ""
    place = prepare(device, threads)
    given = _selected({path: read_run(path) for path in runs}, topics)
    with ExitStack() as stack:
        shots = stack.enter_context(open_gallery(gallery, comparison(allow_mismatch, TERMINAL))) if gallery else None
        evidence = _Evidence(
            shots,
            _queries_of(asked, vectors, shots, place.device, place.threads, weights) if shots is not None else {},
            _bank(bank, shots, place.threads) if bank and shots is not None else None,
            read_verdicts(scores) if scores else None,
        )
        made = {path: _again(path, run, method_of, evidence, depth, weight) for path, run in given.items()}
    if len(made) == 1:
        write_run(output, made[runs[0]], tag, _longest(made[runs[0]]))
        return
    Path(output).mkdir(parents=True, exist_ok=True)
    for path, run in made.items():
        write_run(str(Path(output) / Path(path).name), run, tag, _longest(run))


def _selected(runs: dict[str, Run], topics: str) -> dict[str, Run]:
    """The runs with the topics to rerank; raises MismatchError for a run that has none of them."""
    from avs_cli.stages.inputs import selected

    chosen = dict(zip(runs, selected(list(runs.values()), topics, TERMINAL), strict=True))
    for path, run in chosen.items():
        if not run:
            raise MismatchError(f"{path} has none of the topics that --topics selects; leave it out")
    left = len({topic for path, run in runs.items() for topic in run.keys() - chosen[path].keys()})
    if left:
        note(f"left out {left} topic{'s' * (left > 1)} of the runs, which --topics does not select")
    return chosen


class _Evidence(NamedTuple):
    """The evidence for reranking.

    queries   topic -> (D,)
    verdicts  topic -> shot -> score; the topic "" stands for all
    """

    shots: "Gallery | None"
    queries: "Mapping[str, np.ndarray]"
    bank: "Bank | None"
    verdicts: Run | None


def _again(
    path: str, run: Run, method_of: "Callable[[Candidates], np.ndarray]", evidence: _Evidence, depth: int, weight: float
) -> Run:
    """One run, reranked."""
    from avs_cli.core.search.rerankers.candidates import joined
    from avs_cli.io.text.topics import align_topics

    queries, told = align_topics(evidence.queries, run)
    verdicts = align_topics(evidence.verdicts, run)[0] if evidence.verdicts else {}
    if told:
        note(told)
    if lost := [topic for topic in run if queries and topic not in queries]:
        raise MismatchError(f"{path}: no query for {len(lost)} of its topics: {few(lost)}")
    places = _places(evidence.shots, path, {shot for scores in run.values() for shot in ranked(scores)[:depth]})
    again: Run = {}
    without = 0
    for topic, scores in run.items():
        best = ranked(scores)[:depth]
        chosen = best
        if evidence.verdicts is not None:
            mine = verdicts.get("", {}) | verdicts.get(topic, {})
            chosen = [shot for shot in best if shot in mine]
            without += len(best) - len(chosen)
        again[topic] = dict(scores)
        if chosen:
            candidates = _candidates(chosen, scores, queries.get(topic), evidence, places, mine if verdicts else None)
            again[topic] = joined(scores, chosen, method_of(candidates), weight)
    if without:
        note(f"{path}: {without} shots have no score in --scores and stay below those that have one")
    return again


def _candidates(
    shots: Sequence[str],
    scores: Mapping[str, float],
    query: "np.ndarray | None",
    evidence: _Evidence,
    places: Mapping[str, int],
    verdicts: Mapping[str, float] | None,
) -> "Candidates":
    import numpy as np

    from avs_cli.core.search.rerankers.candidates import Candidates

    return Candidates(
        shots,
        np.array([scores[shot] for shot in shots]),
        evidence.shots.take(np.array([places[shot] for shot in shots], np.int64))
        if evidence.shots is not None
        else None,
        query,
        evidence.bank,
        np.array([verdicts[shot] for shot in shots]) if verdicts is not None else None,
    )


def _places(shots: "Gallery | None", path: str, wanted: set[str]) -> dict[str, int]:
    """Shot -> its row in the gallery; raises MismatchError for shots that the gallery lacks."""
    if shots is None:
        return {}
    places = {id: place for place, id in enumerate(shots.ids) if id in wanted}
    if lost := sorted(wanted - places.keys()):
        raise MismatchError(f"the gallery lacks {len(lost)} of the shots of {path}: {few(lost)}")
    return places


def _queries_of(
    topics: str, vectors: str, shots: "Gallery", device: str, threads: int, weights: str | None
) -> "dict[str, np.ndarray]":
    """Topic -> its vector; none when no topics are given."""
    if not (topics or vectors):
        return {}
    from avs_cli.stages import topics as _queries

    asked = _queries.read(topics) if topics else None
    _queries.check_pictures(asked or [], topics)
    return dict(zip(*_queries.vectors_of(vectors, asked, shots, device, threads, weights), strict=True))


def _bank(name: str, shots: "Gallery", threads: int) -> "Bank":
    """The query bank; its top shots are computed on demand."""
    from functools import cache

    from avs_cli.core.search.exact import top_shots
    from avs_cli.core.search.rerankers.candidates import Bank
    from avs_cli.stages import topics as _queries

    _, vectors = _queries.vectors_of(name, None, shots)

    @cache
    def favourites() -> frozenset[str]:
        (best,) = top_shots([vectors], shots, 1, threads)
        return frozenset(shot for ranking in best for shot in ranking)

    return Bank(vectors, favourites)


def _longest(run: Run) -> int:
    return max(map(len, run.values()))
