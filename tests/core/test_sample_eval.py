"""Every measure of NIST's `sample_eval.pl` against a slow, literal transcription of its specification.

The transcription reads the files' lines itself and shares no code with avs. The cases are drawn at random: one to four
strata, grades 0 to 4, every sampling rate, tied scores, runs beyond rank 1000 and pools that hold more than 1000
relevant shots.
"""

import math
import random

import pytest
from pytest import approx

from avs_cli.core.evaluation.evaluator import Evaluator
from avs_cli.core.evaluation.measures import infndcg
from avs_cli.core.evaluation.reports import NIST_ROWS, as_nist
from avs_cli.io.text.trec import parse_qrels, parse_run
from avs_cli.types import Judgment

CUTOFFS = (5, 10, 15, 20, 30, 100, 200, 500, 1000)
Values = dict[tuple[str, str], float]


def sample_eval(qrels_text: str, run_text: str) -> Values:
    """(row, topic) -> value as the specification has it, step by step."""
    pool: dict[str, dict[str, tuple[str, int]]] = {}
    for line in qrels_text.splitlines():
        topic, _, shot, stratum, rel = line.split()
        pool.setdefault(topic, {})[shot] = (stratum, int(rel))
    returned: dict[str, dict[str, float]] = {}
    for line in run_text.splitlines():
        topic, _, shot, _, score, _ = line.split()
        returned.setdefault(topic, {})[shot] = float(score)

    values: Values = {}
    for topic, judged in pool.items():
        n: dict[str, int] = {}
        k: dict[str, int] = {}
        q: dict[str, int] = {}
        of_grade: dict[tuple[str, str], int] = {}
        for stratum, rel in judged.values():
            n[stratum] = n.get(stratum, 0) + 1
            k[stratum] = k.get(stratum, 0)
            q[stratum] = q.get(stratum, 0)
            if rel >= 0:
                k[stratum] += 1
            if rel > 0:
                q[stratum] += 1
                of_grade[str(rel), stratum] = of_grade.get((str(rel), stratum), 0) + 1
        R = 0.0
        for stratum in sorted(n):
            if k[stratum] > 0:
                R += q[stratum] * n[stratum] / k[stratum]
        values["inum_rel", topic] = R
        if topic not in returned:
            continue
        scores = returned[topic]
        values["num_ret", topic] = len(scores)
        shots = sorted(sorted(scores, reverse=True), key=lambda shot: -scores[shot])

        nd, ns, nr, sap, gain = ({stratum: 0.0 for stratum in n} for _ in range(5))
        seen: list[float] = []
        for rank, shot in enumerate(shots, start=1):
            if shot in judged:
                stratum, rel = judged[shot]
                if rel > 0:
                    above = nd_total = sum(nd.values())
                    precision = 1 / rank
                    if nd_total > 0:
                        inner = 0.0
                        for t in sorted(n):
                            if nd[t] > 0:
                                inner += (nd[t] / above) * (nr[t] + 0.00001) / (ns[t] + 0.00003)
                        precision += (above / rank) * inner
                    sap[stratum] += precision
                    gain[stratum] += rel / (math.log(rank + 1) / math.log(2))
                nd[stratum] += 1
                if rel >= 0:
                    ns[stratum] += 1
                if rel > 0:
                    nr[stratum] += 1
            estimate = 0.0
            for t in sorted(n):
                if nd[t] > 0:
                    estimate += nd[t] * (nr[t] + 0.00001) / (ns[t] + 0.00003)
            seen.append(estimate)
            if rank == 1000:
                break

        ap = 0.0
        if R > 0:
            for t in n:
                if k[t] > 0 and q[t] > 0:
                    ap += ((q[t] * n[t] / k[t]) / R) * (sap[t] / q[t])
            if R > 1000:
                ap = ap * R / 1000
        values["infAP", topic] = ap

        ideal, start_rank = 0.0, 0.0
        for grade in sorted({grade for grade, _ in of_grade}, reverse=True):
            count = 0.0
            for t in sorted(n):
                if (grade, t) in of_grade:
                    count += of_grade[grade, t] * n[t] / k[t]
            r = start_rank + 1
            while r <= start_rank + count:
                ideal += int(grade) / (math.log(r + 1) / math.log(2))
                if r >= 1000:
                    break
                r += 1
            start_rank += count
        dcg = 0.0
        for t in n:
            if ns[t] > 0:
                dcg += gain[t] * nd[t] / ns[t]
        values["infNDCG", topic] = dcg / ideal if ideal > 0 else 0.0

        for cutoff in CUTOFFS:
            values[f"iP{cutoff}", topic] = seen[min(cutoff, len(seen)) - 1] / cutoff
        values["inum_rel_ret", topic] = seen[-1]

        # From the last rank up; a level is done at the first rank met whose recall is below it.
        level, best = 10, 0.0
        points = [0.0] * 11
        while level >= 0 and (R == 0 or level / 10 * R > seen[-1]):
            level -= 1
        for place in range(len(seen) - 1, -1, -1):
            best = max(best, seen[place] / (place + 1))
            while level >= 0 and seen[place] < level / 10 * R:
                points[level] = best
                level -= 1
        while level >= 0:
            points[level] = best
            level -= 1
        for level, point in enumerate(points):
            values[f"iprec@rec{level / 10:.2f}", topic] = point

    for row in {row for row, _ in values}:
        per_topic = [value for (name, _), value in values.items() if name == row]
        if row == "num_ret":
            values[row, "all"] = sum(min(value, 1000) for value in per_topic)
        elif row in ("inum_rel", "inum_rel_ret"):
            values[row, "all"] = sum(per_topic)
        else:
            values[row, "all"] = sum(per_topic) / len(per_topic)
    return values


