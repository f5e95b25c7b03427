"""avs submit: what NIST takes, and every reason for which it would not."""

from collections.abc import Callable
from pathlib import Path

import pytest

from avs_cli.cli import exit_code
from avs_cli.core.submission import as_run, file_name, submission, team_violations, violations
from avs_cli.errors import SpecError
from avs_cli.io.text.trecvid_xml import read_submission
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
        ({"novelty": ""}, 2023, "novelty is missing"),
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
        ([], "no topics"),
        ([("731", "3", ["shot00001_1"])], "topic 732: not answered"),
        ([("731", "3", ["shot00001_1"])] * 2 + [("732", "3", ["shot00001_1"])], "topic 731: answered more than once"),
        ([("731", "3", ["shot00001_1"]), ("9", "3", ["shot00001_1"])], "topic 9: not among the topics"),
        ([("731", "3", ["shot00001_1"]), ("732", "3.5", ["shot00001_1"])], "not in whole seconds: '3.5'"),
        ([("731", "3", ["shot00001_1"]), ("732", "3", [])], "topic 732: no shots"),
        ([("731", "3", ["shot00001_1"]), ("732", "3", ["shot00001_1"] * 2)], "732: shots more than once: shot00001_1"),
        ([("731", "3", ["shot00001_1"]), ("732", "3", ["v1"])], "topic 732: no shot ids like shot00001_1: v1"),
        ([("731", "3", ["shot00001_1"]), ("732", "3", ["shot00009_9"])], "732: not in the shot table: shot00009_9"),
        (
            [("731", "3", [f"shot00001_{n}" for n in range(1001)]), ("732", "3", ["shot00001_1"])],
            "topic 731: more than 1000 shots: 1001",
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
        assert found == ["topic 731: seqNum does not run from 1 in steps of 1"]


def test_all_violations_are_named_at_once() -> None:
    found = violations(Submission({"pid": "?"}, [TopicResult("1", "x", [])]), 2016, ["501"])
    assert len(found) == 9


def test_the_file_has_nists_name() -> None:
    assert file_name(2023, ATTRIBUTES) == "F_M_C_D_TEAM.23_1.xml"
    assert file_name(2017, ATTRIBUTES) == "F_D_TEAM.17_1.xml"


def test_a_submission_holds_the_best_of_a_run_in_its_order() -> None:
    made = submission({"1731": {"shot1_1": 1.0, "shot1_3": 2.0, "shot1_2": 1.0}}, ATTRIBUTES, {"1731": "3"}, depth=2)
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
    assert "my.run: dropped 1 topic not in --topics: 1732" in err
    for what in (
        "trType is missing; give --training",
        "pid is missing; give --pid",
        "topic 733: not answered",
        "topic 731: elapsedTime is missing; give --elapsed",
    ):
        assert what in err
    assert "my.run: 4 reasons for NIST to reject it; nothing was written" in err.splitlines()[-1]
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
    assert code == 0 and {row.split()[0] for row in out.splitlines()} == {"731"}
    assert "dropped 1 topic not in --topics: 1732" in err
    (tmp_path / "topics").write_text("731 a dog\n733 a bird\n")
    code, out, err = avs_in("submit", "my.run", "--topics", "topics", "--format", "trec")
    assert (code, out) == (3, "")
    assert "topic 733: not answered" in err


def test_a_file_is_checked_in_either_format(avs_in, tmp_path: Path) -> None:
    assert avs_in("submit", "--check", "my.run")[0] == 0
    (tmp_path / "long.run").write_text("".join(f"731 Q0 shot00001_{n} 1 {-n} t\n" for n in range(1001)))
    code, _, err = avs_in("submit", "--check", "long.run")
    assert code == 3 and "topic 731: more than 1000 shots: 1001" in err
    (tmp_path / "bad.xml").write_text(
        "<videoAdhocSearchResults><videoAdhocSearchRunResult pid='x'/></videoAdhocSearchResults>"
    )
    code, _, err = avs_in("submit", "--check", "bad.xml", "--year", "2018")
    assert code == 3 and "trType is missing" in err and "no topics" in err


def test_what_exists_is_refused_for_topics_that_are_not_asked_for(avs_in, tmp_path: Path) -> None:
    assert avs_in(*SUBMIT, "--elapsed", "3", "-o", "run.xml")[0] == 0
    for file in ("my.run", "run.xml"):
        code, _, err = avs_in("submit", "--check", file, "--topics", "731", "--year", "2023")
        assert code == 3 and f"{file}: topic 732: not among the topics" in err


@pytest.mark.parametrize("given", ["731-732", "1731,1732", "topics"])
def test_the_tasks_topics_are_a_file_or_ids(avs_in, tmp_path: Path, given: str) -> None:
    (tmp_path / "my.run").write_text(RUN + "1661 Q0 shot00001_1 1 1 t\n2731 Q0 shot00001_1 1 1 t\n")
    code, _, err = avs_in(*SUBMIT, "--elapsed", "3", "--topics", given, "-o", "run.xml")
    assert code == 0 and "dropped 2 topics not in --topics: 1661, 2731" in err
    assert [result.number for result in read_submission(str(tmp_path / "run.xml")).results] == ["731", "732"]
    code, _, err = avs_in(*SUBMIT, "--elapsed", "3", "--topics", "501-530", "-o", "other.xml")
    assert code == 3 and "my.run: no topic of the task: the run has 1731, 1732, 1661, …" in err


def test_one_reason_is_named_once_with_its_topics(avs_in, tmp_path: Path) -> None:
    """Thirty topics with one unknown shot each are one line."""
    rows = [f"{topic} Q0 shot{rank:05}_{topic} {rank} {-rank} t\n" for topic in range(501, 531) for rank in (1, 2)]
    (tmp_path / "my.run").write_text("".join(rows))
    table = [f"shot00001_{topic}\tv\t0\t1\n" for topic in range(501, 531)]
    (tmp_path / "shots.tsv").write_text("shot\tvideo\tstart\tend\n" + "".join(table))
    code, _, err = avs_in(*SUBMIT, "--topics", "501-531", "--shots", "shots.tsv", "-o", "run.xml")
    assert code == 3
    assert [line.partition("my.run: ")[2] for line in err.splitlines()] == [
        "topic 531: not answered",
        "30 topics (501, 502, 503, …): elapsedTime is missing; give --elapsed",
        "30 topics (501, 502, 503, …): not in the shot table: shot00002_501, shot00002_502, shot00002_503, "
        "shot00002_504, shot00002_505 and 25 more",
        "3 reasons for NIST to reject it; nothing was written",
    ]


@pytest.mark.parametrize(("seconds", "text"), [("0", "0"), ("0.2", "1"), ("12", "12"), ("12.01", "13")])
def test_one_time_for_all_topics_is_rounded_up(avs_in, tmp_path: Path, seconds: str, text: str) -> None:
    assert avs_in(*SUBMIT, "--elapsed", seconds, "-o", "run.xml")[0] == 0
    assert [result.elapsed for result in read_submission(str(tmp_path / "run.xml")).results] == [text, text]


def test_each_topic_has_the_time_that_its_search_took(avs_in, tmp_path: Path) -> None:
    (tmp_path / "times").write_text("661\t9\n731\t0.004000\n732\t2.5\n")
    code, _, err = avs_in(*SUBMIT, "--elapsed", "times", "-o", "run.xml")
    assert code == 0, err
    assert [result.elapsed for result in read_submission(str(tmp_path / "run.xml")).results] == ["1", "3"]
    (tmp_path / "other").write_text("731\t0.5\n732\t0.6\n")
    assert avs_in(*SUBMIT, "--elapsed", "times", "--elapsed", "other", "-o", "fused.xml")[0] == 0
    assert [result.elapsed for result in read_submission(str(tmp_path / "fused.xml")).results] == ["1", "4"]
    (tmp_path / "times").write_text("731\t0.004000\n")
    code, _, err = avs_in(*SUBMIT, "--elapsed", "times", "-o", "run.xml")
    assert code == 3 and "times: no time for 1 topics: 732" in err


def test_a_fused_run_took_the_time_of_all_its_searches(avs_in, tmp_path: Path) -> None:
    (tmp_path / "a.times").write_text("731\t0.6\n732\t2.5\n")
    (tmp_path / "b.times").write_text("1731\t0.25\n1732\t2.5\n")
    times = ("--elapsed", "a.times", "--elapsed", "b.times", "--elapsed", "1")
    assert avs_in(*SUBMIT, *times, "-o", "run.xml")[0] == 0
    assert [result.elapsed for result in read_submission(str(tmp_path / "run.xml")).results] == ["2", "6"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("731 1\n731 2\n", "times:2: duplicate topic '731'"),
        ("731 x\n", "times:1: expected a topic and its seconds"),
        ("731\n", "times:1: expected a topic and its seconds"),
        ("731 -1\n", "times:1: expected a topic"),
        ("731 inf\n", "times:1: expected a topic"),
        ("\n", "times: contains no lines"),
    ],
)
def test_bad_times_name_their_line(avs_in, tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "times").write_text(text)
    code, _, err = avs_in(*SUBMIT, "--elapsed", "times", "-o", "run.xml")
    assert code == 3 and what in err


