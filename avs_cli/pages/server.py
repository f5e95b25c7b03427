"""The server of `avs serve`: the page of results, live, over HTTP; what it answers comes from `stages.live`.

    GET  /  /style.css  /script.js  /icon.svg         the page
    GET  /thumbnail/VERSION/NUMBER                    JPEG of a shot
    GET  /video/VERSION/NUMBER                        the file of a video; one range is served, several are refused
    POST /search  /mark  /undo  /submit               JSON to JSON
    POST /picture                                     an example image, to its number
    POST /export                                      JSON to a file

No path from the browser reaches the file system: shots and videos are positions in lists, names are only compared with
those of the gallery. Requests must name this server as their host, and come from its own page; without a loopback
address they need the token, or the cookie that it is exchanged for. The policy of the page allows its own style,
script, pictures and videos, and no address elsewhere.
"""

import asyncio
import errno
import hashlib
import io
import json
import logging
import math
import os
import re
import secrets
import shutil
import socket
import tempfile
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from ipaddress import ip_address
from pathlib import Path, PurePath
from typing import Any, NamedTuple, get_args
from urllib.parse import parse_qs, urlsplit

import uvicorn
from PIL import Image
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from avs_cli.errors import AvsError, SpecError
from avs_cli.pages.cards import Card, asset, card, environment, judged, script
from avs_cli.stages.contest import Submit
from avs_cli.stages.live import Export, Live, LiveAnswer, Question, line_of
from avs_cli.stages.view import readable
from avs_cli.types import Piece

# Bytes of a request's body.
JSON_BYTES, PICTURE_BYTES = 64 << 10, 24 << 20
# Pixels of an example image, and how many are kept.
PIXELS, PICTURES = 50_000_000, 40
FORMATS = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "BMP": ".bmp"}
# Seconds for the body of a request to arrive.
PATIENCE = 30.0
# Characters of a sentence, shots that a page shows at a time, and shots of an export as clips or cut list.
TEXT, SHOWN, CUT = 1000, 60, 20
# Near-duplicates that a card unfolds to.
FOLDED = 50
# Files and folders that are offered to choose from.
OFFERED = 40

POLICY = (
    "default-src 'none'; img-src 'self' blob:; media-src 'self'; connect-src 'self'; style-src 'self'; "
    "script-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
# What browsers play, by the endings of files; others are sent as bytes.
MEDIA = {
    ".3gp": "video/3gpp", ".gif": "image/gif", ".m4v": "video/mp4", ".mkv": "video/x-matroska", ".mov": "video/mp4",
    ".mp4": "video/mp4", ".ogv": "video/ogg", ".webm": "video/webm",
    ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp", ".bmp": "image/bmp",
}  # fmt: skip
_RANGE = re.compile(r"bytes=(\d{1,15}-\d{0,15}|-\d{1,15})")
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="3" fill="#0d100f"/>'
    '<path d="M5 3.5v9l7.5-4.5z" fill="#e6b35c"/></svg>'
)


class Access(NamedTuple):
    """Who may ask.

    hosts   names by which requests may call this server, in lower case; addresses too where it serves `everywhere`
    token   what requests need; "" for none
    cookie  its name, and the secret that it holds
    """

    hosts: frozenset[str]
    everywhere: bool = False
    token: str = ""
    cookie: str = "avs"
    secret: str = ""


LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def access(host: str) -> Access:
    """The access to a server that listens on this name or address; what is not loopback gets a new token."""
    if host in LOOPBACK:
        return Access(LOOPBACK)
    everywhere = host in ("0.0.0.0", "::", "")
    names = {host.lower(), *LOOPBACK, *({socket.gethostname().lower(), socket.getfqdn().lower()} if everywhere else ())}
    return Access(frozenset(names), everywhere, secrets.token_urlsafe(24), "avs", secrets.token_urlsafe(24))


