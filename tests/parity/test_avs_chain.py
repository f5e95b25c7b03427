"""The authors' chain from a file of scores to NIST's measures, and their reranking, step by step as their files say."""

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from avs_cli.cli import exit_code
from avs_cli.core.evaluation.evaluator import Evaluator
from avs_cli.core.evaluation.reports import NIST_ROWS, as_nist
from avs_cli.core.search.rerankers.neighbours import hubs, reciprocal
from avs_cli.io.pipe import read_text
from avs_cli.io.text.topics import align_topics
from avs_cli.io.text.trec import read_qrels, read_run
from avs_cli.io.text.trecvid_xml import submission_in
from avs_cli.types import ranked


@pytest.fixture
def chain(parity: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of their files; `our.run` is made from their scores, in the working folder."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "theirs"
    folder.mkdir()
    for path in parity("laff/m_avs_eval").iterdir():
        (folder / path.name.removesuffix(".gz")).write_text(read_text(str(path)))
    assert exit_code(["convert", str(folder / "id.sent.score.txt"), "our.run"]) == 0
    return folder


def settled(ranking: list[str], scores: Mapping[str, float]) -> list[str]:
    """A ranking whose equally good neighbours are in NIST's order; theirs are as their file of scores has them."""
    tied = (list(some) for _, some in itertools.groupby(ranking, key=scores.__getitem__))
    return [shot for some in tied for shot in sorted(some, reverse=True)]


def test_scores_become_the_submission_that_their_tools_write(chain: Path) -> None:
    line = ["submit", "our.run", "--year", "2018", "--topics", str(chain / "tvx.avs.txt"), "--pid", "RUCMM"]
    assert exit_code([*line, "--training", "D", "--desc", "place holder", "--elapsed", "1", "-o", "our.xml"]) == 0
    texts = [Path(name).read_text() for name in (chain / "id.sent.score.txt.xml", "our.xml")]
    theirs, ours = (submission_in("a submission", text) for text in texts)
    assert ours.attributes == theirs.attributes
    run = read_run("our.run")
    for our, their in zip(ours.results, theirs.results, strict=True):
        assert (our.number, our.elapsed) == (their.number, their.elapsed)
        assert [place for place, _ in our.items] == [place for place, _ in their.items]
        ranking = settled([shot for _, shot in their.items], run[our.number])
        assert [shot for _, shot in our.items] == ranking


def test_the_submission_becomes_the_ranking_that_they_evaluate(chain: Path) -> None:
    theirs = read_run(str(chain / "id.sent.score.txt.treceval"))
    assert exit_code(["convert", str(chain / "id.sent.score.txt.xml"), "back.run"]) == 0
    back, scores = (align_topics(read_run(name), theirs)[0] for name in ("back.run", "our.run"))
    for topic, ranking in theirs.items():
        assert ranked(back[topic]) == ranked(ranking)
        assert ranked(scores[topic]) == settled(ranked(ranking), scores[topic])


def test_every_number_that_they_print_comes_out(chain: Path) -> None:
    evaluator = Evaluator(read_qrels(str(chain / "avs.qrels.tvx")), [name for _, name in NIST_ROWS])
    run, _ = align_topics(read_run("our.run"), read_qrels(str(chain / "avs.qrels.tvx")))
    rows = set(as_nist(evaluator.evaluate(run), by_topic=True).splitlines())
    theirs = (chain / "perf.txt").read_text().splitlines()
    assert len(theirs) > 20
    # They asked for fewer cutoffs than NIST's script has by default.
    assert [row for row in theirs if row and row not in rows] == []


def cosines(arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    return [arrays[name].astype(float) for name in ("q_g", "q_q", "g_g")]


def test_reciprocal_neighbours_give_the_published_distances(parity: Callable[[str], Path]) -> None:
    with np.load(parity("laff/e_rerank.npz")) as file:
        arrays = dict(file)
    (name,) = (key for key in arrays if key.startswith("kreciprocal"))
    k, expand, share = (int(part.lstrip("kl")) for part in name.replace("k1_", "").replace("k2_", "").split("_")[1:])
    found = reciprocal(*cosines(arrays), k, expand, share / 10)
    np.testing.assert_allclose(found, arrays[name], atol=2e-6)


def test_hubs_give_the_published_bonus(parity: Callable[[str], Path]) -> None:
    with np.load(parity("laff/e_rerank.npz")) as file:
        arrays = dict(file)
    (name,) = (key for key in arrays if key.startswith("tkb_simple"))
    depth, k = (int(part) for part in name.removeprefix("tkb_simple_top").split("_k"))
    to_gallery, _, gallery = cosines(arrays)
    best = np.argsort(-to_gallery, axis=1)[:, :depth]
    bonus = np.zeros_like(to_gallery)
    np.put_along_axis(bonus, best, hubs(gallery, k)[best], axis=1)
    # They bring each topic's bonus to unit length, which leaves its order.
    np.testing.assert_allclose(bonus / np.linalg.norm(bonus, axis=1, keepdims=True), arrays[name], atol=2e-6)
