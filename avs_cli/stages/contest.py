"""Contest: shots submitted to a DRES server while they are found, as in the Video Browser Showdown.

submit = submitting("https://vbs.example.org", "team", "password")
submit(shot, 12.5)    # "WRONG: Submission incorrect!"
"""

from collections.abc import Callable
from pathlib import PurePath

from avs_cli.io.dres import Answer, Dres
from avs_cli.reporting import LOGGED, Reporter
from avs_cli.types import Shot

Submit = Callable[[Shot, float | None], str]
"""Submits a shot, or a moment of its video in seconds, and returns what to say of it."""


def submitting(url: str, user: str, password: str, evaluation: str = "", *, report: Reporter = LOGGED) -> Submit:
    """A function that submits a shot, or a moment of its video in seconds, and returns the verdict in words.

    evaluation  the name or id of an active evaluation; needed only where there are several

    Media items are called by the file names of videos without suffix, as in V3C. Logs in at once, and notes the task
    that is running. Raises UnavailableError for a server that gives no answer, AvsError for what it refuses.
    """
    dres = Dres(url, user, password, evaluation)
    task = dres.task()
    report.note(f"{dres.url}: {f'task {task}' if task else 'no task is running'}")

    def submit(shot: Shot, seconds: float | None) -> str:
        verdict = dres.submit([answer_of(shot, seconds)])
        return f"{verdict.outcome}: {verdict.description}" if verdict.description else verdict.outcome

    return submit


def answer_of(shot: Shot, seconds: float | None) -> Answer:
    """A shot, or a moment of its video, as an answer; a still picture is a whole item."""
    item = PurePath(shot.video).stem
    if shot.end <= shot.start:
        return Answer(item)
    return Answer(item, shot.start, shot.end) if seconds is None else Answer(item, seconds, seconds)
