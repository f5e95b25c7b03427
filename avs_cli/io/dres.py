"""A DRES server (Distributed Retrieval Evaluation Server), which judges submissions in contests such as VBS and LSC.

    dres = Dres("https://vbs.example.org", "team", "password")
    print(dres.submit([Answer("00123", 12.0, 15.5)]).outcome)    # CORRECT, WRONG, INDETERMINATE or UNDECIDABLE

Follows version 2 of the client API that DRES publishes (github.com/dres-dev/DRES, doc/oas-client.json): three requests,
for which the standard library is enough.
"""

import http.client
import json
import urllib.request
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.parse import quote, urlencode, urlsplit

from avs_cli.errors import AvsError, SpecError, UnavailableError, UnknownName, few

# Seconds to wait for an answer: a task of a contest lasts a few minutes.
PATIENCE = 10.0
ACTIVE = "ACTIVE"
# Bytes of an answer: a list of evaluations with their tasks takes some thousand.
MOST = 1 << 24


class Answer(NamedTuple):
    """A stretch of a media item, in seconds, or a whole item (times of None), or a text alone."""

    item: str = ""
    start: float | None = None
    end: float | None = None
    text: str = ""


class Verdict(NamedTuple):
    """What the server says of a submission: CORRECT, WRONG, INDETERMINATE or UNDECIDABLE, and in words."""

    outcome: str
    description: str


class Dres:
    """A session with a server, as one of its users, in one evaluation.

    evaluation  the name or id of an active evaluation; needed only where there are several

    Logs in at the first use, and again when the session has expired. Raises UnavailableError for a server that cannot
    be reached or gives no answer of this API, AvsError for what it refuses.
    """

    def __init__(self, url: str, user: str, password: str, evaluation: str = "", patience: float = PATIENCE):
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SpecError(f"{url}: not the address of a DRES server, such as https://vbs.example.org")
        if parts.username or parts.password:
            raise SpecError("an address with a password in it is shown in messages; give user and password apart")
        self.url, self.user, self.password, self.evaluation = url.rstrip("/"), user, password, evaluation
        self.patience = patience
        self.session = ""

    def evaluations(self) -> list[dict[str, Any]]:
        """The evaluations of this user, with `id`, `name`, `status` and more."""
        found = self._call("GET", "client/evaluation/list")
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise self._strange(found)
        return found

    def task(self) -> str:
        """The name of the task that is running; "" without one."""
        try:
            found = self._call("GET", f"client/evaluation/currentTask/{quote(self._active(), safe='')}")
        except _NotFoundError:
            return ""
        return str(self._of(found, "name"))

    def submit(self, answers: Iterable[Answer]) -> Verdict:
        """Submit answers to the task that is running, as one set.

        Raises AvsError where the server refuses: no task is running, or a media item that it does not know.
        """
        place = f"submit/{quote(self._active(), safe='')}"
        found = self._call("POST", place, {"answerSets": [{"answers": [_described(one) for one in answers]}]})
        return Verdict(str(self._of(found, "submission")), str(found.get("description", "")))

    def _active(self) -> str:
        """The id of the evaluation."""
        active = [one for one in self.evaluations() if one.get("status") == ACTIVE]
        if self.evaluation:
            known = [str(one.get("name")) for one in active]
            active = [one for one in active if self.evaluation in (one.get("id"), one.get("name"))]
            if not active:
                raise UnknownName("active evaluation", self.evaluation, known)
        if not active:
            raise AvsError(f"{self.url}: no active evaluation for {self.user}")
        if len(active) > 1:
            names = few(str(one.get("name")) for one in active)
            raise SpecError(f"{self.url}: {len(active)} active evaluations ({names}); name one")
        return str(self._of(active[0], "id"))

    def _log_in(self) -> None:
        status, found = self._send("POST", "login", {"username": self.user, "password": self.password})
        if status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise AvsError(f"{self.url}: does not accept user {self.user!r} with this password")
        self.session = str(self._of(self._accepted(status, found), "sessionId"))

    def _call(self, method: str, place: str, content: Any = None) -> Any:
        """The content of an answer; logs in where there is no session, or no longer."""
        known = bool(self.session)
        if not known:
            self._log_in()
        status, found = self._send(method, place, content)
        if status == HTTPStatus.UNAUTHORIZED and known:
            self._log_in()
            status, found = self._send(method, place, content)
        return self._accepted(status, found)

    def _send(self, method: str, place: str, content: Any) -> tuple[int, Any]:
        """The status and the content of an answer."""
        query = f"?{urlencode({'session': self.session})}" if place != "login" else ""
        request = urllib.request.Request(
            f"{self.url}/api/v2/{place}{query}",
            None if content is None else json.dumps(content).encode(),
            {"Content-Type": "application/json", "Accept": "application/json"},
            method=method,
        )
        try:
            try:
                with urllib.request.urlopen(request, timeout=self.patience) as answer:
                    status, text = answer.status, answer.read(MOST)
            except HTTPError as error:
                with error:
                    status, text = error.code, error.read(MOST)
        except (OSError, http.client.HTTPException, ValueError) as error:
            why = getattr(error, "reason", None) or str(error) or type(error).__name__
            raise UnavailableError(f"{self.url}: no answer ({why})") from None
        try:
            return status, json.loads(text)
        except (ValueError, RecursionError):
            raise self._strange(text.decode(errors="replace")) from None

    def _accepted(self, status: int, content: Any) -> Any:
        """What an answer holds. Raises AvsError with the words of the server for what it refuses."""
        if status not in (HTTPStatus.OK, HTTPStatus.ACCEPTED):
            why = content.get("description", "") if isinstance(content, dict) else ""
            kind = _NotFoundError if status == HTTPStatus.NOT_FOUND else AvsError
            raise kind(f"{self.url}: {' '.join(str(why).split()) or f'status {status}'}")
        return content

    def _of(self, content: Any, key: str) -> Any:
        if not isinstance(content, dict) or key not in content:
            raise self._strange(content)
        return content[key]

    def _strange(self, content: Any) -> UnavailableError:
        return UnavailableError(
            f"{self.url}: answers as no DRES server of version 2: {' '.join(str(content).split())[:80]!r}"
        )


class _NotFoundError(AvsError):
    """The server knows no such thing."""


def _described(answer: Answer) -> dict[str, Any]:
    """An answer in the server's terms, with times in whole milliseconds."""
    described: dict[str, Any] = {}
    if answer.text:
        described["text"] = answer.text
    if answer.item:
        described["mediaItemName"] = answer.item
    times = {"start": answer.start, "end": answer.end}
    return described | {name: round(time * 1000) for name, time in times.items() if time is not None}