@pytest.mark.parametrize(("seconds", "code"), [("-1", 2), ("nan", 2), ("inf", 2), ("nosuchfile", 3)])
def test_times_that_are_none_are_refused(avs_in, seconds: str, code: int) -> None:
    found, _, err = avs_in(*SUBMIT, "--elapsed", seconds, "-o", "run.xml")
    assert found == code and "Traceback" not in err and seconds in err.splitlines()[-1]


def test_shots_that_do_not_exist_are_refused_or_dropped_and_listed(avs_in, tmp_path: Path) -> None:
    rows = [f"731 Q0 shot00001_{n} 1 {-n} t\n" for n in range(1, 1005)]
    (tmp_path / "my.run").write_text("".join(rows) + "732 Q0 shot00001_1 1 1 t\n")
    table = [f"shot00001_{n}\tv\t0\t1\n" for n in range(1, 1005) if n != 2]
    (tmp_path / "shots.tsv").write_text("shot\tvideo\tstart\tend\n" + "".join(table))
    (tmp_path / "nist.list").write_text("shot00001_5\nshot09999_1\n")
    line = (*SUBMIT, "--elapsed", "1", "--shots", "shots.tsv", "-o", "run.xml")
    code, _, err = avs_in(*line)
    assert code == 3 and "topic 731: not in the shot table: shot00001_2" in err
    code, _, err = avs_in(*line, "--dropped", "dropped.tsv", "--exclude", "nist.list")
    assert code == 0, err
    assert "1 shots not in the shot table, 1 shots excluded, 2 shots below rank 1000" in err
    first = read_submission(str(tmp_path / "run.xml")).results[0].items
    # Ranks 2 and 5 are gone, so that 1 to 1002 remain.
    assert first == [(str(place), f"shot00001_{n}") for place, n in enumerate([1, 3, 4, *range(6, 1003)], start=1)]
    assert (tmp_path / "dropped.tsv").read_text().splitlines() == [
        "topic\trank\tshot\treason",
        "731\t2\tshot00001_2\tnot in the shot table",
        "731\t5\tshot00001_5\texcluded",
        "731\t1003\tshot00001_1003\tbelow rank 1000",
        "731\t1004\tshot00001_1004\tbelow rank 1000",
    ]
    code, _, err = avs_in("submit", "--check", "my.run", "--exclude", "nist.list")
    assert code == 3 and "topic 731: excluded shots: shot00001_5" in err


