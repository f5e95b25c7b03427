"""Evaluation of runs: values per topic, means, and gaps that affect the means.

    evaluator = Evaluator(qrels, ["xinfAP", "AP", "P@10"])
    scores = evaluator.evaluate(run)
    scores.means["xinfAP"], scores.by_topic["xinfAP"]["1661"]

Measures have the names of the literature. They come from `core/measures` (`xinfAP`, `iP@100`, `RBP(p=0.8)`) or from
trec_eval through ir_measures (`AP`, `P@10`, `nDCG@20`, `R@1000`, `RR`, `Bpref`). Ties are broken alike for all.
"""

import contextlib
import functools
import itertools
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from avs_cli.core.evaluation.captions import right_first
from avs_cli.core.evaluation.measures import PLAIN, xinfap
from avs_cli.core.registry import Registry
from avs_cli.errors import MismatchError, SpecError, UnknownName, few
from avs_cli.types import Judgment, Qrels, Run, ranked

PACKAGE = "avs_cli.core.evaluation.measures"
measures = Registry("measure", PACKAGE, "score")

CUTOFFS = (10, 100, 1000)
CAPTION_MEASURES = ("R@1", "R@5", "R@10", "MedR", "MeanR", "mir", "SumR")
NIST_CUTOFFS = (5, 10, 15, 20, 30, 100, 200, 500, 1000)

