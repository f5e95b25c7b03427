"""Every fusion method that ranx has, against the scores that ranx 0.3.21 gives real runs.

The runs have no ties, which ranx would leave in the order of its input. Its sums are in the order of the runs, so they
differ from exact ones in the last digits.
"""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from avs_cli.core.fusion import fitting
from avs_cli.core.fusion.methods import methods
from avs_cli.core.fusion.normalisation import minmax
from avs_cli.io.pipe import read_text
from avs_cli.types import Judgment, Run, ranked

Scores = dict[str, Run]


@pytest.fixture(scope="module")
def theirs(parity: Callable[[str], Path]) -> dict[str, Any]:
    """Runs, judgments and training topics, and the scores that ranx gives the other topics, by spec."""
    found: dict[str, Any] = json.loads(read_text(str(parity("fusion/ranx.json"))))
    return found


@pytest.fixture(scope="module")
def ours(theirs: dict[str, Any]) -> Callable[[str], Run]:
    qrels = {
        topic: {shot: Judgment(relevance) for shot, relevance in theirs["qrels"][topic].items()}
        for topic in theirs["training"]
    }
    known = fitting.judged_runs(theirs["runs"], qrels, "AP")
    fused = [{t: scores for t, scores in run.items() if t not in qrels} for run in theirs["runs"]]
    return lambda spec: fitting.fitted(spec, known)(fused)


SPECS = ["combsum", "combmnz", "combanz", "combmax", "combmin", "combsum:norm=sum", "combgmnz:gamma=0.5", "rrf", "isr"]
SPECS += ["log-isr", "logn-isr", "rbc:phi=0.9", "weighted:norm=minmax,weights=2/1/0.5/3/0.75"]
SPECS += ["wmnz:weights=2/1/0.5/3/0.75", "mixed:weights=2/1/0.5/3/0.75", "mapfuse", "posfuse"]
SPECS += ["probfuse:segments=10", "segfuse", "slidefuse:window=5", "bayesfuse"]


@pytest.mark.parametrize("spec", SPECS)
def test_a_method_gives_the_scores_of_ranx(theirs: dict[str, Any], ours: Callable[[str], Run], spec: str) -> None:
    found, expected = ours(spec), theirs["scores"][spec]
    assert found.keys() == expected.keys()
    for topic, scores in expected.items():
        assert found[topic] == pytest.approx(scores, rel=1e-12, abs=1e-13)


@pytest.mark.parametrize(("spec", "weights"), [("borda", [1] * 5), ("borda:weights=2/1/0.5/3/0.75", None)])
def test_borda_differs_by_the_points_that_ranx_shares_among_shots_that_a_run_lacks(
    theirs: dict[str, Any], ours: Callable[[str], Run], spec: str, weights: list[float] | None
) -> None:
    for topic, scores in ours(spec).items():
        rest = dict.fromkeys(scores, 0.0)
        for run, weight in zip(theirs["runs"], weights or theirs["weights"], strict=True):
            for shot in scores.keys() - run[topic].keys():
                rest[shot] += weight * (len(scores) - len(run[topic]) + 1) / 2
        whole = {shot: score + rest[shot] for shot, score in scores.items()}
        assert whole == pytest.approx(theirs["scores"][spec][topic], rel=1e-12)


def test_combmed_differs_by_the_zeros_of_runs_that_lack_a_shot(
    theirs: dict[str, Any], ours: Callable[[str], Run]
) -> None:
    for topic, scores in ours("combmed").items():
        normal = [minmax.normalise(run[topic]) for run in theirs["runs"]]
        found = {shot: [one[shot] for one in normal if shot in one] for shot in scores}
        assert {s: median(values) for s, values in found.items()} == pytest.approx(theirs["scores"]["combmed"][topic])
        padded = {shot: median(values + [0.0] * (5 - len(values))) for shot, values in found.items()}
        assert padded == pytest.approx(scores)


@pytest.mark.parametrize("spec", ["condorcet", "condorcet:weights=2/1/0.5/3/0.75"])
def test_condorcet_has_the_order_of_ranx_but_for_shots_in_cycles(theirs: dict[str, Any], spec: str) -> None:
    """Over the shots that all runs return, where ranx counts no vote for shots that a run lacks."""
    weights = theirs["weights"] if ":" in spec else [1] * 5
    compared = 0
    for topic, scores in theirs["common"][spec].items():
        common = [{topic: {shot: run[topic][shot] for shot in scores}} for run in theirs["runs"]]
        places = [{shot: n for n, shot in enumerate(ranked(run[topic]))} for run in common]
        (found, expected) = (ranked(methods.load(spec)(common)[topic]), ranked(scores))
        for order in (found, expected):
            for before, after in itertools.pairwise(order):
                votes = sum(w if at[before] < at[after] else -w for at, w in zip(places, weights, strict=True))
                assert votes >= 0
        wins = {
            (a, b): sum(w if at[a] < at[b] else -w for at, w in zip(places, weights, strict=True)) > 0
            for a, b in itertools.permutations(scores, 2)
        }
        # Where a group beats all other shots, both orders begin with it.
        for size in range(1, len(found)):
            if all(wins[a, b] for a in found[:size] for b in found[size:]):
                assert set(found[:size]) == set(expected[:size])
                compared += 1
    assert compared >= 5