def test_nists_list_of_dropped_shots_is_one_that_a_run_can_do_without(avs_in, shared_data, tmp_path: Path) -> None:
    listed = shared_data("tv21/V3C1.dropped.shots.list")
    shot = listed.read_text().split()[0]
    (tmp_path / "my.run").write_text(RUN + f"1732 Q0 {shot} 1 9 t\n")
    code, out, _ = avs_in(*SUBMIT, "--elapsed", "1", "--exclude", str(listed), "-o", "-")
    assert code == 0 and shot not in out
    (tmp_path / "my.run").write_text(RUN)
    assert avs_in(*SUBMIT, "--elapsed", "1", "-o", "-")[1] == out


def test_a_folder_is_made_where_the_output_ends_in_a_slash(avs_in, tmp_path: Path) -> None:
    assert avs_in(*SUBMIT, "--elapsed", "3", "-o", "new/folder/")[0] == 0
    assert [path.name for path in (tmp_path / "new/folder").iterdir()] == ["F_M_C_D_TEAM.23_1.xml"]
    line = ("submit", "my.run", "--topics", "topics", "--format", "trec", "--tag", "mine", "-o", "trec/")
    assert avs_in(*line)[0] == 0
    assert (tmp_path / "trec/mine.run").is_file()
    (tmp_path / "file").write_text("")
    code, _, err = avs_in(*SUBMIT, "--elapsed", "3", "-o", "file/")
    assert code == 3 and "file exists" in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (("--check", "my.run", "--pid", "X", "--elapsed", "3"), "--pid and --elapsed have no effect with --check"),
        (("--check", "my.run", "--dropped", "x"), "--dropped has no effect with --check"),
        (
            ("my.run", "--topics", "731", "--format", "trec", "--training", "D"),
            "--training has no effect on a TREC run",
        ),
        (("my.run", "--topics", "731", "--tag", "x"), "--tag has no effect on XML"),
        (("my.run", "--topics", "731", "--year", "2018", "--novelty", "N"), "--novelty has no effect before 2019"),
        (("my.run", "--topics", "731", "--training", "B"), "--training"),
        (("my.run", "--topics", "731", "--class", "I"), "--class"),
        (("my.run", "--topics", "731", "--priority", "11"), "--priority"),
        (("my.run", "my.run", "--topics", "731"), "one run is written at a time"),
        (("--check", "my.run", "my.run"), "my.run is given more than once"),
    ],
)
def test_options_that_mean_nothing_are_refused(avs_in, line: tuple[str, ...], what: str) -> None:
    code, out, err = avs_in("submit", *line)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert what in err


