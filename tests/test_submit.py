"""avs submit: what NIST takes, and every reason for which it would not."""

from collections.abc import Callable
from pathlib import Path

import pytest

from avs_cli.cli import exit_code
from avs_cli.core.submission import as_run, file_name, submission, violations
from avs_cli.errors import SpecError
from avs_cli.io.trecvid_xml import read_submission
from avs_cli.types import Submission, TopicResult

ATTRIBUTES = {"trType": "D", "class": "F", "task": "M", "novelty": "C", "pid": "TEAM", "priority": "1", "desc": ""}
RUN = "1731 Q0 shot00001_1 1 2 t\n1731 Q0 shot00001_2 2 1 t\n1732 Q0 shot00002_1 1 5 t\n"


def answer(**changes: str) -> Submission:
    results = [TopicResult(number, "3", [("1", "shot00001_1"), ("2", "shot00001_2")]) for number in ("731", "732")]
    return Submission(ATTRIBUTES | changes, results)


def test_a_good_run_has_nothing_to_reject() -> None:
    assert violations(answer(), 2023, ["731", "732"], {"shot00001_1", "shot00001_2"}) == []
    assert violations(answer(algo="V"), 2023) == []


@pytest.mark.parametrize(
    ("changes", "year", "what"),
    [
        ({"trType": "B"}, 2023, "trType is 'B' instead of one of A, D, E, F"),
        ({"class": "I"}, 2023, "class is 'I' instead of one of M, F, R"),
        ({"task": "X"}, 2023, "task is 'X'"),
        ({"novelty": ""}, 2023, "novelty is ''"),
        ({"priority": "11"}, 2023, "priority is '11'"),
        ({"pid": "my team"}, 2023, "pid is 'my team'"),
        ({"algo": "V"}, 2022, "algo is 'V'"),
        ({"algo": "X"}, 2023, "algo is 'X'"),
        ({"colour": "red"}, 2023, "unknown attribute colour"),
    ],
)
def test_attributes_follow_the_year(changes: dict[str, str], year: int, what: str) -> None:
    assert [what in violation for violation in violations(answer(**changes), year)] == [True]


def test_task_and_novelty_came_in_2019_and_relevance_feedback_in_2018() -> None:
    old = Submission({k: v for k, v in ATTRIBUTES.items() if k not in ("task", "novelty")}, answer().results)
    assert violations(old, 2018) == []
    assert violations(old, 2019) == ["task is missing", "novelty is missing"]
    assert violations(answer(), 2018) == ["unknown attribute task", "unknown attribute novelty"]
    feedback = Submission(old.attributes | {"class": "R"}, old.results)
    assert violations(feedback, 2018) == []
    assert violations(feedback, 2017) == ["class is 'R' instead of one of M, F"]
    with pytest.raises(SpecError):
        violations(old, 2015)


@pytest.mark.parametrize(
    ("results", "what"),
    [
        ([], "it answers no topic"),
        ([("731", "3", ["shot00001_1"])], "topic 732: not answered"),
        ([("731", "3", ["shot00001_1"])] * 2 + [("732", "3", ["shot00001_1"])], "topic 731: answered more than once"),
        ([("731", "3", ["shot00001_1"]), ("9", "3", ["shot00001_1"])], "topic 9: not among the topics"),
        ([("731", "3", ["shot00001_1"]), ("732", "3.5", ["shot00001_1"])], "topic 732: elapsedTime is '3.5'"),
        ([("731", "3", ["shot00001_1"]), ("732", "3", [])], "topic 732: no shots"),
        ([("731", "3", ["shot00001_1"]), ("732", "3", ["shot00001_1"] * 2)], "topic 732: more than once: shot00001_1"),
        ([("731", "3", ["shot00001_1"]), ("732", "3", ["v1"])], "topic 732: no shot ids like shot00001_1: v1"),
        ([("731", "3", ["shot00001_1"]), ("732", "3", ["shot00009_9"])], "732: not in the shot table: shot00009_9"),
        (
            [("731", "3", [f"shot00001_{n}" for n in range(1001)]), ("732", "3", ["shot00001_1"])],
            "topic 731: 1001 shots, but the limit is 1000",
        ),
    ],
)  # fmt: skip
def test_answers_are_checked_as_nist_checks_them(results: list[tuple[str, str, list[str]]], what: str) -> None:
    numbered = [TopicResult(t, e, [(str(n), shot) for n, shot in enumerate(shots, 1)]) for t, e, shots in results]
    found = violations(Submission(ATTRIBUTES, numbered), 2023, ["731", "732"], {f"shot00001_{n}" for n in range(1001)})
    assert any(what in violation for violation in found)


def test_numbers_run_from_one() -> None:
    for numbers in (("1", "1"), ("0", "1"), ("2", "1"), ("1", "3"), ("01", "2")):
        items = [(number, f"shot00001_{place}") for place, number in enumerate(numbers)]
        found = violations(Submission(ATTRIBUTES, [TopicResult("731", "3", items)]), 2023)
        assert found == ["topic 731: seqNum does not run from 1 to 2"]


def test_all_violations_are_named_at_once() -> None:
    found = violations(Submission({"pid": "?"}, [TopicResult("1", "x", [])]), 2016, ["501"])
    assert len(found) == 9


def test_the_file_has_nists_name() -> None:
    assert file_name(2023, ATTRIBUTES) == "F_M_C_D_TEAM.23_1.xml"
    assert file_name(2017, ATTRIBUTES) == "F_D_TEAM.17_1.xml"


def test_a_submission_holds_the_best_of_a_run_in_its_order() -> None:
    made = submission({"1731": {"shot1_1": 1.0, "shot1_3": 2.0, "shot1_2": 1.0}}, ATTRIBUTES, "3", depth=2)
    assert made.results == [TopicResult("731", "3", [("1", "shot1_3"), ("2", "shot1_2")])]
    assert as_run(made) == {"731": {"shot1_3": 2.0, "shot1_2": 1.0}}


