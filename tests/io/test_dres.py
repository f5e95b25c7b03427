"""Submissions to a server that follows DRES's published API."""

from collections.abc import Iterator

import pytest
from dres import PASSWORD, USER, Contest, serving

from avs_cli.errors import AvsError, SpecError, UnavailableError, UnknownName
from avs_cli.io.dres import Answer, Dres


@pytest.fixture
def contest() -> Iterator[Contest]:
    with serving() as contest:
        yield contest


@pytest.fixture
def dres(contest: Contest) -> Dres:
    return Dres(f"{contest.url}/", USER, PASSWORD)


def test_a_submission_is_judged(contest: Contest, dres: Dres) -> None:
    assert dres.submit([Answer("00123", 12.0, 15.4996)]) == ("CORRECT", "Submission correct!")
    assert dres.submit([Answer("00124"), Answer("00123", 0, 0)]).outcome == "WRONG"
    assert dres.submit([Answer("00125", 1, 2)]).outcome == "INDETERMINATE"  # status 202
    assert dres.submit([Answer(text="two dogs")]).outcome == "CORRECT"
    assert contest.sent == [
        [{"mediaItemName": "00123", "start": 12000, "end": 15500}],
        [{"mediaItemName": "00124"}, {"mediaItemName": "00123", "start": 0, "end": 0}],
        [{"mediaItemName": "00125", "start": 1000, "end": 2000}],
        [{"text": "two dogs"}],
    ]
    assert contest.logins == 1


def test_a_session_that_has_expired_is_renewed(contest: Contest, dres: Dres) -> None:
    assert dres.task() == "avs-01"
    contest.sessions.clear()
    assert dres.task() == "avs-01" and contest.logins == 2


def test_what_the_server_refuses_is_said_in_its_words(contest: Contest, dres: Dres) -> None:
    with pytest.raises(AvsError, match=r"Media item 'x' not found in collection\."):
        dres.submit([Answer("x", 0, 1)])
    contest.task = ""
    with pytest.raises(AvsError, match=r"No task is running\."):
        dres.submit([Answer("00123", 0, 1)])
    assert dres.task() == ""
    with pytest.raises(AvsError, match="does not accept user 'team' with this password"):
        Dres(contest.url, USER, "wrong").task()


def test_the_active_evaluation_is_chosen_or_named(contest: Contest, dres: Dres) -> None:
    contest.evaluations += [("e3", "LSC", "ACTIVE")]
    with pytest.raises(SpecError, match=r"2 active evaluations \(VBS, LSC\); name one"):
        dres.task()
    for name in ("LSC", "e3"):
        assert Dres(contest.url, USER, PASSWORD, name).task() == "avs-01"
    with pytest.raises(UnknownName, match=r"unknown active evaluation 'LSD'; did you mean 'LSC'\?"):
        Dres(contest.url, USER, PASSWORD, "LSD").task()
    contest.evaluations = contest.evaluations[1:2]
    with pytest.raises(AvsError, match="no active evaluation for team"):
        dres.task()


@pytest.mark.parametrize("content", [b"<html>hello</html>", b"[]", b"[1]", b"{}", b"null", b"\xff", b"[" * 100_000])
def test_another_server_is_no_dres_server(content: bytes, contest: Contest, dres: Dres) -> None:
    contest.answer = lambda *arguments: (200, content)  # type: ignore[method-assign]
    with pytest.raises(UnavailableError, match="answers as no DRES server of version 2"):
        dres.task()


def test_no_server_is_one_line() -> None:
    with pytest.raises(UnavailableError, match=r"http://127\.0\.0\.1:9: no answer"):
        Dres("http://127.0.0.1:9", USER, PASSWORD).task()


@pytest.mark.parametrize("url", ["vbs.example.org", "file:///etc/passwd", "https://", "https://team:secret@vbs.org"])
def test_addresses_that_are_none_are_refused_and_no_password_is_shown(url: str) -> None:
    with pytest.raises(SpecError) as caught:
        Dres(url, USER, PASSWORD)
    assert "secret" not in str(caught.value)
