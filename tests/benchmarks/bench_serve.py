"""`avs serve` over HTTP: the time of an answer in 100,000 shots, 50 clients at once, and 1,000 hostile requests.

The shots are random unit vectors in the space of lite, whose text side reads the sentences: what is measured is all of
an answer but its sense. Each sentence is asked once. The time is the whole of it, from the request to the last byte of
the cards of 60 shots. A hostile request is wrong in one way or several; none may be answered with more than a refusal,
stop the server, or leave a traceback on its stderr.
"""

import http.client
import io
import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from avs_cli.io.store.writer import Item, StoreWriter
from avs_cli.stages.topics import load_encoder
from avs_cli.types import Shot

SHOTS, PER_VIDEO, QUERIES, CLIENTS, HOSTILE = 100_000, 100, 300, 50, 1_000
SECONDS = 60.0
SECRET = "what no answer may contain"
WORDS = "dog beach man woman red car street night snow child ball tree water horse bridge boat rain door table bird"


class Address(NamedTuple):
    """Where the server listens."""

    host: str
    port: int


def gallery(path: Path) -> None:
    """Random unit vectors as shots of a hundred to a video; the first video is there, every tenth has a picture."""
    encoder = load_encoder("lite")
    draw = np.random.default_rng(0)
    picture = io.BytesIO()
    Image.new("RGB", (320, 180), (90, 120, 90)).save(picture, "JPEG")
    with StoreWriter(path, "lite", encoder.dim, {**encoder.provenance, "spec": "lite"}) as writer:
        for low in range(0, SHOTS, 10_000):
            vectors = draw.standard_normal((10_000, encoder.dim), np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            writer.add(
                [
                    Item(shot(low + n), shot(low + n).id, vector, picture.getvalue() if n % 10 == 0 else None)
                    for n, vector in enumerate(vectors.astype(np.float16))
                ]
            )
        writer.finish([])
    (path.parent / "v0000.mp4").write_bytes(bytes(1_000_000))
    (path.parent / "secret.mp4").write_text(SECRET)


def shot(number: int) -> Shot:
    video, place = divmod(number, PER_VIDEO)
    return Shot(f"v{video:04}_{place:02}", f"v{video:04}.mp4", 3.0 * place, 3.0 * place + 3)


@contextmanager
def serving(folder: Path) -> Iterator[tuple[Address, "subprocess.Popen[str]"]]:
    """The server as a process of its own; its stderr is in the file `errors`."""
    command = [sys.executable, "-m", "avs_cli", "serve", "g.h5", "--port", "0"]
    with (
        (folder / "errors").open("w") as errors,
        subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=errors, text=True) as running,
    ):
        try:
            assert running.stdout is not None
            host, port = running.stdout.readline().strip().removeprefix("http://").removesuffix("/").split(":")
            yield Address(host, int(port)), running
        finally:
            running.send_signal(signal.SIGINT)


class Browser:
    """A client that keeps its connection."""

    def __init__(self, address: Address):
        self.connection = http.client.HTTPConnection(*address, timeout=60)
        self.headers = {"Origin": f"http://{address.host}:{address.port}", "Content-Type": "application/json"}

    def post(self, path: str, question: object) -> tuple[int, bytes]:
        self.connection.request("POST", path, json.dumps(question), self.headers)
        answer = self.connection.getresponse()
        return answer.status, answer.read()

    def get(self, path: str) -> tuple[int, bytes]:
        self.connection.request("GET", path)
        answer = self.connection.getresponse()
        return answer.status, answer.read()


