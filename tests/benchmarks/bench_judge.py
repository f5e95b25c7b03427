"""At which depth a judge that errs helps, SIMULATED: no model is asked. Nothing here says how often a real one errs.

A scripted judge knows the judgments of TREC-COVID's first round and takes what is not judged for irrelevant. It errs in
a given share of its verdicts, independently of the run, in one of two ways. Blunt: yes or no, where equal verdicts keep
the order of the run. Graded: log-odds that are normally distributed around one value for relevant documents and around
its negative for others, so that errors are rarer where it is surer. Of the 43 runs, each ninth by AP is reranked.
Real errors follow what is hard to see, and so may those of the run: gains with a real judge can be smaller.
"""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avs_cli.core.evaluation.evaluator import Evaluator
from avs_cli.core.judges import ShotQuestion
from avs_cli.core.search.rerankers import rerankers
from avs_cli.core.search.rerankers.candidates import Candidates, joined
from avs_cli.io.text.trec import read_qrels, read_run
from avs_cli.types import Qrels, Run, Sampling, Topic, Whole, ranked

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "trec-covid-r1"
DEPTHS = (10, 20, 50, 100, 200)
# Whether verdicts are graded, the share of errors, and --weight.
SETTINGS = [(False, error, 1.0) for error in (0.0, 0.1, 0.2, 0.3)] + [(True, error, 1.0) for error in (0.1, 0.2, 0.3)]
SETTINGS += [(True, 0.3, 0.5)]
EACH = 9
MEASURES = ("AP", "nDCG@10")


class ErringJudge:
    """A judge that knows the judgments and errs in a share of its verdicts.

    graded  whether it errs less where its log-odds are far from 0
    """

    name = "a scripted judge"
    sampling: Sampling | None = None
    pixels = Whole(32)
    provenance: Mapping[str, Any] = {"model": "script"}

    def __init__(self, qrels: Qrels, error: float, graded: bool, seed: int = 0):
        self.qrels, self.error, self.graded = qrels, error, graded
        self.draw = np.random.default_rng(seed)

    def log_odds(self, questions: Sequence[ShotQuestion]) -> np.ndarray:
        """As that of `core.judges.Judge`."""
        judgments = [self.qrels[one.topic.id].get(one.shot) for one in questions]
        truth = np.array([1.0 if judgment and judgment.relevance > 0 else -1.0 for judgment in judgments])
        if not self.graded or not self.error:
            return np.where(self.draw.random(len(truth)) < self.error, -truth, truth)
        return truth * statistics.NormalDist().inv_cdf(1 - self.error) + self.draw.normal(size=len(truth))


def reranked(run: Run, verdicts: Mapping[str, Mapping[str, float]], depth: int, weight: float) -> Run:
    """The run with its first documents in the order of these verdicts, as `avs rerank --method judge` writes it."""
    method = rerankers.load("judge")
    found: Run = {}
    for topic, scores in run.items():
        first = ranked(scores)[:depth]
        odds = np.array([verdicts[topic][shot] for shot in first])
        own = np.array([scores[shot] for shot in first])
        found[topic] = joined(scores, first, method(Candidates(first, own, verdicts=odds)), weight)
    return found


def asked(judge: ErringJudge, run: Run) -> dict[str, dict[str, float]]:
    """Its verdicts on all that it may be asked about the run."""
    found = {}
    for topic, scores in run.items():
        first = ranked(scores)[: max(DEPTHS)]
        odds = judge.log_odds([ShotQuestion(Topic(topic, topic), shot) for shot in first])
        found[topic] = dict(zip(first, odds.tolist(), strict=True))
    return found


def rows() -> Iterator[tuple[str, str, str]]:
    qrels = read_qrels(str(DATA / "qrels.covid-round1.txt"))
    evaluator = Evaluator(qrels, list(MEASURES))
    runs = {path.name: read_run(str(path)) for path in sorted((DATA / "runs").iterdir())}
    runs = {name: {topic: run[topic] for topic in run if topic in qrels} for name, run in runs.items()}
    before = {name: evaluator.evaluate(run).means for name, run in runs.items()}
    by_quality = sorted(runs, key=lambda name: before[name]["AP"], reverse=True)[::EACH]
    yield (
        f"AP and nDCG@10 of {len(by_quality)} runs of TREC-COVID, mean (best run), not reranked",
        "; ".join(
            f"{np.mean([before[name][measure] for name in by_quality]):.3f} ({before[by_quality[0]][measure]:.3f})"
            for measure in MEASURES
        ),
        "",
    )
    for graded, error, weight in SETTINGS:
        gains = np.array(
            [
                gain(evaluator, runs[name], before[name], ErringJudge(qrels, error, graded, seed), weight)
                for seed, name in enumerate(by_quality)
            ]
        )
        judge = f"SIMULATED judge, {'graded' if graded else 'blunt'}, {error:.0%} wrong, weight {weight:g}"
        for which, of_runs in (("mean gain", gains.mean(0)), ("gain of the best run", gains[0])):
            for measure, of_depths in zip(MEASURES, of_runs, strict=True):
                figure = " / ".join(f"{one:+.3f}" for one in of_depths)
                yield f"{judge}: {measure} at depth {' / '.join(map(str, DEPTHS))}, {which}", figure, ""


def gain(
    evaluator: Evaluator, run: Run, before: Mapping[str, float], judge: ErringJudge, weight: float
) -> list[list[float]]:
    """By measure and depth, what reranking gains."""
    verdicts = asked(judge, run)
    after = [evaluator.evaluate(reranked(run, verdicts, depth, weight)).means for depth in DEPTHS]
    return [[means[measure] - before[measure] for means in after] for measure in MEASURES]