class Guard:
    """Refuses requests that do not come from this server's own page, and adds the headers of each answer."""

    def __init__(self, app: ASGIApp, access: Access):
        self.app, self.access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; anything but HTTP is dropped."""
        if scope["type"] != "http":
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                names = {name.lower() for name, _ in message["headers"]}
                more = {"cache-control": "no-store", **HEADERS}
                message["headers"] = [
                    *message["headers"],
                    *((k.encode(), v.encode()) for k, v in more.items() if k.encode() not in names),
                ]
            await send(message)

        answer = self._refusal(Request(scope)) or self.app
        await answer(scope, receive, send_with_headers)

    def _refusal(self, request: Request) -> Response | None:
        """The answer to a request that is not served."""
        hosts = request.headers.getlist("host")
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            return PlainTextResponse("this server has another name\n", 403)
        site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
        own = origin is not None and urlsplit_or_none(origin) == ("http", hosts[0].lower())
        if request.method in ("GET", "HEAD"):
            # A link from elsewhere may lead to the page, and to nothing else.
            if request.url.path != "/" and site not in (None, "same-origin", "none"):
                return PlainTextResponse("for the page of this server only\n", 403)
        elif (site is None and origin is None) or site not in (None, "same-origin") or not (origin is None or own):
            return PlainTextResponse("for the page of this server only\n", 403)
        return self._unknown(request)

    def _is_ours(self, host: str) -> bool:
        name = (urlsplit_or_none(f"http://{host}") or ("", ""))[1]
        if not name or re.search(r"[/?#@\\\s]", host):
            return False
        bare = re.sub(r":\d{1,5}$", "", name).strip("[]")
        if bare in self.access.hosts:
            return True
        try:
            return self.access.everywhere and bool(ip_address(bare))
        except ValueError:
            return False

    def _unknown(self, request: Request) -> Response | None:
        """The answer to a request without the cookie: with the token in the address, the cookie."""
        if not self.access.token:
            return None
        given = request.cookies.get(self.access.cookie, "")
        if secrets.compare_digest(given.encode("utf-8", "replace"), self.access.secret.encode()):
            return None
        if request.method == "GET" and request.url.path == "/":
            asked = (
                parse_qs(request.url.query, max_num_fields=10).get("token", [""])
                if len(request.url.query) < 1000
                else [""]
            )
            if secrets.compare_digest(asked[0].encode("utf-8", "replace"), self.access.token.encode()):
                found = RedirectResponse("/", 303)
                found.set_cookie(self.access.cookie, self.access.secret, httponly=True, samesite="strict")
                return found
        return PlainTextResponse("open the address that avs serve printed: it has a token\n", 401)


def urlsplit_or_none(address: str) -> tuple[str, str] | None:
    """Scheme, and host with port, in lower case; None for what is no address."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    return parts.scheme.lower(), parts.netloc.lower()