def drawn(seed: int) -> tuple[str, str]:
    """The lines of a qrels and of a run; `seed` decides how many strata, grades, ties and shots there are."""
    chance = random.Random(seed)
    qrels, run = [], []
    grades = chance.choice(([1], [1, 2], [1, 2, 3, 4], [2, 4], [1, 3]))
    for topic in range(1801, 1801 + chance.randint(1, 3)):
        strata = range(1, 1 + chance.randint(1, 4))
        size, share = chance.choice((15, 60, 400, 2500)), chance.choice((0.02, 0.2, 0.7, 1.0))
        pooled = []
        for stratum in strata:
            rate = chance.choice((1.0, 11 / 15, 0.5, 0.2, 0.05, 0.0 if stratum > 1 else 1.0))
            for number in range(chance.randint(1, size)):
                shot = f"shot{chance.randint(1, 99999):05}_{stratum}{number}"
                rel = -1
                if chance.random() < rate:
                    rel = chance.choice(grades) if chance.random() < share else 0
                pooled.append(shot)
                qrels.append(f"{topic} 0 {shot} {stratum} {rel}")
        if topic > 1801 and chance.random() < 0.2:
            continue
        others = [f"shot{chance.randint(1, 99999):05}_x{number}" for number in range(chance.choice((0, 20, 1500)))]
        shots = chance.sample(pooled + others, chance.randint(1, min(2000, len(pooled + others))))
        steps = chance.choice((3, 40, 1_000_000))
        run += [f"{topic} Q0 {shot} 0 {chance.randint(1, steps)} t" for shot in shots]
    chance.shuffle(qrels)
    return "\n".join(qrels), "\n".join(run)


def compared(qrels_text: str, run_text: str) -> None:
    """Both give the same numbers, and print the same four decimals."""
    scores = Evaluator(parse_qrels("qrels", qrels_text), [name for _, name in NIST_ROWS]).evaluate(
        parse_run("run", run_text)
    )
    expected = sample_eval(qrels_text, run_text)
    printed = {}
    for line in as_nist(scores, by_topic=True).splitlines():
        row, topic, value = line.split()
        printed[row, topic] = float(value)
    for (row, name), measure in zip(
        ((line.split()[0], measure) for line, measure in NIST_ROWS), scores.by_topic.values(), strict=True
    ):
        for topic, value in measure.items():
            assert value == approx(expected[row, topic], abs=1e-9, rel=1e-12), (row, topic)
        assert scores.means[name] == approx(expected[row, "all"], abs=1e-9, rel=1e-12), row
    for key, value in printed.items():
        assert value == approx(expected[key], abs=5.0001e-5), key
    assert {row for row, topic in printed if topic == "all"} == {row for row, _ in expected}


