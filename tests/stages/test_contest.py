"""Shots submitted to a contest, by a server that follows DRES's published API."""

from collections.abc import Callable
from typing import Any

import pytest
from dres import PASSWORD, USER, serving

from avs_cli.errors import AvsError
from avs_cli.io.dres import Answer
from avs_cli.stages.contest import answer_of, submitting
from avs_cli.types import Shot

SHOT = Shot("00123_7", "videos/00123.mp4", 12.0, 15.5)


def test_a_shot_or_a_moment_of_it_is_submitted(hearing: Callable[[], Any]) -> None:
    with serving() as contest:
        report = hearing()
        submit = submitting(contest.url, USER, PASSWORD, "VBS", report=report)
        assert report.notes == [f"{contest.url}: task avs-01"]
        assert submit(SHOT, None) == "CORRECT: Submission correct!"
        assert submit(SHOT, 13.25) == "CORRECT: Submission correct!"
        contest.task = ""
        with pytest.raises(AvsError, match="No task is running"):
            submit(SHOT, 13.25)
        submitting(contest.url, USER, PASSWORD, report=report)
    assert report.notes[-1] == f"{contest.url}: no task is running"
    assert contest.sent == [
        [{"mediaItemName": "00123", "start": 12000, "end": 15500}],
        [{"mediaItemName": "00123", "start": 13250, "end": 13250}],
    ]


def test_the_first_moment_is_a_moment_and_a_picture_an_item() -> None:
    assert answer_of(SHOT, 0.0) == Answer("00123", 0.0, 0.0)
    assert answer_of(Shot("p.v2", "p.v2.jpg", 0, 0), 3.0) == Answer("p.v2")