def team(**runs: dict[str, str]) -> dict[str, Submission]:
    return {name: Submission(ATTRIBUTES | changes, answer().results) for name, changes in runs.items()}


def test_a_team_submits_runs_of_two_tasks_a_novelty_run_and_two_without_annotation() -> None:
    runs = team(
        **{f"m{n}": {"priority": str(n)} for n in range(1, 5)},
        m5={"priority": "5", "trType": "F"},
        m6={"priority": "6", "trType": "E"},
        m7={"priority": "7", "novelty": "N"},
        p1={"task": "P"},
        manual={"class": "M"},
    )
    assert team_violations(runs) == []
    # The novelty run may stand anywhere in the numbering.
    assert team_violations(team(a={"priority": "1", "novelty": "N"}, b={"priority": "2"}, c={"priority": "3"})) == []


@pytest.mark.parametrize(
    ("runs", "what"),
    [
        ({"a": {}, "b": {"priority": "2", "pid": "OTHER"}}, "runs of 2 teams: TEAM (a), OTHER (b)"),
        ({"a": {}, "b": {}}, "task M, class F: priority 1 of a, b; priorities must differ"),
        ({"a": {}, "b": {"priority": "3"}}, "task M, class F: no run has priority 2; 2 runs have 1 to 2"),
        ({"a": {"priority": "2"}, "b": {"class": "M"}}, "task M, class F: no run has priority 1; 1 runs have 1 to 1"),
        (
            {"a": {}, "b": {"novelty": "N"}, "c": {"novelty": "N", "task": "P"}},
            "2 novelty runs (b, c), but a team may submit at most one",
        ),
        ({f"r{n}": {"priority": str(n)} for n in range(1, 6)}, "task M, class F: 5 runs (r1, r2, r3, …), but a team"),
        (
            {f"r{n}": {"priority": str(n), "trType": "F"} for n in range(1, 6)},
            "task M, class F: 5 runs (r1, r2, r3, …), but a team",
        ),
        (
            {f"r{n}": {"priority": str(n), "trType": "D" if n < 5 else "F"} for n in range(1, 8)},
            "task M, class F: 7 runs (r1, r2, r3, …), but a team",
        ),
    ],
)  # fmt: skip
def test_a_teams_runs_are_checked_together(runs: dict[str, dict[str, str]], what: str) -> None:
    (found,) = team_violations(team(**runs))
    assert found.startswith(what)


