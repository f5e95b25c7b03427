"""Rankings read by columns are those of the runs that are read by lines, and so is what is wrong in them."""

import random
import struct
from pathlib import Path

import numpy as np
import pytest

from avs_cli.core.fusion import rank_sums
from avs_cli.core.fusion.methods import rrf
from avs_cli.errors import FormatError
from avs_cli.io.text import rankings
from avs_cli.io.text.rankings import read_rankings, read_scored
from avs_cli.io.text.trec import read_run
from avs_cli.types import Ranking, ranked

GOOD = [f"{topic} Q0 shot{n}_{n % 3} 0 {-(n // 3) / 7} t" for topic in (2, 1) for n in range(40)]


def ordered(path: Path) -> list[tuple[str, list[tuple[str, float]]]]:
    return [(topic, [(shot, own[shot]) for shot in ranked(own)]) for topic, own in read_run(str(path)).items()]


def read(path: Path) -> list[tuple[str, list[tuple[str, float]]]]:
    return decoded(read_scored(str(path)))


def decoded(found: dict[str, Ranking]) -> list[tuple[str, list[tuple[str, float]]]]:
    return [
        (topic, [(shot.decode(), score) for shot, score in zip(own.shots.tolist(), own.scores.tolist(), strict=True)])
        for topic, own in found.items()
    ]


def as_text(number: float, rng: random.Random) -> str:
    return rng.choice([repr(number), f"{number:.{rng.randrange(18)}f}", f"{number:.{rng.randrange(18)}e}"])


def numbers(texts: list[str]) -> np.ndarray | None:
    characters = np.frombuffer(b"0" * 64 + " ".join([*texts, ""]).encode() + b"0" * 64, np.uint8)
    ends = np.flatnonzero(characters == ord(" "))
    return rankings._numbers(characters, np.concatenate(([64], ends[:-1] + 1)), ends)


def test_scores_are_pythons_to_the_last_bit() -> None:
    rng = random.Random(0)
    texts = [as_text(rng.gauss(0, 1) * 10 ** rng.randrange(-9, 18), rng) for _ in range(20_000)]
    # Midway between two floats, and a little beside it.
    texts += [f"{rng.randrange(1 << 52, 1 << 53) * 2 + 1}{rng.choice(['', '.0', '.1', '.01'])}" for _ in range(2000)]
    texts += [
        "-0",
        "0",
        "+1.5",
        "-.5",
        "5.",
        "00012",
        "1e-400",
        "18446744073709551615",
        "9" * 19,
        "0." + "0" * 30 + "1",
    ]
    found = numbers(texts)
    assert found is not None
    packed = {text: struct.pack("d", float(text)) for text in texts}
    assert [text for text, number in zip(texts, found, strict=True) if struct.pack("d", number) != packed[text]] == []


@pytest.mark.parametrize("bad", ["-", ".", "-.", "1.2.3", "1-2", "--1", "nan", "-inf", "1_0", "e5", "1e999", "0x10"])
def test_what_is_no_finite_number_is_left_to_the_reader_of_lines(bad: str) -> None:
    assert numbers(["1.5", bad, "2.25"]) is None


@pytest.mark.parametrize(
    "lines",
    [
        GOOD,
        random.Random(1).sample(GOOD[:40], 40) + GOOD[40:],
        random.Random(2).sample(GOOD, 80),
        [line.replace(" ", "\t") for line in GOOD],
        [line.replace(" t", "  t\r") for line in GOOD],
        [line.replace("shot3_", "schöner-shot3_") for line in GOOD],
        [line.replace(" Q0", "\x1cQ0") for line in GOOD],
        [line.replace("shot", "a-video-of-a-long-name/" * (n % 4)) for n, line in enumerate(GOOD)],
        ["\ufeff" + GOOD[0], "", *GOOD[1:]],
        GOOD[:1],
    ],
    ids=[
        "in order",
        "out of order",
        "topics apart",
        "tabs",
        "CRLF",
        "not ASCII",
        "odd gaps",
        "long",
        "mark, blank",
        "one",
    ],
)
def test_a_ranking_is_the_order_of_the_runs_scores(lines: list[str], tmp_path: Path) -> None:
    path = tmp_path / "a.run"
    path.write_bytes(("\n".join(lines) + "\n").encode())
    assert read(path) == ordered(path)
    path.write_bytes("\n".join(lines).encode())
    assert read(path) == ordered(path)


def test_ordinary_runs_take_the_fast_way(tmp_path: Path) -> None:
    for lines in (GOOD, random.Random(1).sample(GOOD[:40], 40) + GOOD[40:], [line.replace(" ", "\t") for line in GOOD]):
        (tmp_path / "a.run").write_text("\n".join(lines) + "\n")
        found = rankings._ordinary((tmp_path / "a.run").read_bytes())
        assert found is not None and decoded(found) == ordered(tmp_path / "a.run")


def test_damaged_runs_fail_as_they_do_line_by_line(tmp_path: Path) -> None:
    rng, path, failures = random.Random(3), tmp_path / "a.run", 0
    whole = ("\n".join(GOOD[:12] + GOOD[40:52]) + "\n").encode()
    for _ in range(600):
        data = bytearray(whole)
        for _ in range(rng.randrange(1, 3)):
            here = rng.randrange(len(data))
            data[here : here + rng.randrange(3)] = rng.choice(
                [b"", b" ", b"\n", b"\t", b"7", b"-", b".", b"\0", b"\xc3"]
            )
        path.write_bytes(data)
        try:
            expected = ordered(path)
        except FormatError as error:
            failures += 1
            with pytest.raises(FormatError) as found:
                read_rankings(str(path))
            assert str(found.value) == str(error)
        else:
            assert read(path) == expected
    assert 100 < failures < 500


def test_sums_of_parts_are_the_fused_run_to_the_last_bit(tmp_path: Path) -> None:
    rng, paths = random.Random(4), []
    for run in range(6):
        rows = [
            f"{topic} Q0 {rng.choice('ab')}{n} 0 {rng.randrange(30)} t"
            for topic in range(run % 2, 3)
            for n in range(50)
        ]
        paths.append(tmp_path / f"{run}.run")
        paths[-1].write_text("\n".join(rows) + "\n")
    by_rank = rrf.rank_scores(6, 50)
    halves = [rank_sums.sums([read_rankings(str(path)) for path in some], by_rank) for some in (paths[:2], paths[2:])]
    fused = rrf.fuse([read_run(str(path)) for path in paths])
    assert rank_sums.best(rank_sums.added(halves), 1000) == fused
    for topic, scores in rank_sums.best(rank_sums.added(halves), 20).items():
        assert ranked(scores)[:20] == ranked(fused[topic])[:20] and len(scores) < 30


def test_real_runs_rank_as_their_scores_do(shared_data) -> None:  # type: ignore[no-untyped-def]
    paths = sorted(Path(shared_data("trec-covid-r1/runs")).iterdir())[::6]
    assert len(paths) > 5
    for path in paths:
        assert read(path) == ordered(path), path.name
