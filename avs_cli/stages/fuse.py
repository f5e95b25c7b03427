"""Late fusion of runs, by a method or by a model that learns from judgments.

run = fuse(["clip.run", "blip.run"], method="rrf:k=60")
run = fuse(["clip.run", "blip.run"], method="segfuse", qrels="tv22.qrels")  # each judged topic is ranked out of fold
table = compare(["clip.run", "blip.run"], "tv22.qrels")  # all methods
table.best.method, table.rows[0].values["xinfAP"]

fuser = fit(["clip.run", "blip.run"], "tv22.qrels")
run = apply(fuser, ["later/clip.run", "later/blip.run"])

learned = learn(["clip.run", "blip.run"], "tv22.qrels")  # judged topics are ranked out of fold here too
learned.run, learned.fuser, learned.report
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from heapq import nlargest
from typing import Literal, TypeVar

from avs_cli import machine
from avs_cli.core.evaluation.evaluator import Evaluator, Scores, usual
from avs_cli.core.evaluation.measures.xinfap import DEPTH
from avs_cli.core.fusion import comparison, fitting, rank_sums
from avs_cli.core.fusion.ltr import batched, learning
from avs_cli.core.fusion.ltr import report as reports
from avs_cli.core.fusion.ltr.folds import by_year, split
from avs_cli.core.fusion.ltr.topic_matrix import pool
from avs_cli.core.fusion.methods import methods, rank_scores
from avs_cli.errors import MismatchError, SpecError, few
from avs_cli.io.atomic import writing
from avs_cli.io.forks import forked, worth
from avs_cli.io.fuser import read_fuser, write_fuser
from avs_cli.io.text.rankings import read_rankings, read_scored
from avs_cli.io.text.topics import absent_topics, align_topics, select_topics, topic_ids
from avs_cli.io.text.trec import read_qrels
from avs_cli.reporting import LOGGED, Reporter
from avs_cli.stages.inputs import FilePath, GivenRun, Paths, Runs, given_runs, path_names, selected
from avs_cli.types import Fuser, Qrels, Ranking, Run, ranked, ranking

__all__ = ["Learned", "apply", "compare", "fit", "fuse", "learn", "read_fuser", "write_fuser", "write_report"]

_Topic = TypeVar("_Topic")

Steps = Literal["auto", "1", "2"]
Second = Literal["logistic", "lambdamart"]
Folds = int | Literal["by-year"]


@dataclass(frozen=True)
class Learned:
    """The result of `learn`.

    run     the judged topics ranked out of fold and the others by `fuser`; empty unless requested
    fuser   the model fitted on all judged topics; None if neither requested nor needed
    report  weight and ablation loss of each run, and gain of each step; None unless requested
    """

    run: Run
    fuser: Fuser | None
    report: reports.LearningReport | None


def fuse(
    runs: Runs,
    method: str = "rrf",
    *,
    qrels: Paths | Qrels | None = None,
    measure: str = "",
    folds: Folds = 5,
    seed: int = 0,
    topics: str = "",
    depth: int = 1000,
    report: Reporter = LOGGED,
) -> Run:
    """The `depth` best shots of each topic by a method.

    method   a module of `core.fusion.methods`, with parameters as in "rrf:k=60" or "weighted:weights=2/1"
    qrels    judgments of some of the topics, for a method that learns from them: no topic is ranked by a model that saw
             its own judgments
    measure  the measure for weights=measure; "" for xinfAP on sampled judgments, else AP
    folds    of cross-validation over the judged topics; see `learn`
    topics   a topics file, or ids and ranges such as "731-750,761"; "" for all

    Raises SpecError for fewer than two runs, and for judgments that are missing or of no use; MismatchError for runs
    without a topic in common.
    """
    if fitting.learns(method):
        if qrels is None:
            raise SpecError(f"{method} learns from judgments, and none are given")
        return _cut(_learned_by_method(runs, method, qrels, measure, folds, seed, topics, report), depth)
    if qrels is not None:
        raise SpecError(f"{method} does not learn from judgments")
    merge = methods.load(method)
    given = _given(runs)
    files = all(run.value is None and os.path.isfile(run.where) for run in given)
    if files and hasattr(methods.module(method), "rank_scores"):
        fused = _by_ranks([run.where for run in given], method, topics, depth, report)
    else:
        fused = merge(list(_read(given, topics, report, GivenRun.read).values()))
    return _cut(fused, depth)


def compare(
    runs: Runs,
    qrels: Paths | Qrels,
    *,
    measure: str = "",
    folds: Folds = 5,
    seed: int = 0,
    threads: int = 0,
    topics: str = "",
    report: Reporter = LOGGED,
) -> comparison.MethodComparison:
    """All fusion methods on the judged topics of the runs; methods that learn are evaluated out of fold.

    measure  that ranks the methods, gives weights, and is optimised: xinfAP, AP, nDCG, nDCG@k or P@k; "" for xinfAP on
             sampled judgments, else AP

    The other parameters and the errors are those of `learn`.
    """
    by_name = _read(_given(runs), topics, report, GivenRun.read)
    judged = _judged(qrels, _topics(by_name), report)
    measure = measure or usual(judged)
    batched.parsed(measure)
    parts = _parts(judged, folds, seed)
    known = [{topic: run[topic] for topic in judged if topic in run} for run in by_name.values()]
    sampled = any(judgment.relevance < 0 for own in judged.values() for judgment in own.values())
    names = dict.fromkeys([measure, *(reports.SAMPLED if sampled else reports.WHOLE)])
    learnable = fitting.judged_runs(known, judged, measure)

    def evaluated(run: Run) -> Scores:
        return Evaluator(judged, names, "zero").evaluate(_cut(run, DEPTH))

    def tried(spec: str) -> tuple[Scores, float]:
        start = time.process_time()
        learns = fitting.learns(spec)
        run = fitting.cross_fitted(spec, known, learnable, parts) if learns else methods.load(spec)(known)
        return evaluated(run), time.process_time() - start

    specs = comparison.candidates()
    results = dict(zip(specs, forked(tried, specs), strict=True))
    learned = {spec: fitting.learns(spec) for spec in specs}
    blocks = {topic: pool([by_name[name] for name in sorted(by_name)], topic, judged[topic]) for topic in judged}
    for wanted in ("1", "2") if len(judged) - max(map(len, parts)) >= learning.LEAST else ("1",):
        start = time.process_time()
        fusers = learning.cross_fit(blocks, parts, sorted(by_name), measure, wanted, seed, threads or machine.cores())
        fuser_of = _out_of_fold(parts, fusers)
        run = {topic: learning.top_shots(fuser_of[topic], block, DEPTH) for topic, block in blocks.items()}
        took = time.process_time() - start
        results[f"--ltr --steps {wanted}"], learned[f"--ltr --steps {wanted}"] = (evaluated(run), took), True
    best = max(range(len(known)), key=lambda place: sum(learnable.values[place].values()))
    single = f"best run ({list(by_name)[best]})"
    results[single], learned[single] = (evaluated(known[best]), 0.0), False
    return comparison.compared(
        {method: scores for method, (scores, _) in results.items()},
        {method: seconds for method, (_, seconds) in results.items()},
        learned,
        single,
        Evaluator(judged, names).measures,
        len(parts),
        seed,
    )


def fit(
    runs: Runs,
    qrels: Paths | Qrels,
    *,
    measure: str = "",
    steps: Steps = "auto",
    second: Second = "logistic",
    seed: int = 0,
    threads: int = 0,
    topics: str = "",
    report: Reporter = LOGGED,
) -> Fuser:
    """The model of learning to rank, fitted on all judged topics of the runs.

    measure  the measure to optimise: xinfAP, AP, nDCG, nDCG@k or P@k; "" for xinfAP on sampled judgments, else AP
    steps    "1", one weight per run; "2", also a model that reorders the best shots; "auto", where cross-validation
             shows a gain of it
    second   the model of Step 2: logistic regression, or LambdaMART as published (XGBoost)
    threads  0 for all cores

    Raises MismatchError for judgments of none of the topics, SpecError for another measure.
    """
    found = learn(
        runs,
        qrels,
        measure=measure,
        steps=steps,
        second=second,
        seed=seed,
        threads=threads,
        topics=topics,
        fused=False,
        fitted=True,
        report=report,
    )
    assert found.fuser is not None
    return found.fuser


def apply(
    fuser: Fuser | FilePath, runs: Runs, *, topics: str = "", depth: int = 1000, report: Reporter = LOGGED
) -> Run:
    """The `depth` best shots of each topic by a fitted model, on runs of the names that it was fitted on.

    fuser  the model of `fit`, or a file that `write_fuser` wrote

    Raises MismatchError for a run that the model lacks, and for one that is missing.
    """
    by_name = _read(_given(runs), topics, report, _rankings)
    where = "the fuser" if isinstance(fuser, Fuser) else str(fuser)
    fuser = fuser if isinstance(fuser, Fuser) else read_fuser(str(fuser))
    for name in fuser.runs:
        if name not in by_name:
            raise MismatchError(f"{where} was fitted on a run named {name}, which is missing")
    for name in by_name:
        if name not in fuser.runs:
            raise MismatchError(f"{where} was not fitted on a run named {name}; remove the run or refit")
    every = _topics(by_name)
    known = [topic for topic in every if topic in fuser.topics]
    if known:
        report.note(f"{where} was fitted on {len(known)} of these {len(every)} topics, so their scores are optimistic")
    ordered = [by_name[name] for name in fuser.runs]
    fused = {}
    for topic in every:
        fused[topic] = learning.top_shots(fuser, pool(ordered, topic, {}), depth)
    return fused


def learn(
    runs: Runs,
    qrels: Paths | Qrels,
    *,
    measure: str = "",
    steps: Steps = "auto",
    second: Second = "logistic",
    folds: Folds = 5,
    seed: int = 0,
    threads: int = 0,
    topics: str = "",
    depth: int = 1000,
    fused: bool = True,
    fitted: bool = False,
    reported: bool = False,
    report: Reporter = LOGGED,
) -> Learned:
    """Fuse runs whose topics are partly judged: no topic is ranked by a model that saw its own judgments.

    folds     of cross-validation over the judged topics; "by-year" for one fold per edition of TRECVID's AVS task
    fused     whether to rank the topics
    fitted    whether to fit a model on all judged topics even if no topic needs it
    reported  whether to evaluate the steps and the runs out of fold

    The other parameters and the errors are those of `fit`.
    """
    workers = threads or machine.cores()
    by_name = _read(_given(runs), topics, report, _rankings, workers)
    every = _topics(by_name)
    judged = _judged(qrels, every, report)
    measure = measure or usual(judged)
    batched.parsed(measure)
    parts: list[list[str]] = []
    if fused or reported:
        parts = _parts(judged, folds, seed)
    # Sorted, so that the result does not depend on the order of the runs.
    named = sorted(by_name)
    needed = every if fused else list(judged)
    ordered = [by_name[name] for name in named]
    with ThreadPoolExecutor(workers) as threaded:
        pooled = threaded.map(lambda topic: pool(ordered, topic, judged.get(topic, {})), needed)
        blocks = dict(zip(needed, pooled, strict=True))
    known = {topic: blocks[topic] for topic in sorted(judged)}
    fusers = learning.cross_fit(known, parts, named, measure, steps, seed, workers, reported, second)
    out_of_fold = _out_of_fold(parts, fusers)
    others = len(blocks) - len(known)
    needs_whole = others or fitted
    whole = learning.learn(known, named, measure, steps, seed, workers, second=second) if needs_whole else None
    run = {}
    for topic, block in blocks.items() if fused else ():
        fuser = out_of_fold.get(topic) or whole
        assert fuser is not None
        run[topic] = learning.top_shots(fuser, block, depth)
    if fusers:
        report.note(
            f"{len(known)} judged topics ranked out of fold ({len(fusers)} folds, {measure}), {others} others by a "
            "model fitted on all judged topics"
        )
    _note_steps([*fusers, whole] if whole else fusers, steps, report)
    return Learned(run, whole, reports.report(known, parts, fusers, seed) if reported else None)


def write_report(path: FilePath, found: reports.LearningReport) -> None:
    """Write a report as text (.txt), JSON (.json) or figure (.svg, .png, .pdf)."""
    name = str(path)
    if name.endswith((".txt", ".json")):
        with writing(name) as out:
            out.write(reports.as_text(found) if name.endswith(".txt") else reports.as_json(found))
    else:
        from avs_cli.io.figures import write_figure

        write_figure(name, reports.figure(found))


def _given(runs: Runs) -> list[GivenRun]:
    """The runs; raises SpecError for a single one, MismatchError for two of one name."""
    given = given_runs(runs)
    if len(given) < 2:
        raise SpecError(f"fusion needs at least two runs, got only {given[0].where if given else 'none'}")
    twice = [name for name, count in Counter(run.name for run in given).items() if count > 1]
    if twice:
        raise MismatchError(f"two runs are named {twice[0]}")
    return given


def _read(
    given: Sequence[GivenRun],
    topics: str,
    report: Reporter,
    read: Callable[[GivenRun], dict[str, _Topic]],
    processes: int = 1,
) -> dict[str, dict[str, _Topic]]:
    """Name -> run with the selected topics, by `read`; raises MismatchError when no two runs share a topic."""
    several = forked(lambda run: {} if _is_empty(run.where) else read(run), given, min(processes, worth(len(given))))
    chosen = selected(several, topics, report)
    _check_topics([run.where for run in given], chosen, report)
    return {run.name: topics_of_run for run, topics_of_run in zip(given, chosen, strict=True)}


def _rankings(run: GivenRun) -> dict[str, Ranking]:
    """The rankings of a run; what is no regular file cannot be read twice."""
    if run.value is None and os.path.isfile(run.where):
        return read_scored(run.where)
    return {topic: ranking(scores) for topic, scores in run.read().items()}


def _topics(runs: Mapping[str, Mapping[str, object]]) -> list[str]:
    return list(dict.fromkeys(topic for run in runs.values() for topic in run))


def _check_topics(where: Sequence[str], runs: Sequence[Iterable[str]], report: Reporter) -> None:
    """Note the topics that some runs lack; raises MismatchError when no two runs share a topic.

    A run of texts that were found for no topic is empty, and the result is that of the others.
    """
    lists = [list(topics) for topics in runs]
    counts = Counter(topic for topics in lists for topic in topics)
    if not counts:
        raise MismatchError(f"all runs are empty, such as {where[0]}")
    for name in (name for name, topics in zip(where, lists, strict=True) if not topics):
        report.note(f"{name} is empty and changes nothing")
    lists = list(filter(None, lists))
    if len(lists) > 1 and max(counts.values()) < 2:
        raise MismatchError(f"the runs have no topic in common, such as {where[0]} and {where[1]}")
    alone = sum(count < len(lists) for count in counts.values())
    if alone:
        report.note(f"{alone} of {len(counts)} topics are missing from some of the {len(lists)} runs")


def _is_empty(path: str) -> bool:
    """Whether a run is a file without a byte, as avs search writes it where it finds nothing."""
    return os.path.isfile(path) and not os.path.getsize(path)


def _by_ranks(paths: list[str], method: str, topics: str, depth: int, report: Reporter) -> Run:
    """Fuse runs by a rank-based method; each process sums part of the runs."""
    wanted = topic_ids(topics) if topics else None
    by_rank = rank_scores.load(method)

    def summed(some: list[str]) -> tuple[list[list[str]], rank_sums.Sums]:
        rankings = [{} if _is_empty(path) else read_rankings(path) for path in some]
        have = [list(one) for one in rankings]
        if wanted is not None:
            rankings = [select_topics(one, wanted) for one in rankings]
        longest = max((len(shots) for one in rankings for shots in one.values()), default=0)
        return have, rank_sums.sums(rankings, by_rank(len(paths), longest))

    workers = worth(len(paths))
    size = -(-len(paths) // workers)
    parts = forked(summed, [paths[start : start + size] for start in range(0, len(paths), size)], workers)
    have = [topics_of_run for several, _ in parts for topics_of_run in several]
    if wanted is not None:
        if absent := absent_topics(wanted, have):
            report.note(absent)
        have = [list(select_topics(dict.fromkeys(run), wanted)) for run in have]
    _check_topics(paths, have, report)
    return rank_sums.best(rank_sums.added([total for _, total in parts]), depth)


def _learned_by_method(
    runs: Runs,
    method: str,
    qrels: Paths | Qrels,
    measure: str,
    folds: Folds,
    seed: int,
    topics: str,
    report: Reporter,
) -> Run:
    """Fuse runs by a method that learns from judgments, out of fold."""
    by_name = _read(_given(runs), topics, report, GivenRun.read)
    every = _topics(by_name)
    judged = _judged(qrels, every, report)
    measure = measure or usual(judged)
    parts = _parts(judged, folds, seed)
    several = list(by_name.values())
    fused = fitting.cross_fitted(method, several, fitting.judged_runs(several, judged, measure), parts)
    weighs = f", {measure}" if fitting.accepts_weights(method) else ""
    report.note(
        f"{len(judged)} judged topics ranked out of fold ({len(parts)} folds{weighs}), "
        f"{len(every) - len(judged)} others by a model fitted on all judged topics"
    )
    return fused


def _parts(judged: Qrels, folds: Folds, seed: int) -> list[list[str]]:
    return by_year(list(judged)) if folds == "by-year" else split(list(judged), int(folds), seed)


def _out_of_fold(parts: Sequence[Sequence[str]], fusers: Sequence[Fuser]) -> dict[str, Fuser]:
    """Topic -> the model that did not see its judgments."""
    return {topic: fuser for part, fuser in zip(parts, fusers, strict=True) for topic in part}


def _cut(run: Run, depth: int) -> Run:
    """The `depth` best shots of each topic."""
    cut = {}
    for topic, scores in run.items():
        if len(scores) > depth:
            # Shots below the last score need no order.
            last = nlargest(depth, scores.values())[-1]
            scores = {shot: score for shot, score in scores.items() if score >= last}
        cut[topic] = {shot: scores[shot] for shot in ranked(scores)[:depth]}
    return cut


def _judged(qrels: Paths | Qrels, topics: Sequence[str], report: Reporter) -> Qrels:
    """The judgments of the runs' topics, with the topic ids of the runs."""
    value = qrels if isinstance(qrels, dict) else None
    given = ["the qrels"] if isinstance(qrels, dict) else path_names(qrels)
    found: Qrels = {}
    where: dict[str, str] = {}
    theirs: dict[str, None] = {}
    for name in given:
        own, renamed = align_topics(read_qrels(name) if value is None else value, topics)
        if renamed:
            report.note(f"{name}: {renamed}")
        theirs |= dict.fromkeys(own)
        judged = [topic for topic in topics if topic in own]
        if not judged and len(given) > 1:
            report.note(f"{name} judges none of the runs' topics")
        for topic in judged:
            if topic in where:
                raise MismatchError(f"topic {topic} is judged in both {where[topic]} and {name}; give one of them")
            where[topic], found[topic] = name, own[topic]
    if not found:
        one = given[0] if len(given) == 1 else "--qrels"
        raise MismatchError(
            f"{one} judges none of the runs' topics ({few(topics)}), but {few(theirs)}: fit on runs of the judged "
            "topics with --save fuser.json, then fuse these runs with --load fuser.json"
        )
    barren = [topic for topic in found if all(one.relevance <= 0 for one in found[topic].values())]
    if len(barren) == len(found):
        raise MismatchError(
            f"{few(given)}: no shot of the runs' {len(found)} judged topics is relevant, so there is nothing to learn"
        )
    if barren:
        report.note(
            f"{len(barren)} of {len(found)} judged topics have no relevant shot and teach nothing: {few(barren)}"
        )
    return {topic: found[topic] for topic in topics if topic in found}


def _note_steps(fits: Sequence[Fuser], steps: str, report: Reporter) -> None:
    """Note the decisions on Step 2."""
    left = [fuser for fuser in fits if not fuser.mix]
    if steps == "auto" and left:
        report.note(f"Step 1 only (linear weights) in {len(left)} of {len(fits)} fits: {left[0].verdict}")
    elif steps == "auto" and fits:
        report.note(f"Steps 1 and 2 in {len(fits)} of {len(fits)} fits: {fits[-1].verdict}")