class Pictures:
    """Example images that were sent: files in a folder, named by their digests; the oldest give way to new ones."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._paths: OrderedDict[str, Path] = OrderedDict()
        # Pixels take much memory: one image at a time.
        self._lock = threading.Lock()

    def add(self, data: bytes) -> str:
        """Keep an image. Raises SpecError for other data, and for one that is too large."""
        name = hashlib.sha256(data).hexdigest()[:16]
        with self._lock:
            path = self.folder / f"{name}{_checked(data)}"
            path.write_bytes(data)
            self._paths[name] = path
            self._paths.move_to_end(name)
            while len(self._paths) > PICTURES:
                self._paths.popitem(last=False)[1].unlink(missing_ok=True)
        return name

    def path(self, name: str) -> str:
        """The file of an image. Raises SpecError for one that is not kept."""
        if name not in self._paths:
            raise SpecError("the picture is not there any more; drop it again")
        return str(self._paths[name])


def _checked(data: bytes) -> str:
    """The suffix of an image. Raises SpecError for other data, and for one that is too large."""
    try:
        with Image.open(io.BytesIO(data), formats=list(FORMATS)) as image:
            if image.width * image.height > PIXELS:
                raise SpecError(f"the picture has more than {PIXELS // 1_000_000} million pixels")
            image.load()
            return FORMATS[image.format or ""]
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, MemoryError):
        raise SpecError(f"not a picture that can be read; give one of {', '.join(FORMATS)}") from None


class _Fields:
    """The members of a JSON object, of the types that they should have. Raises SpecError for others."""

    def __init__(self, data: object):
        if not isinstance(data, dict):
            raise SpecError("expected a JSON object")
        self._data: Mapping[str, object] = data

    def text(self, key: str, most: int = TEXT) -> str:
        return _plain(self._data.get(key, ""), key, most)

    def texts(self, key: str, most: int = 20) -> tuple[str, ...]:
        found = self._data.get(key, [])
        if not isinstance(found, list) or len(found) > most:
            raise SpecError(f"{key}: expected a list of at most {most} texts")
        return tuple(_plain(one, key, TEXT) for one in found)

    def number(self, key: str, default: float, low: float, high: float) -> float:
        found = self._data.get(key)
        if found is None:
            return default
        if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
            raise SpecError(f"{key}: expected a number")
        if not low <= found <= high:
            raise SpecError(f"{key}: expected a number from {low:g} to {high:g}")
        return float(found)

    def flag(self, key: str, default: bool = False) -> bool:
        found = self._data.get(key, default)
        if not isinstance(found, bool):
            raise SpecError(f"{key}: expected true or false")
        return found

    def choice(self, key: str, known: Sequence[object]) -> Any:
        found = self._data.get(key)
        if not any(found is one or (type(found) is type(one) and found == one) for one in known):
            raise SpecError(f"{key}: expected one of {', '.join(map(json.dumps, known))}")
        return found


def _plain(found: object, key: str, most: int) -> str:
    """A text of printable characters in UTF-8, single spaces between words."""
    if not isinstance(found, str) or len(found) > most:
        raise SpecError(f"{key}: expected a text of at most {most} characters")
    if any("\ud800" <= one <= "\udfff" for one in found):
        raise SpecError(f"{key}: half of a surrogate pair is no character")
    return " ".join("".join(one if one.isprintable() else " " for one in found).split())


class Application:
    """The answers of the server.

    submit  what the page's button "Submit" calls; None for no such button
    """

    def __init__(self, live: Live, folder: Path, submit: Submit | None = None):
        self.live, self.submit, self.folder = live, submit, folder
        self.pictures = Pictures(folder)
        self._exporting = threading.Lock()
        self._templates = environment()
        self._script = script("sheet.js", "serve.js")
        self._style = asset("results.css") + asset("serve.css")

    def routes(self) -> list[Route]:
        """The addresses."""
        return [
            Route("/", self.page),
            Route("/style.css", partial(self.fixed, "_style", "text/css")),
            Route("/script.js", partial(self.fixed, "_script", "text/javascript")),
            Route("/icon.svg", partial(self.fixed, "", "image/svg+xml")),
            Route("/thumbnail/{version}/{number}", self.thumbnail),
            Route("/video/{version}/{number}", self.video),
            *(
                Route(f"/{name}", self.answering(getattr(self, name)), methods=["POST"])
                for name in ("search", "mark", "undo", "export", "send")
            ),
            Route("/picture", self.picture, methods=["POST"]),
        ]

    # Files

    async def page(self, request: Request) -> Response:
        """The page, without shots."""
        html = await run_in_threadpool(self._page)
        return Response(html, media_type="text/html")

    def _page(self) -> str:
        live = self.live
        return str(
            self._templates.get_template("serve.html").render(
                stores=live.stores,
                count=len(live),
                features=live.features,
                marks=str(live.marks.path),
                marked=[(topic.query, line_of(topic), *counts) for topic, *counts in live.marked()[:12]],
                aspect=live.aspect,
                sure=live.calibrated,
                submits=self.submit is not None,
            )
        )

    async def fixed(self, name: str, kind: str, request: Request) -> Response:
        """A style, a script, an icon."""
        return Response(getattr(self, name) if name else ICON, media_type=kind)

    async def thumbnail(self, request: Request) -> Response:
        """The thumbnail of a shot."""
        version, number = request.path_params["version"], _number(request.path_params["number"])
        jpeg = await run_in_threadpool(self.live.thumbnail, version, number)
        if jpeg is None:
            raise HTTPException(404)
        return Response(jpeg, media_type="image/jpeg", headers={"cache-control": "private, max-age=86400, immutable"})

    async def video(self, request: Request) -> Response:
        """The file of a video, or a range of it."""
        path = self.live.video(request.path_params["version"], _number(request.path_params["number"]))
        if path is None or not path.is_file() or not os.access(path, os.R_OK):
            raise HTTPException(404)
        status = path.stat()
        if any(not _RANGE.fullmatch(one) for one in request.headers.getlist("range")):
            return Response(status_code=416, headers={"content-range": f"bytes */{status.st_size}"})
        kind = MEDIA.get(path.suffix.lower(), "application/octet-stream")
        return FileResponse(path, media_type=kind, stat_result=status, headers={"cache-control": "private, no-cache"})

    # Questions

    def answering(self, method: Callable[[_Fields], Any]) -> Callable[[Request], Awaitable[Response]]:
        """An endpoint that reads a JSON object, and answers in a thread; errors of the user are answers too."""

        async def endpoint(request: Request) -> Response:
            if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
                raise HTTPException(415)
            data = await _body(request, JSON_BYTES)
            try:
                found = json.loads(data)
            except (ValueError, RecursionError):
                return _error("not JSON", 400)
            return await run_in_threadpool(_answered, lambda: method(_Fields(found)))

        return endpoint

    async def picture(self, request: Request) -> Response:
        """Keep an example image."""
        if not request.headers.get("content-type", "").startswith("image/"):
            raise HTTPException(415)
        data = await _body(request, PICTURE_BYTES)
        return await run_in_threadpool(_answered, lambda: {"picture": self.pictures.add(data)})

    def _question(self, asked: _Fields) -> Question:
        return Question(
            text=asked.text("text"),
            pictures=tuple(map(self.pictures.path, asked.texts("pictures", 4))),
            like=asked.texts("like"),
            then=asked.text("then"),
            within=asked.number("within", 30.0, 0.1, 86400.0),
            features=asked.texts("features"),
            file=asked.text("file", 4096),
            folder=asked.text("folder", 4096),
            since=asked.number("since", 0.0, 0.0, 1e6),
            until=asked.number("until", math.inf, 0.0, 1e6),
        )

    def _search(self, asked: _Fields) -> LiveAnswer:
        return self.live.search(
            self._question(asked),
            at_least=asked.number("at_least", 0.0, 0.0, 1.0),
            by_marks=asked.flag("by_marks", True),
            fold=asked.flag("fold"),
        )

    def search(self, asked: _Fields) -> Mapping[str, object]:
        """A page of shots, as HTML, and what is said of them all."""
        first, count = int(asked.number("first", 0, 0, 1e6)), int(asked.number("count", SHOWN, 1, 1000))
        answer = self._search(asked)
        liked = sum(one.relevance > 0 for one in answer.judged.values())
        leading = [shot for shot in answer.ranking if shot not in answer.behind]
        behind: dict[str, list[str]] = {}
        for shot, better in answer.behind.items():
            behind.setdefault(better, []).append(shot)
        ranks = {shot: rank for rank, shot in enumerate(answer.ranking, start=1)}
        cards: list[Card] = []
        pieces = self.live.pieces(answer.question, leading[first : first + count])
        for shot in leading[first : first + count]:
            folded = behind.get(shot, [])[:FOLDED]
            cards.append(self._card(answer, ranks[shot], shot, pieces.get(shot, ()), folded=len(folded)))
            cards += [self._card(answer, ranks[other], other, beside=shot) for other in folded]
        return {
            "html": self._templates.get_template("shots.html").render(cards=cards, submits=self.submit is not None),
            "title": line_of(answer.question.topic()) or answer.question.topic().query,
            "shots": len(answer.ranking),
            "leading": len(leading),
            "topic": answer.topic,
            "doubt": answer.doubt,
            "sure": bool(answer.confidence),
            "taught": answer.taught,
            "liked": liked,
            "disliked": sum(one.relevance == 0 for one in answer.judged.values()),
            "files": [
                {"name": one.name, "label": PurePath(one.name).name, "shots": one.shots}
                for one in answer.files[:OFFERED]
            ],
            "folders": [
                {"name": one.name, "label": PurePath(one.name).name or one.name, "shots": one.shots}
                for one in answer.folders[:OFFERED]
            ],
            "version": answer.version,
            "seconds": round(answer.seconds, 4),
        }

    def _card(
        self, answer: LiveAnswer, rank: int, shot: str, pieces: Sequence[Piece] = (), folded: int = 0, beside: str = ""
    ) -> Card:
        place, number, video = answer.shots.get(shot), self.live.number(shot), self.live.video_number(shot)
        file = self.live.video(answer.version, video)
        address = f"/video/{answer.version}/{video}" if file else ""
        picture = readable(self.live.thumbnail(answer.version, number)) if pieces else None
        is_still = file is not None and MEDIA.get(file.suffix.lower(), "").startswith("image/")
        return card(
            shot,
            place,
            ranks=[rank],
            scores=[answer.ranking[shot]],
            style="live",
            source=f"/thumbnail/{answer.version}/{number}" if self.live.is_pictured(shot) else "",
            address=address,
            whole=address if is_still and place and place.end <= place.start else "",
            path=str(file.absolute()) if file else "",
            judged=judged(answer.judged, shot) if shot in answer.judged else "",
            sure=answer.confidence.get(shot),
            pieces=pieces,
            aspect=picture.aspect if picture else 0.0,
            folded=folded,
            beside=beside,
        )

    def mark(self, asked: _Fields) -> Mapping[str, object]:
        """Judge a shot."""
        change = self.live.mark(
            self._question(asked), asked.text("shot"), asked.choice("relevant", (True, False, None))
        )
        return {"topic": change.topic}

    def undo(self, asked: _Fields) -> Mapping[str, object]:
        """Take the last mark back."""
        change = self.live.undo(self._question(asked))
        return {"shot": change.shot if change else None}

    def send(self, asked: _Fields) -> Mapping[str, object]:
        """Submit a shot, at a moment of its video."""
        if self.submit is None:
            raise SpecError("nothing to submit to")
        shot = self.live.shot(asked.text("shot"))
        seconds = asked.number("seconds", -1.0, 0.0, 1e6)
        return {"message": self.submit(shot, None if seconds < 0 else seconds)}

    def export(self, asked: _Fields) -> Response:
        """The answer as a file; clips and cut lists are of the liked shots if there are any, else of the first."""
        kind = asked.choice("kind", (*get_args(Export), "qrels", "clips"))
        if kind == "qrels":
            if not self.live.marks.path.is_file():
                raise SpecError("no marks yet")
            return _attachment(self.live.marks.path.read_bytes(), "marks.qrels")
        answer = self._search(asked)
        # Qrels of others may call a topic anything.
        name = f"topic-{re.sub(r'[^A-Za-z0-9._-]', '_', answer.topic)[:40]}"
        if kind != "run":
            liked = [shot for shot, one in answer.judged.items() if one.relevance > 0]
            chosen = liked or [*answer.ranking][:CUT]
            answer = answer._replace(ranking={shot: answer.ranking.get(shot, 0.0) for shot in chosen})
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        try:
            if kind == "clips":
                with self._exporting:  # one takes all cores
                    made = self.live.write_clips(answer, folder / "clips", len(answer.ranking))
                if not made:
                    raise SpecError("none of these shots can be cut")
                with zipfile.ZipFile(folder / f"{name}.zip", "w", zipfile.ZIP_STORED) as out:
                    for path in made:
                        out.write(path, path.name)
                        path.unlink()
                kind = "zip"
            else:
                self.live.write(answer, kind, folder / f"{name}.{kind}")
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return FileResponse(
            folder / f"{name}.{kind}",
            media_type="application/octet-stream",
            filename=f"{name}.{kind}",
            background=BackgroundTask(shutil.rmtree, folder, ignore_errors=True),
        )


def _number(text: str) -> int:
    """A number in an address; -1 for other texts."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1


