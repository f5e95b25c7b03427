"""Late fusion by learning to rank; a topic is never ranked by a model fitted on its own judgments.

Step 1 gives each run a weight (run_weights.py). Step 2 reorders Step 1's best shots, where most are judged, by
logistic regression (logistic.py) or LambdaMART (lambdamart.py); the two scores are standardised and interpolated, with
a share chosen by cross-validation within the training topics. Without a gain greater than its standard error, only
Step 1 is used, unless the caller requests Step 2.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from avs_cli.core.evaluation.measures.xinfap import DEPTH
from avs_cli.core.fusion.ltr import run_weights, step_2
from avs_cli.core.fusion.ltr.batched import UNPOOLED, BatchedMeasure
from avs_cli.core.fusion.ltr.topic_matrix import TopicMatrix, best_first
from avs_cli.errors import MismatchError
from avs_cli.types import Fuser

MIXES = (0.25, 0.5, 0.75)
INNER = 3
# Minimum number of topics to estimate the generalisation of Step 2.
LEAST = 2 * INNER


def steps(fuser: Fuser, block: TopicMatrix) -> tuple[np.ndarray, np.ndarray]:
    """(N,) scores of the shots of a topic by Step 1, and by both steps."""
    step1 = _weighed(fuser.weights, block, fuser.kind)
    if not fuser.mix or not len(step1):
        return step1, step1
    best = best_first(step1)[: fuser.reach]
    second = step_2.predict(fuser, step_2.features(block, step1, best))
    return step1, _mixed(step1, best, second, fuser.mix)


def learn(
    blocks: Mapping[str, TopicMatrix],
    runs: Sequence[str],
    measure: str,
    wanted: str,
    seed: int,
    threads: int = 1,
    keep: bool = False,
    second: str = "logistic",
) -> Fuser:
    """A fuser from judged topics.

    wanted  the steps: "1", "2", or "auto" for Step 2 where cross-validation shows a gain
    second  the model of Step 2, "logistic" or "lambdamart"
    keep    keep the model of Step 2 even if "auto" does not use it (`Fuser.trial`)

    With fewer than `LEAST` topics "auto" uses Step 1 only, and "2" raises MismatchError. Raises SpecError for a
    measure that cannot be optimised.
    """
    training = list(blocks.values())
    judge = BatchedMeasure(measure, training)
    found = run_weights.learn(training, judge, seed)
    step1 = Fuser(tuple(runs), measure, found.kind, tuple(found.weights.tolist()), topics=tuple(blocks))
    if wanted == "1":
        return replace(step1, verdict="Step 1 requested")
    if len(blocks) < LEAST:
        few = f"{len(blocks)} training topics are too few for Step 2, which needs at least {LEAST}"
        if wanted == "2":
            raise MismatchError(few)
        return replace(step1, verdict=few)
    return _second_step(step1, training, judge, found.left_out, wanted, seed, threads, keep, second)


def cross_fit(
    blocks: Mapping[str, TopicMatrix],
    folds: Sequence[Sequence[str]],
    runs: Sequence[str],
    measure: str,
    wanted: str,
    seed: int,
    threads: int = 1,
    keep: bool = False,
    second: str = "logistic",
) -> list[Fuser]:
    """For each fold, a fuser trained on the topics of the other folds; see `learn`."""

    def fit(fold: Sequence[str]) -> Fuser:
        others = {topic: block for topic, block in blocks.items() if topic not in fold}
        return learn(others, runs, measure, wanted, seed, keep=keep, second=second)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(fit, folds))


def with_both(fuser: Fuser) -> Fuser:
    """The fuser with Step 2, even if cross-validation rejected it, if its model was kept."""
    return replace(fuser, mix=fuser.mix or fuser.trial)


def top_shots(fuser: Fuser, block: TopicMatrix, depth: int) -> dict[str, float]:
    """The top `depth` shots of a topic by all steps of a fuser, as in a run."""
    return as_scores(block, steps(fuser, block)[1], depth)


def as_scores(block: TopicMatrix, scores: np.ndarray, depth: int) -> dict[str, float]:
    """The top `depth` shots of a topic by (N,) scores, as in a run."""
    return {block.shots[place]: float(scores[place]) for place in best_first(scores)[:depth]}


def _second_step(
    step1: Fuser,
    blocks: Sequence[TopicMatrix],
    judge: BatchedMeasure,
    left_out: np.ndarray,
    wanted: str,
    seed: int,
    threads: int,
    keep: bool,
    model: str,
) -> Fuser:
    """Train Step 2 on the scores of Step 1 with its out-of-sample weights `left_out`, (T, R)."""
    scores = [_weighed(w, block, step1.kind) for w, block in zip(left_out, blocks, strict=True)]
    codes = [judge.coded(block) for block in blocks]
    orders = [best_first(score) for score in scores]
    # xinfAP infers the relevance of pooled shots without a judgment; for the other measures they are not relevant.
    known = np.arange(len(judge.relevance)) != UNPOOLED if judge.kind == "xinfAP" else judge.relevance >= 0
    reach = step_2.reach([known[code[order]] for code, order in zip(codes, orders, strict=True)])
    tables, labels = [], []
    for block, score, code in zip(blocks, scores, codes, strict=True):
        places = np.flatnonzero(judge.relevance[code] >= 0)
        tables.append(step_2.features(block, score, places))
        labels.append(judge.relevance[code[places]])
    gains = np.zeros((len(MIXES), len(blocks)))
    part = np.random.default_rng(seed).permutation(len(blocks)) % INNER
    for number in range(INNER):
        seen = np.flatnonzero(part != number)
        fuser = step_2.fit(step1, model, [tables[t] for t in seen], [labels[t] for t in seen], seed)
        for topic in np.flatnonzero(part == number).tolist():
            score, order = scores[topic], orders[topic]
            best = order[:reach]
            second = step_2.predict(fuser, step_2.features(blocks[topic], score, best))
            ways = [order, *(best_first(_mixed(score, best, second, mix)) for mix in MIXES)]
            ranked = np.stack([codes[topic][way[:DEPTH]] for way in ways])
            values = judge.values(ranked, np.full(len(ways), topic))
            gains[:, topic] = values[1:] - values[0]
    means, errors = gains.mean(axis=1), gains.std(axis=1, ddof=1) / np.sqrt(len(blocks))
    chosen = int(means.argmax())
    gain, error = float(means[chosen]), float(errors[chosen])
    helps = gain > error
    verdict = f"{gain:+.4f} {step1.measure} on training topics, standard error {error:.4f}"
    verdict = f"Step 2 {'helps' if helps else 'gave no gain beyond its standard error'} ({verdict})"
    if wanted == "2":
        verdict = f"requested; {verdict}"
    taken = helps or wanted == "2"
    return replace(
        step_2.fit(step1, model, tables, labels, seed, threads) if taken or keep else step1,
        mix=MIXES[chosen] if taken else 0.0,
        reach=reach,
        verdict=verdict,
        trial=MIXES[chosen] if keep and not taken else 0.0,
    )


def _weighed(weights: Sequence[float] | np.ndarray, block: TopicMatrix, kind: str) -> np.ndarray:
    """(N,) float64 weighted sums of the runs, added one by one in a fixed order."""
    total = np.zeros(len(block.shots))
    for weight, evidence in zip(weights, block.evidence(kind), strict=True):
        if weight:
            total += weight * evidence
    return total


def _mixed(step1: np.ndarray, best: np.ndarray, second: np.ndarray, mix: float) -> np.ndarray:
    """(N,) scores: standardised scores of both steps for the shots `best`; then the others in the order of Step 1.

    best    (P,) indices of the top shots of Step 1, best first
    second  (P,) their scores by Step 2
    """
    mean, sigma = step1[best].mean(), step1[best].std() or 1.0
    both = (1 - mix) * (step1[best] - mean) / sigma + mix * (second - second.mean()) / (second.std() or 1.0)
    # Shots that Step 2 did not rank follow those that it did.
    scores = (step1 - step1[best[-1]]) / sigma + both.min() - 1.0
    scores[best] = both
    return np.asarray(scores)