def sentences(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [f"a {' '.join(draw.sample(WORDS.split(), 6))}" for _ in range(count)]


def asked(text: str) -> dict[str, object]:
    return {"text": text, "fold": True, "count": 60}


def times(address: Address) -> list[float]:
    """Seconds of each question, the first left out."""
    browser, found = Browser(address), []
    for text in sentences(QUERIES + 1, 0):
        begun = time.perf_counter()
        status, _ = browser.post("/search", asked(text))
        found.append(time.perf_counter() - begun)
        assert status == 200
    return found[1:]


def crowd(address: Address) -> tuple[int, int]:
    """Answers and errors of clients that search, look at thumbnails and mark, all at once."""
    done, failed = Counter[str](), Counter[str]()
    end = time.monotonic() + SECONDS

    def visit(number: int) -> None:
        browser = Browser(address)
        draw = random.Random(number)
        texts = sentences(20, number % 10)
        try:
            while time.monotonic() < end:
                text = draw.choice(texts)
                status, data = browser.post("/search", asked(text))
                images = [part.split('"')[0] for part in json.loads(data)["html"].split('src="')[1:4]]
                statuses = [status, *(browser.get(image)[0] for image in images)]
                place = f"v{draw.randrange(1000):04}_{draw.randrange(100):02}"
                statuses.append(
                    browser.post("/mark", {"text": text, "shot": place, "relevant": draw.random() < 0.5})[0]
                )
                done["answers"] += len(statuses)
                failed["statuses"] += sum(one != 200 for one in statuses)
        except (OSError, http.client.HTTPException, ValueError) as error:
            failed[repr(error)] += 1

    threads = [threading.Thread(target=visit, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return done["answers"], failed.total()


STEPS = ["../", "..%2f", "%2e%2e/", "..\\", "..%5c", "%252e%252e%252f", "....//", "..;/", "%c0%ae%c0%ae/", "/", "%00"]
ENDS = ["secret.mp4", "etc/passwd", "g.h5", "marks.qrels", "proc/self/environ", "%00", "0", "-1", "9" * 9000, "٣"]
RANGES = [
    "bytes=0-1,2-3",
    f"bytes={'0-,' * 3000}",
    "bytes=9999999999-",
    f"bytes=-{'9' * 30}",
    "bytes=5-2",
    "x=1-2",
    "-",
]
BODIES = [
    *(b"", b"{", b"[]", b"null", b"\xff", b"[" * 30_000, b'{"a": ' * 5000, b"\x00" * 999, b'{"text": NaN}'),
    *(b'{"text": 1e999}', b'{"text": "\\ud800"}', b'{"text": "../../secret.mp4.png"}', b'{"text": "r", "first": -1}'),
    *(b'{"text": "r", "count": ' + b"9" * 5000 + b"}", b'{"text": "' + b"r" * 60_000 + b'"}', b'{"text": ["r"]}'),
    *(
        b'{"pictures": ["../secret.mp4"]}',
        b'{"text": "r", "like": ["../secret.mp4"]}',
        b'{"text": "r", "kind": "../x"}',
    ),
    b'{"text": "r", "shot": "../x", "relevant": true}',
]


class Sent(NamedTuple):
    """A request in bytes, and whether it is whole: the server waits for the rest of one that is not."""

    data: bytes
    whole: bool = True


def hostile(address: Address) -> Iterator[Sent]:
    """Requests that are wrong in some way, without end, in an order that is always the same."""
    host = f"{address.host}:{address.port}"
    draw = random.Random(0)
    bomb = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(bomb, "PNG")
    good = {"Host": host, "Origin": f"http://{host}", "Connection": "close", "Content-Type": "application/json"}

    def sent(method: str, path: str, headers: dict[str, str], body: bytes | None = None, whole: bool = True) -> Sent:
        length = {} if body is None or "Content-Length" in headers else {"Content-Length": str(len(body))}
        lines = [f"{name}: {value}" for name, value in {**good, **length, **headers}.items()]
        head = "\r\n".join([f"{method} {path} HTTP/1.1", *lines])
        return Sent(f"{head}\r\n\r\n".encode("utf-8", "replace") + (body or b""), whole)

    while True:
        post = draw.choice(["/search", "/mark", "/undo", "/export", "/send", "/picture"])
        path = draw.choice(["/", "/video/", "/thumbnail/", "/video/{version}/", "/thumbnail/{version}/"])
        path += "".join(draw.choices(STEPS, k=draw.randrange(1, 9))) + draw.choice(ENDS)
        body = draw.choice(BODIES)
        origin = draw.choice(
            ["http://evil.example", "null", "http://[", f"https://{host}", f"http://{host}.evil.example"]
        )
        other = draw.choice(
            ["evil.example", f"{host}.evil.example", "", "[::1", f"evil@{host}#", "127.0.0.1:x", "a" * 9000]
        )
        image = draw.choice([bomb.getvalue(), b"", b"\xff\xd8\xff" + bytes(999), b"GIF89a", b"<svg/>", bytes(100_000)])
        length = draw.choice(["99999999999", "-1", "1e9", "0x10", "9" * 99])
        method = draw.choice(["PUT", "DELETE", "TRACE", "OPTIONS", "CONNECT", "PROPFIND"])
        token = draw.choice(["", "é", "x" * 20_000])
        yield sent("GET", path, {})
        yield sent("POST", post, {}, body)
        yield sent("POST", post, {"Origin": origin}, body)
        yield sent("POST", post, {"Sec-Fetch-Site": draw.choice(["cross-site", "same-site", "none"])}, body)
        yield sent("GET", draw.choice(["/", "/script.js"]), {"Host": other})
        yield sent("GET", "/video/{version}/0", {"Range": draw.choice(RANGES)})
        yield sent("POST", post, {"Content-Length": length}, b"{}", False)
        yield sent("POST", post, {"Content-Length": "60000"}, b"{}", False)
        yield sent("POST", post, {"Transfer-Encoding": "chunked"}, None, False)
        yield sent("POST", "/picture", {"Content-Type": "image/png"}, image)
        yield sent(method, path[:99], {}, b"")
        yield sent("GET", f"/?token={token}", {"Cookie": f"avs={'x' * draw.randrange(9000)}", "Host": other})
        yield Sent(
            draw.choice([b"\x16\x03\x01\x02\x00", b"GET / HTTP/9.9\r\n\r\n", b"A" * 100_000, b"\r\n" * 99]), False
        )


def answer_to(address: Address, request: Sent) -> bytes:
    """What the server sends until it closes the connection; nothing where it closes it at once."""
    with socket.create_connection(address, timeout=20) as connection:
        try:
            connection.sendall(request.data)
            if not request.whole:
                connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(1 << 16), b""))
        except (ConnectionError, BrokenPipeError):
            return b""


def attacked(address: Address, running: "subprocess.Popen[str]", folder: Path) -> Iterator[tuple[str, str, str]]:
    """Rows on the hostile requests."""
    version = json.loads(Browser(address).post("/search", asked("a dog"))[1])["version"]
    before = resident(running.pid)
    statuses: Counter[str] = Counter()
    leaks = slow = 0
    for request in itertools.islice(hostile(address), HOSTILE):
        begun = time.monotonic()
        answer = answer_to(address, request._replace(data=request.data.replace(b"{version}", version.encode())))
        slow += time.monotonic() - begun > 5
        head = answer.partition(b"\r\n")[0].split()
        statuses[head[1].decode("ascii", "replace")[:1] + "xx" if len(head) > 1 else "closed"] += 1
        leaks += any(mark in answer for mark in (SECRET.encode(), b"root:", b"Traceback", b"HDF"))
    errors = (folder / "errors").read_text()
    alive = running.poll() is None and Browser(address).post("/search", asked("a cat"))[0] == 200
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(statuses.items()))
    yield (
        f"serve, {HOSTILE} hostile requests: leaks, tracebacks",
        f"{leaks}, {errors.count('Traceback')} ({counts})",
        "0, 0",
    )
    yield "serve, hostile requests: answers later than 5 s, and whether it lives", f"{slow}, {alive}", "0, True"
    yield "serve, hostile requests: growth of memory", f"{(resident(running.pid) - before) / 1e6:.0f} MB", "< 200 MB"


def resident(process: int) -> int:
    """Bytes in memory."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * 4096


def processor(process: int) -> float:
    """Seconds of all threads so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rows() -> Iterator[tuple[str, str, str]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        gallery(folder / "g.h5")
        with serving(folder) as (address, running):
            before = processor(running.pid)
            taken = np.array(times(address)) * 1000
            spent = (processor(running.pid) - before) / QUERIES
            low, high = np.percentile(taken, [50, 95])
            yield (
                f"serve, a question in {SHOTS:,} shots: median and 95th percentile",
                f"{low:.0f}, {high:.0f} ms",
                "p95 < 150 ms",
            )
            yield "serve, processor time of such a question", f"{spent * 1000:.0f} ms", ""
            yield from attacked(address, running, folder)
            count, failed = crowd(address)
            what = f"serve, {CLIENTS} clients for {SECONDS:.0f} s: answers, errors"
            yield what, f"{count:,}, {failed}", "0 errors"
            yield "serve, tracebacks of all that", str((folder / "errors").read_text().count("Traceback")), "0"


if __name__ == "__main__":
    for row in rows():
        print(*row, sep="\t", flush=True)