def test_a_teams_runs_of_one_task_answer_the_same_topics() -> None:
    runs = team(a={}, b={"priority": "2"}, c={"priority": "3"}, p={"task": "P"})
    runs["c"] = Submission(runs["c"].attributes, [runs["c"].results[0], TopicResult("741", "1", [("1", "shot1_1")])])
    runs["p"] = Submission(runs["p"].attributes, runs["p"].results[:1])
    assert team_violations(runs) == [
        "c: answers other topics than a: lacks 1 (732), has 1 more (741); all runs of task M answer the same"
    ]


def test_the_runs_of_a_team_are_checked_in_one_go(avs_in, tmp_path: Path) -> None:
    for priority in "13":
        assert avs_in(*SUBMIT, "--elapsed", "3", "--priority", priority, "-o", "team/")[0] == 0
    files = sorted(str(path) for path in (tmp_path / "team").iterdir())
    line = ("submit", "--check", *files, "--topics", "topics", "--year", "2023")
    code, out, err = avs_in(*line)
    assert (code, out) == (3, "")
    assert err.splitlines() == [
        "avs: task M, class F: no run has priority 2; 2 runs have 1 to 2",
        "avs: 2 files: 1 reason for NIST to reject them",
    ]
    (tmp_path / "shots.tsv").write_text("shot\tvideo\tstart\tend\nshot00001_1\tv\t0\t1\nshot00001_2\tv\t1\t2\n")
    code, _, err = avs_in(*line, "--shots", "shots.tsv")
    assert [text.removeprefix(f"avs: {tmp_path}/team/") for text in err.splitlines()] == [
        "F_M_C_D_TEAM.23_1.xml: topic 732: not in the shot table: shot00002_1",
        "F_M_C_D_TEAM.23_3.xml: topic 732: not in the shot table: shot00002_1",
        "avs: task M, class F: no run has priority 2; 2 runs have 1 to 2",
        "avs: 2 of 2 files: 3 reasons for NIST to reject them",
    ]
    assert avs_in(*SUBMIT, "--elapsed", "3", "--priority", "2", "-o", "team/")[0] == 0
    code, _, err = avs_in(*line, files[0].replace("_1.xml", "_2.xml"))
    assert code == 0
    assert err.count("valid, 2 topics, 3 shots") == 3


@pytest.mark.parametrize(
    ("name", "count"),
    [("tv19.avs.txt", 30), ("tv20.avs.txt", 20), ("trecvid.progress.avs.topics_parsed.txt", 20)],
)
def test_a_run_of_several_years_is_submitted_for_each_task(
    avs_in, shared_data, tmp_path: Path, name: str, count: int
) -> None:
    """70 topics searched at once, under the four digits of NIST's judgments; each task takes its own."""
    every = [line.split()[0] for line in shared_data("topics/tv19_20_progress.avs.topics_parsed.txt").open()]
    (tmp_path / "my.run").write_text("".join(f"1{topic} Q0 shot00001_1 1 1 t\n" for topic in every))
    topics = shared_data(f"topics/{name}")
    code, _, err = avs_in(*SUBMIT, "--elapsed", "1", "--topics", str(topics), "-o", "run.xml")
    assert code == 0 and f"dropped {70 - count} topics" in err
    answered = [result.number for result in read_submission(str(tmp_path / "run.xml")).results]
    assert sorted(answered) == sorted(line.split()[0] for line in topics.open() if line.strip())


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