_Infer = Callable[[xinfap.Inferred], float]
_Score = Callable[[list[str], Mapping[str, Judgment]], float]


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean, summed without loss."""
    return math.fsum(values) / len(values)


@dataclass(frozen=True)
class Measure:
    """A requested measure; one of `infer`, `score` and `plain` computes it.

    infer      function of the estimates of xinfap.py for a ranking
    score      function of a ranking and its judgments
    plain      the measure of ir_measures
    summary    function of the values of all topics, such as the mean
    ascending  whether lower is better
    captions   whether shots of equal score share the best of their ranks
    whole      whether judged topics that are missing from a run count as empty rankings
    """

    name: str
    infer: _Infer | None = None
    score: _Score | None = None
    plain: Any = None
    summary: Callable[[Sequence[float]], float] = mean
    ascending: bool = False
    captions: bool = False
    whole: bool = False


@dataclass(frozen=True)
class Gaps:
    """Gaps of a run that its means do not show.

    ties       number of shots whose rank among equal scores was decided by their id
    unjudged   cutoff k -> share of unjudged shots among the first k, over all topics
    missing    judged topics that the run lacks
    unknown    topics of the run without judgments
    """

    topics: int
    ties: int
    unjudged: dict[int, float]
    missing: list[str]
    unknown: list[str]

    def __str__(self) -> str:
        """A description of the gaps."""
        ties = f", {_count(self.ties, 'tie')} broken by shot id" if self.ties else ""
        return "; ".join(filter(None, [_count(self.topics, "topic") + ties, unjudged_shares([self]), self.topic_gaps]))

    @property
    def topic_gaps(self) -> str:
        """A message about missing and unjudged topics; "" if there are none."""
        missing = f"{_some('judged topic', self.missing)} missing" if self.missing else ""
        unknown = f"{_some('topic', self.unknown)} without judgments" if self.unknown else ""
        return "; ".join(filter(None, [missing, unknown]))


@dataclass(frozen=True)
class Scores:
    """The values of one run: measure -> topic -> value, measure -> mean (or sum, or median), and the gaps."""

    by_topic: dict[str, dict[str, float]]
    means: dict[str, float]
    gaps: Gaps


def unjudged_shares(gaps: Sequence[Gaps]) -> str:
    """A message about the share of unjudged shots at the top, averaged over runs; "" if all are judged."""
    shares = {cutoff: mean([one.unjudged[cutoff] for one in gaps]) for cutoff in gaps[0].unjudged}
    listed = ", ".join(f"{share:.0%} of the top {cutoff}" for cutoff, share in shares.items())
    average = " on average" if len(gaps) > 1 else ""
    return f"unjudged{average}: {listed}" if any(shares.values()) else ""


def run_notes(gaps: Mapping[str, Gaps], renamed: Mapping[str, str]) -> list[str]:
    """Messages about the gaps of runs: for one run all of them, for several the exceptions and a summary.

    gaps     run -> its gaps
    renamed  run -> message about renamed topics
    Runs with the same message share a line.
    """
    if len(gaps) == 1:
        ((run, own),) = gaps.items()
        return [f"{run}: " + "; ".join(filter(None, [renamed[run], str(own)]))]
    alike: dict[str, list[str]] = {}
    for run, own in gaps.items():
        alike.setdefault("; ".join(filter(None, [renamed[run], own.topic_gaps])), []).append(run)
    lines = []
    for sentence, runs in alike.items():
        who = runs[0] if len(runs) == 1 else f"{few(runs)} ({len(runs)} runs)"
        lines += [f"{'all runs' if len(runs) == len(gaps) else who}: {sentence}"] if sentence else []
    if mostly := [run for run, own in gaps.items() if own.unjudged[CUTOFFS[0]] > 0.5]:
        who = f"{few(mostly)} ({_count(len(mostly), 'run')})"
        lines.append(f"more than half of the top {CUTOFFS[0]} unjudged: {who}")
    every = list(gaps.values())
    least, most = min(one.topics for one in every), max(one.topics for one in every)
    topics = _count(most, "topic") if least == most else f"{least}–{most} topics"
    tied = [one.ties for one in every if one.ties]
    ties = f"{_count(sum(tied), 'tie')} broken by shot id in {_count(len(tied), 'run')}" if tied else ""
    return [*lines, "; ".join(filter(None, [f"{len(every)} runs of {topics}", ties, unjudged_shares(every)]))]


class Evaluator:
    """Evaluates runs against qrels.

    missing  judged topics that a run lacks: "skip" ignores them, as NIST's scripts do; "zero" counts them as 0
    """

    def __init__(
        self, qrels: Qrels, names: Iterable[str], missing: Literal["skip", "zero"] = "skip", captions: bool = False
    ):
        """Raises UnknownName for an unknown measure, SpecError for invalid parameters."""
        self.qrels = qrels
        self.measures = [measure_named(name, captions) for name in dict.fromkeys(names)]
        self.missing = missing
        self._samples: dict[str, xinfap.Sample] = {}

    def evaluate(self, run: Run) -> Scores:
        """Evaluate a run. Raises MismatchError if none of its topics is judged."""
        topics = [topic for topic in run if topic in self.qrels]
        absent = sorted(topic for topic in self.qrels if topic not in run)
        if not topics:
            raise MismatchError(
                f"none of its topics is judged: the run has {few(run)}, the qrels have {few(self.qrels)}"
            )
        rankings = {topic: ranked(run[topic]) for topic in topics}
        inferred = {topic: self._infer(topic, ranking) for topic, ranking in rankings.items()}
        plain = self._plain(rankings)
        by_topic: dict[str, dict[str, float]] = {}
        for measure in self.measures:
            if measure.infer:
                values = {topic: measure.infer(inferred[topic]) for topic in topics}
            elif measure.score:
                order = {t: right_first(run[t], self.qrels[t]) for t in topics} if measure.captions else rankings
                values = {topic: measure.score(order[topic], self.qrels[topic]) for topic in topics}
            else:
                values = dict(plain[measure.plain])
            if measure.whole and measure.infer:
                values |= {topic: measure.infer(self._infer(topic, [])) for topic in absent}
            elif self.missing == "zero":
                values |= dict.fromkeys(absent, float("inf") if measure.ascending else 0.0)
            by_topic[measure.name] = dict(sorted(values.items(), key=lambda pair: _natural(pair[0])))
        means = {measure.name: measure.summary(list(by_topic[measure.name].values())) for measure in self.measures}
        unjudged = {k: self._unjudged(inferred.values(), k) for k in CUTOFFS}
        ties = sum(len(scores) - len(set(scores.values())) for scores in map(run.__getitem__, topics))
        unknown = sorted(topic for topic in run if topic not in self.qrels)
        return Scores(by_topic, means, Gaps(len(topics), ties, unjudged, absent, unknown))

    def curve(self, run: Run) -> list[tuple[float, float]]:
        """Mean inferred precision at recall 0.0, 0.1, …, 1.0, as NIST draws it."""
        from avs_cli.core.evaluation.measures import iprec_rec

        inferred = [self._infer(topic, ranked(scores)) for topic, scores in run.items() if topic in self.qrels]
        return [(level, mean([iprec_rec.part(i, level) for i in inferred])) for level in iprec_rec.LEVELS]

    def _infer(self, topic: str, ranking: list[str]) -> xinfap.Inferred:
        if topic not in self._samples:
            self._samples[topic] = xinfap.sample(self.qrels[topic])
        return xinfap.infer(ranking, self.qrels[topic], self._samples[topic])

    def _plain(self, rankings: Mapping[str, list[str]]) -> dict[Any, dict[str, float]]:
        """The measures of trec_eval: measure of ir_measures -> topic -> value."""
        values: dict[Any, dict[str, float]] = {m.plain: {} for m in self.measures if m.plain is not None}
        if not values:
            return {}
        # trec_eval stores scores in single precision; ranks give it the same order as the other measures.
        run = {topic: dict(zip(r, range(len(r), 0, -1), strict=True)) for topic, r in rankings.items()}
        for topic, measure, value in self._trec_eval.iter_calc(run):
            if topic in rankings:
                values[measure][topic] = value
        return values

    @functools.cached_property
    def _trec_eval(self) -> Any:
        import ir_measures

        plain = list(dict.fromkeys(measure.plain for measure in self.measures if measure.plain is not None))
        # Most measures depend on relevant shots only; without the others, trec_eval takes half the time.
        least = 1 if all(m.NAME in _RELEVANT_ALONE and {"cutoff", "rel"} >= set(m.params) for m in plain) else -1
        relevances = {
            topic: {shot: max(relevance, -1) for shot, (relevance, _) in judgments.items() if relevance >= least}
            for topic, judgments in self.qrels.items()
        }
        # pytrec_eval skips topics without judgments, and crashes on topics whose pool is unjudged.
        for topic, found in relevances.items():
            if not any(relevance >= 0 for relevance in found.values()):
                relevances[topic] = dict.fromkeys(itertools.islice(self.qrels[topic], 1), 0)
        return ir_measures.pytrec_eval.evaluator(plain, relevances)

    @staticmethod
    def _unjudged(inferred: Iterable[xinfap.Inferred], cutoff: int) -> float:
        judged = [i.judged[:cutoff] for i in inferred]
        return 1 - sum(int(j.sum()) for j in judged) / max(sum(map(len, judged)), 1)


def usual(qrels: Qrels) -> str:
    """The default measure: xinfAP for sampled judgments, else AP."""
    kinds: set[Judgment] = set()
    for topic in qrels.values():
        kinds.update(topic.values())
        # In sampled qrels, the first topic suffices.
        if any(judgment.relevance < 0 for judgment in kinds) or len({judgment.stratum for judgment in kinds}) > 1:
            return "xinfAP"
    return "AP"


def measure_named(name: str, captions: bool = False) -> Measure:
    """The measure that `name` asks for: `xinfAP`, `iP@100`, `iP100`, `ip:k=100`, `nDCG@20`, `P(rel=2)@10` …

    captions  whether R@k is that of caption retrieval (a relevant shot among the first k) rather than recall
    """
    spec = name
    if captions and name.startswith("R@"):
        spec = f"hit@{name[2:]}"
    spec = _NIST_SPELLING.get(spec, spec)
    if spec[:2] == "iP" and spec[2:].isdigit():
        spec = f"ip@{spec[2:]}"
    if (called := _CALLED.fullmatch(spec)) and called[1].lower() in measures.names():
        # RBP(p=0.9)@20, the notation of ir_measures.
        spec = f"{called[1]}:{called[2].replace(' ', '')}" + (f",k={called[3]}" if called[3] else "")
    own, colon, rest = spec.partition(":")
    own, at, cutoff = own.partition("@")
    own = own.lower().replace("_", "-")
    if own not in measures.names():
        return Measure(name, plain=_plain_measure(name))
    spec = own + (f":{rest}" if colon else f":{cutoff}" if at else "")
    module = measures.module(own)
    common: dict[str, Any] = {
        "summary": getattr(module, "summary", mean),
        "ascending": getattr(module, "LOWER_IS_BETTER", False),
        "captions": getattr(module, "TIES_SHARE_RANKS", False),
        "whole": getattr(module, "EVERY_TOPIC", False),
    }
    if hasattr(module, "part"):
        return Measure(name, infer=Registry("measure", PACKAGE, "part").load(spec), **common)
    return Measure(name, score=measures.load(spec), **common)


_CALLED = re.compile(r"(\w+)\(([^()]*)\)(?:@(\d+))?")

# Names of the 11 points in NIST's script.
_NIST_SPELLING = {f"iprec@rec{level / 10:.2f}": f"iprec-rec@{level / 10}" for level in range(11)}


def _plain_measure(name: str) -> Any:
    """The measure of ir_measures with this name, or with that of trec_eval: map, P_10, bpref, …"""
    import ir_measures

    measure = None
    for parse in (ir_measures.parse_measure, _one_of_trec_eval):
        with contextlib.suppress(NameError, ValueError, SyntaxError, TypeError, LookupError, AttributeError):
            measure = measure or parse(name)
    if not isinstance(measure, ir_measures.Measure):
        own = (spelled for module in map(measures.module, measures.names()) for spelled in module.NAMES)
        raise UnknownName("measure", name, [*own, *PLAIN])
    try:
        supported = ir_measures.pytrec_eval.supports(measure)
    except AssertionError:  # raised by ir_measures for invalid parameters
        supported = False
    if not supported:
        raise SpecError(f"measure {name!r} is unknown to trec_eval or lacks a cutoff, as in P@10")
    # trec_eval aborts the process for a cutoff of 0 and for some that overflow its integers.
    for parameter in ("cutoff", "rel"):
        if not 1 <= measure.params.get(parameter, 1) <= _LARGEST:
            raise SpecError(f"measure {name!r}: {parameter} is not between 1 and {_LARGEST}")
    return measure


_LARGEST = 1_000_000


def _one_of_trec_eval(name: str) -> Any:
    import ir_measures

    (measure,) = ir_measures.parse_trec_measure(name)  # ValueError for a name of several measures
    return measure


_RELEVANT_ALONE = {"AP", "P", "R", "RR", "nDCG", "Rprec", "Success", "IPrec", "NumRet"}


def _natural(topic: str) -> tuple[int, str]:
    """Sorts topic 9 before topic 10."""
    return len(topic), topic


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _some(noun: str, topics: Sequence[str]) -> str:
    return _count(len(topics), noun) + (f" ({few(topics)})" if topics else "")