async def _body(request: Request, most: int) -> bytes:
    """The body of a request. Raises HTTPException for a longer one, and for one that does not arrive."""
    declared = request.headers.get("content-length", "0")
    if not (declared.isascii() and declared.isdigit()) or len(declared) > 15 or int(declared) > most:
        raise HTTPException(413)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(PATIENCE):
            async for part in request.stream():
                size += len(part)
                if size > most:
                    raise HTTPException(413)
                parts.append(part)
    except TimeoutError:
        raise HTTPException(408) from None
    except ClientDisconnect:
        raise HTTPException(400) from None
    return b"".join(parts)


def _answered(method: Callable[[], object]) -> Response:
    """What a method returns as JSON, or the error that the user can fix."""
    try:
        found = method()
    except AvsError as error:
        return _error(str(error), 400)
    except OSError as error:
        return _error(f"{error.filename or 'the disk'}: {(error.strerror or str(error)).lower()}", 503)
    return found if isinstance(found, Response) else JSONResponse(found)


def _error(message: str, status: int) -> Response:
    return JSONResponse({"error": message}, status)


def _attachment(data: bytes, name: str) -> Response:
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(data, media_type="application/octet-stream", headers=headers)


async def _refused(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    words = {
        400: "incomplete",
        404: "not here",
        405: "not so",
        408: "too slow",
        413: "too large",
        415: "of another type",
    }
    headers = error.headers if isinstance(error, HTTPException) else None
    return JSONResponse({"error": words.get(status, "an error of the server")}, status, headers)


def application(live: Live, folder: Path, access: Access, submit: Submit | None = None) -> ASGIApp:
    """The server as an ASGI application.

    folder  for example images and exports that are being made
    """
    made = Application(live, folder, submit)
    app = Starlette(routes=made.routes(), exception_handlers={HTTPException: _refused})
    app.router.redirect_slashes = False
    return Guard(app, access)


def serve(
    live: Live,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    submit: Submit | None = None,
    started: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve the page until Ctrl-C.

    submit   what the page's button "Submit" calls; None for no such button
    started  called with the page's address when the server listens

    Raises AvsError for a port that is in use, and for an address that is not this machine's.
    """
    with listening(host, port) as bound, tempfile.TemporaryDirectory(prefix="avs-serve-") as folder:
        port = bound.getsockname()[1]
        # Cookies do not know ports.
        allowed = access(host)._replace(cookie=f"avs-{port}")
        config = uvicorn.Config(
            application(live, Path(folder), allowed, submit),
            http="h11",
            ws="none",
            lifespan="off",
            loop="asyncio",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=1,
            limit_concurrency=500,
        )
        shown = socket.gethostname() if allowed.everywhere else f"[{host}]" if ":" in host else host
        logger = logging.getLogger("uvicorn.error")
        logger.addFilter(_is_news)
        started(f"http://{shown}:{port}/{f'?token={allowed.token}' * bool(allowed.token)}")
        try:
            uvicorn.Server(config).run(sockets=[bound])
        except KeyboardInterrupt as stop:
            if type(stop) is not KeyboardInterrupt:
                raise  # another signal
        finally:
            logger.removeFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    """Whether the server's log has something to say: not that it cuts off a browser that holds a film when it stops."""
    raised = record.exc_info[0] if record.exc_info else None
    cut_off = raised is not None and issubclass(raised, asyncio.CancelledError)
    return not (cut_off or record.getMessage().startswith("Cancel "))


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises AvsError with the cure where it cannot."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError):
        raise AvsError(
            f"--host {host}: no such address; 127.0.0.1 is this machine alone, 0.0.0.0 all its networks"
        ) from None
    found = socket.socket(family, kind)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen(128)
    except OSError as error:
        found.close()
        why = {
            errno.EADDRINUSE: "in use by another program; give another --port, or 0 for a free one",
            errno.EACCES: "not allowed; give a --port above 1023",
            errno.EADDRNOTAVAIL: f"{host} is no address of this machine; give another --host",
        }
        if error.errno not in why:
            raise
        raise AvsError(f"port {port}: {why[error.errno]}") from None
    return found
