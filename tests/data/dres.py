"""A small server that follows the client API that DRES publishes, version 2: statuses, schemas, sessions."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

USER, PASSWORD = "team", "p&ss wörd"
ANSWER = {"text": str, "mediaItemName": str, "mediaItemCollectionName": str, "start": int, "end": int}


class Contest:
    """What the server knows, and what it was sent.

    items    media item -> the verdict on it; others are unknown
    task     that is running; "" for none
    sessions that are valid
    sent     the answers of each accepted submission
    """

    def __init__(self) -> None:
        self.items = {"00123": "CORRECT", "00124": "WRONG", "00125": "INDETERMINATE"}
        self.evaluations = [("e 1/2", "VBS", "ACTIVE"), ("e2", "test", "TERMINATED")]
        self.task = "avs-01"
        self.sessions: set[str] = set()
        self.logins = 0
        self.sent: list[list[dict[str, Any]]] = []
        self.url = ""

    def answer(self, method: str, path: str, session: str, content: Any) -> tuple[int, Any]:
        if (method, path) == ("POST", "/api/v2/login"):
            if content != {"username": USER, "password": PASSWORD}:
                return 401, _error("Invalid credentials. Please try again!")
            self.logins += 1
            self.sessions.add(f"s&{self.logins}")
            return 200, {"id": "u1", "username": USER, "role": "PARTICIPANT", "sessionId": f"s&{self.logins}"}
        if session not in self.sessions:
            return 401, _error("Unauthorized request!")
        if (method, path) == ("GET", "/api/v2/client/evaluation/list"):
            return 200, [
                {"id": id, "name": name, "type": "SYNCHRONOUS", "status": status, "templateId": "t", "teams": [],
                 "taskTemplates": []}
                for id, name, status in self.evaluations
            ]  # fmt: skip
        active = {
            id.replace(" ", "%20").replace("/", "%2F") for id, _, status in self.evaluations if status == "ACTIVE"
        }
        place, _, id = path.rpartition("/")
        if id not in active:
            return 404, _error("Evaluation not found.")
        if (method, place) == ("GET", "/api/v2/client/evaluation/currentTask"):
            if not self.task:
                return 404, _error("No active task.")
            return 200, {"name": self.task, "taskGroup": "AVS", "taskType": "AVS", "duration": 300}
        if (method, place) == ("POST", "/api/v2/submit"):
            return self.submit(content)
        return 404, _error("no such page")

    def submit(self, content: Any) -> tuple[int, Any]:
        if not isinstance(content, dict) or set(content) != {"answerSets"} or not content["answerSets"]:
            return 400, _error("Invalid submission")
        for of_set in content["answerSets"]:
            if not {"answers"} <= set(of_set) <= {"answers", "taskId", "taskName"} or not of_set["answers"]:
                return 400, _error("Invalid answer set")
            for answer in of_set["answers"]:
                if any(key not in ANSWER or type(value) is not ANSWER[key] for key, value in answer.items()):
                    return 400, _error("Invalid answer")
        if not self.task:
            return 412, _error("No task is running.")
        answers = content["answerSets"][0]["answers"]
        name = answers[0].get("mediaItemName", "00123")
        if name not in self.items:
            return 404, _error(f"Media item '{name}' not found in collection.")
        self.sent.append(answers)
        outcome = self.items[name]
        return 202 if outcome == "INDETERMINATE" else 200, {
            "status": True,
            "submission": outcome,
            "description": f"Submission {outcome.lower()}!",
        }


def _error(description: str) -> dict[str, Any]:
    return {"status": False, "description": description}


@contextmanager
def serving() -> Iterator[Contest]:
    """A contest that answers at its `url` as long as the context is open."""
    contest = Contest()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length", 0))
            content = json.loads(self.rfile.read(length)) if length else None
            session = parse_qs(parts.query).get("session", [""])[0]
            status, found = contest.answer(self.command, parts.path, session, content)
            data = json.dumps(found).encode() if not isinstance(found, bytes) else found
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_GET

        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        contest.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield contest
        finally:
            server.shutdown()
            thread.join()