@pytest.fixture
def avs_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.run").write_text(RUN)
    (tmp_path / "topics").write_text("731 a dog\n732 a cat\n")
    (tmp_path / "shots.tsv").write_text(
        "shot\tvideo\tstart\tend\nshot00001_1\tv\t0\t1\nshot00001_2\tv\t1\t2\nshot00002_1\tw\t0\t1\n"
    )

    def call(*arguments: str) -> tuple[int, str, str]:
        code = exit_code(list(arguments))
        return (code, *capsys.readouterr())

    return call


SUBMIT = ("submit", "my.run", "--topics", "topics", "--pid", "TEAM", "--training", "D", "--year", "2023")


def test_a_run_is_written_checked_and_read_back(avs_in, tmp_path: Path) -> None:
    code, _, err = avs_in(*SUBMIT, "--elapsed", "3", "--desc", "LAFF & <more>", "--shots", "shots.tsv")
    assert code == 0, err
    name = "F_M_C_D_TEAM.23_1.xml"
    assert f"{name}: 2 topics, 3 shots" in err
    assert read_submission(str(tmp_path / name)).attributes == ATTRIBUTES | {"desc": "LAFF & <more>"}
    assert avs_in("submit", "--check", name, "--topics", "topics", "--year", "2023")[0] == 0
    assert avs_in("convert", name, "back.run")[0] == 0
    assert (tmp_path / "back.run").read_text().splitlines()[0] == "731 Q0 shot00001_1 1 2.0 avs"


def test_nothing_is_written_of_a_run_that_would_be_rejected(avs_in, tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    (tmp_path / "topics").write_text("731 a dog\n733 a cat\n")
    code, out, err = avs_in("submit", "my.run", "--topics", "topics", "--year", "2023", "-o", "run.xml")
    assert (code, out) == (3, "")
    for what in ("trType is ''", "pid is ''", "732: not among the topics", "733: not answered", "elapsedTime is ''"):
        assert what in err
    assert "my.run: 5 reasons for NIST to reject it; nothing was written" in err.splitlines()[-1]
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (("--class", "M"), 'class="M"'),
        (("--task", "P"), 'task="P"'),
        (("--novelty", "N"), 'novelty="N"'),
        (("--priority", "7"), 'priority="7"'),
        (("--algo", "C"), 'algo="C"'),
        (("--desc", "words"), 'desc="words"'),
    ],
)
def test_every_attribute_has_its_option(avs_in, options: tuple[str, ...], what: str) -> None:
    code, out, err = avs_in(*SUBMIT, "--elapsed", "3", *options, "-o", "-")
    assert code == 0, err
    assert what in out


def test_an_output_folder_gets_nists_name(avs_in, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert avs_in(*SUBMIT, "--elapsed", "3", "-o", "out")[0] == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["F_M_C_D_TEAM.23_1.xml"]


def test_a_trec_submission_goes_through_the_same_checks(avs_in, tmp_path: Path) -> None:
    code, out, _ = avs_in("submit", "my.run", "--topics", "topics", "--format", "trec", "--tag", "mine")
    assert code == 0
    assert out.splitlines()[0] == "731 Q0 shot00001_1 1 2.0 mine"
    (tmp_path / "topics").write_text("731 a dog\n")
    code, out, err = avs_in("submit", "my.run", "--topics", "topics", "--format", "trec")
    assert (code, out) == (3, "")
    assert "732: not among the topics" in err


def test_a_file_is_checked_in_either_format(avs_in, tmp_path: Path) -> None:
    assert avs_in("submit", "--check", "my.run")[0] == 0
    (tmp_path / "long.run").write_text("".join(f"731 Q0 shot00001_{n} 1 {-n} t\n" for n in range(1001)))
    code, _, err = avs_in("submit", "--check", "long.run")
    assert code == 3 and "1001 shots, but the limit is 1000" in err
    (tmp_path / "bad.xml").write_text(
        "<videoAdhocSearchResults><videoAdhocSearchRunResult pid='x'/></videoAdhocSearchResults>"
    )
    code, _, err = avs_in("submit", "--check", "bad.xml", "--year", "2018")
    assert code == 3 and "trType is missing" in err and "it answers no topic" in err


def test_a_dtd_may_reject_what_the_rules_allow(avs_in, tmp_path: Path) -> None:
    (tmp_path / "strict.dtd").write_text("<!ELEMENT videoAdhocSearchResults EMPTY>")
    code, _, err = avs_in(*SUBMIT, "--elapsed", "3", "--dtd", "strict.dtd", "-o", "run.xml")
    assert code == 3 and "(DTD)" in err
    assert not (tmp_path / "run.xml").exists()


def test_a_submission_needs_its_topics(avs_in) -> None:
    code, _, err = avs_in("submit", "my.run")
    assert code == 2 and "--topics" in err


def test_the_real_run_is_submitted_whole(avs_in, shared_data, tmp_path: Path) -> None:
    folder = shared_data("tv21")
    code, _, err = avs_in(
        "submit", str(folder / "test_run.trec"), "--topics", str(folder / "tv21.avs.topics.txt"), "--year", "2021",
        "--pid", "RUCMM", "--training", "D", "--elapsed", "1", "-o", "run.xml",
    )  # fmt: skip
    assert code == 0, err
    assert avs_in("convert", "run.xml", "back.run")[0] == 0
    code, out, _ = avs_in("eval", str(folder / "avs.qrels.main.tv21"), "back.run")
    assert (code, out) == (0, "xinfAP       0.3430\n")