@pytest.mark.parametrize("block", range(10))
def test_all_measures_equal_the_specification_on_random_samples(block: int) -> None:
    for seed in range(10 * block, 10 * block + 10):
        compared(*drawn(seed))


def test_the_random_cases_reach_the_corners_of_the_specification() -> None:
    """More than 1000 relevant, lists beyond rank 1000, fractional ranks of a lower grade, strata without a sample."""
    corners = {"unsampled stratum", "over 1000 relevant", "fractional rank", "long list", "missing topic", "tied"}
    reached: set[str] = set()
    for seed in range(100):
        if corners <= reached:
            break
        qrels, run = (parse("", text) for parse, text in zip((parse_qrels, parse_run), drawn(seed), strict=True))
        for topic, judgments in qrels.items():
            for stratum in {j.stratum for j in judgments.values()}:
                pooled = [j.relevance for j in judgments.values() if j.stratum == stratum]
                sampled = [rel for rel in pooled if rel >= 0]
                grades = [rel for rel in sampled if rel > 0]
                reached.add("unsampled stratum" if not sampled else "")
                if sampled and len(grades) * len(pooled) / len(sampled) > 1000:
                    reached.add("over 1000 relevant")
                if len(set(grades)) > 1 and (grades.count(max(grades)) * len(pooled)) % len(sampled):
                    reached.add("fractional rank")
            reached.add("long list" if len(run.get(topic, {})) > 1000 else "")
            reached.add("missing topic" if topic not in run else "")
            reached.add("tied" if len(set(run.get(topic, {}).values())) < len(run.get(topic, {})) else "")
    assert reached - {""} == corners


def test_eleven_of_fifteen_sampled_and_all_relevant_are_fifteen_relevant_shots() -> None:
    """NIST's script prints 1.1220: 15/11 of the gain at ranks 1 to 11 over that at 1 to 15."""
    judgments = {f"s{place:02}": Judgment(1 if place < 11 else -1) for place in range(15)}
    gains = [1 / math.log2(rank + 1) for rank in range(1, 16)]
    value = infndcg.score(list(judgments), judgments)
    assert f"{value:.4f}" == "1.1220"
    assert value == approx(15 / 11 * sum(gains[:11]) / sum(gains))


def test_a_lower_grade_begins_behind_the_fraction_of_the_grade_above() -> None:
    # Of 5 pooled, 2 judged, one of each grade: each stands for 2.5 shots. Grade 2 has ranks 1 and 2; grade 1 has
    # ranks 3.5 and 4.5, for it begins at 2.5 + 1 and ends at 5.
    judgments = {shot: Judgment(rel) for shot, rel in zip("abcde", (2, 1, -1, -1, -1), strict=True)}
    ideal = 2 + 2 / math.log2(3) + 1 / math.log2(4.5) + 1 / math.log2(5.5)
    assert infndcg.score(["a"], judgments) == approx(2 / ideal)


def test_every_grade_adds_its_first_gain_beyond_rank_1000_too() -> None:
    judgments = {f"{rel}{place}": Judgment(rel) for rel in (3, 2, 1) for place in range(1000)}
    ideal = sum(3 / math.log2(rank + 1) for rank in range(1, 1001)) + 2 / math.log2(1002) + 1 / math.log2(2002)
    assert infndcg.score(["30"], judgments) == approx(3 / ideal)


def test_grades_are_compared_as_text() -> None:
    # "9" comes before "10".
    judgments = {"a": Judgment(10), "b": Judgment(9)}
    assert infndcg.score(["a"], judgments) == approx(10 / (9 + 10 / math.log2(3)))
