"""The server of `avs serve`, in this process: what it answers, and what it refuses."""

import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from colours import colour_gallery, jpeg, use_colours
from films import noise_film
from lxml import html
from starlette.testclient import TestClient

from avs_cli.io.text.trec import parse_qrels, parse_run
from avs_cli.pages import server
from avs_cli.pages.server import Access, access, application
from avs_cli.stages.live import Live, Question
from avs_cli.types import Shot

HOSTILE = '"><img/src=https://evil.example/x><script>alert(1)</script>'
VECTORS = {"red": (1.0, 0.1, 0.0), "green": (0.0, 1.0, 0.1), "blue": (0.1, 0.0, 1.0), HOSTILE: (0.2, 0.2, 0.2)}
OWN = {"origin": "http://127.0.0.1:8000"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import numpy as np

    folder = tmp_path_factory.mktemp("served")
    (folder / "secret.mp4").write_bytes(b"not in the gallery")
    (folder / "videos").mkdir()
    noise_film(folder / "videos" / "film.mp4", np.random.default_rng(0), 0, 4)
    shots = {id: Shot(id, str(folder / "videos/film.mp4"), n, n + 1) for n, id in enumerate(VECTORS)}
    colour_gallery(folder / "g.h5", VECTORS, shots)
    return folder


@pytest.fixture(scope="module")
def live(folder: Path) -> Iterator[Live]:
    with pytest.MonkeyPatch.context() as patch:
        use_colours(patch)
        with Live(folder / "g.h5", marks=folder / "marks.qrels", threads=1) as opened:
            yield opened


Client = Callable[..., TestClient]


@pytest.fixture
def client_of(live: Live, tmp_path: Path) -> Client:
    def made(allowed: Access | None = None, submit: Any = None, host: str = "127.0.0.1:8000") -> TestClient:
        app = application(live, tmp_path, allowed or access("127.0.0.1"), submit)
        return TestClient(app, base_url=f"http://{host}", headers=OWN, follow_redirects=False)

    return made


@pytest.fixture
def client(client_of: Client) -> TestClient:
    return client_of()


def found(client: TestClient, **question: Any) -> dict[str, Any]:
    response = client.post("/search", json=question)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def cards(answer: dict[str, Any]) -> list[Any]:
    return list(html.fragment_fromstring(answer["html"], create_parent="ol").iterchildren("li"))


def ids(answer: dict[str, Any]) -> list[str]:
    return ["".join(card.xpath(".//p[@class='id']//text()")) for card in cards(answer)]


def test_a_question_is_answered_with_cards_of_the_page_of_view(client: TestClient) -> None:
    answer = found(client, text="r")
    assert ids(answer)[0] == "red" and len(ids(answer)) == answer["shots"] == 4
    first = cards(answer)[0]
    assert first.xpath("string(.//b[@class='rank'])") == "1"
    assert first.xpath("string(.//p[@class='place'])") == "film.mp4 0:00–0:01"
    (image,) = first.xpath(".//img")
    assert client.get(image.get("src")).content == jpeg(VECTORS["red"])
    assert [button.get("data-act") for button in first.xpath(".//button")] == ["like", "dislike", "similar"]


def test_pages_of_an_answer_follow_each_other(client: TestClient) -> None:
    assert [ids(found(client, text="r", first=n, count=1))[0] for n in range(4)] == ids(found(client, text="r"))
    assert ids(found(client, text="r", first=4)) == []
    assert cards(found(client, text="r", first=2, count=1))[0].get("id") == "s3"


def test_the_page_has_what_it_names_and_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/")
    parsed = html.fromstring(page.text)
    addresses = parsed.xpath("//@src | //link/@href | //@action")
    assert sorted(addresses) == ["/icon.svg", "/script.js", "/style.css"]
    assert all(client.get(address).status_code == 200 for address in addresses)
    assert parsed.xpath("//style | //script[not(@src)] | //@style | //@onclick") == []
    assert not re.search(r"https?://", page.text + client.get("/script.js").text)


def test_what_a_gallery_holds_is_text_on_the_page(client: TestClient) -> None:
    answer = found(client, text=f"r {HOSTILE}")
    assert HOSTILE in ids(answer)
    assert "<script" not in answer["html"] and "evil.example/x><" not in answer["html"]


def test_every_answer_has_the_headers_that_confine_it(client: TestClient) -> None:
    answers = [client.get("/"), client.get("/nothing"), client.get("/video/x/1"), client.post("/search", json={})]
    for response in answers:
        policy = response.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy and "http" not in policy
        assert "frame-ancestors 'none'" in policy and "form-action 'none'" in policy
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cross-origin-resource-policy"] == "same-origin"
        assert not [name for name in response.headers if name.startswith("access-control")]


def test_marks_are_on_disk_before_the_answer(client: TestClient, live: Live) -> None:
    live.marks.path.unlink(missing_ok=True)
    assert client.post("/mark", json={"text": "b", "shot": "green", "relevant": True}).json() == {"topic": "1"}
    assert parse_qrels("marks", live.marks.path.read_text())["1"]["green"].relevance == 1
    answer = found(client, text="b")
    assert (ids(answer)[0], answer["liked"], answer["taught"]) == ("green", 1, True)
    assert cards(answer)[0].get("data-judged") == "relevant"
    assert client.post("/undo", json={"text": "b"}).json() == {"shot": "green"}
    assert client.post("/undo", json={"text": "b"}).json() == {"shot": None}
    assert ids(found(client, text="b"))[0] == "blue"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
def test_a_picture_is_kept_as_it_is(client: TestClient, tmp_path: Path, kind: str) -> None:
    data = jpeg((0, 0, 1), kind=kind)
    sent = client.post("/picture", content=data, headers={"content-type": f"image/{kind.lower()}"})
    assert sent.status_code == 200
    (kept,) = tmp_path.iterdir()
    assert (kept.stem, kept.read_bytes()) == (sent.json()["picture"], data)
    # The same picture is the same topic, also next week.
    again = client.post("/picture", content=data, headers={"content-type": "image/png"})
    assert again.json() == sent.json()


def png(width: int, height: int) -> bytes:
    """A black picture of one bit a pixel, compressed a piece at a time: Pillow would take seconds."""
    rows = zlib.compressobj()
    packed = b"".join([*(rows.compress(bytes(height // 100 * (1 + width // 8))) for _ in range(100)), rows.flush()])
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)), (b"IDAT", packed), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


# A few kilobytes that would be 400 million pixels.
BOMB = png(20_000, 20_000)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", 400),
        (b"no picture", 400),
        (jpeg((1, 1, 1))[:100], 400),
        (b"GIF89a" + bytes(100), 400),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', 400),
        (BOMB, 400),
        (bytes(server.PICTURE_BYTES + 1), 413),
    ],
    ids=["empty", "text", "cut", "gif", "svg", "bomb", "huge"],
)
def test_what_is_no_picture_is_refused_and_not_kept(
    client: TestClient, tmp_path: Path, data: bytes, status: int
) -> None:
    response = client.post("/picture", content=data, headers={"content-type": "image/png"})
    assert response.status_code == status and "error" in response.json()
    assert [*tmp_path.iterdir()] == []


def test_a_run_qrels_and_a_cut_list_leave_as_files(client: TestClient, live: Live) -> None:
    live.marks.path.unlink(missing_ok=True)
    run = client.post("/export", json={"text": "r", "kind": "run"})
    answer = found(client, text="r")
    topic = answer["topic"]
    assert [*parse_run("run", run.text)[topic]] == ids(answer)
    assert run.headers["content-disposition"] == f'attachment; filename="topic-{topic}.run"'
    assert client.post("/export", json={"kind": "qrels"}).json() == {"error": "no marks yet"}
    client.post("/mark", json={"text": "r", "shot": "blue", "relevant": True})
    assert client.post("/export", json={"kind": "qrels"}).text == f"{topic} 0 blue 1\n"
    # Of what is liked, where there is something.
    rows = client.post("/export", json={"text": "r", "kind": "csv"}).text.splitlines()
    assert [row.split(",")[2] for row in rows] == ["shot", "blue"]
    assert client.post("/export", json={"text": "r", "kind": "m3u"}).text.startswith("#EXTM3U")
    assert client.post("/export", json={"text": "r", "kind": "exe"}).status_code == 400
    client.post("/undo", json={"text": "r"})


def test_a_topic_of_any_name_is_a_file_in_no_other_folder(client: TestClient, live: Live, tmp_path: Path) -> None:
    live.marks.path.write_text("../../x 0 red 1\n")
    live.marks.beside.write_text('{"id": "../../x", "text": "g g g"}\n')
    run = client.post("/export", json={"text": "g g g", "kind": "run"})
    assert run.text.startswith("../../x Q0 ")
    assert run.headers["content-disposition"] == 'attachment; filename="topic-.._.._x.run"'
    assert [*tmp_path.iterdir()] == []
    live.marks.path.unlink()
    live.marks.beside.unlink()


def test_clips_leave_as_a_zip_and_nothing_stays_behind(client: TestClient, tmp_path: Path) -> None:
    response = client.post("/export", json={"text": "r", "kind": "clips", "until": 0})
    with zipfile.ZipFile(io.BytesIO(response.content)) as packed:
        assert packed.testzip() is None
        assert [name.partition("_")[2][:8] for name in packed.namelist()] == ["001_film"]
    assert [*tmp_path.iterdir()] == []


def film_of(client: TestClient) -> str:
    (address,) = cards(found(client, text="r", count=1))[0].xpath(".//p[@class='place']/a/@href")
    return str(address).partition("#")[0]


@pytest.mark.parametrize(
    ("given", "status", "span"),
    [
        ("bytes=0-99", 206, slice(0, 100)),
        ("bytes=100-", 206, slice(100, None)),
        ("bytes=-10", 206, slice(-10, None)),
        ("bytes=0-99999999999", 206, slice(0, None)),
        ("", 200, slice(0, None)),
        ("bytes=9999999-", 416, None),
        ("bytes=-0", 416, None),
        ("bytes=5-2", 400, None),
        ("bytes=0-1,3-4", 416, None),
        ("bytes=" + ",".join("0-" for _ in range(5000)), 416, None),
        ("bytes=" + "9" * 5000 + "-", 416, None),
        ("bytes=٣-٤", 416, None),
        ("bytes=a-b", 416, None),
        ("bytes=", 416, None),
        ("lines=0-1", 416, None),
        ("-1", 416, None),
    ],
)
def test_ranges_of_a_video(client: TestClient, folder: Path, given: str, status: int, span: slice | None) -> None:
    response = client.get(film_of(client), headers={"range": given.encode()} if given else {})
    assert response.status_code == status
    if span is not None:
        assert response.content == (folder / "videos/film.mp4").read_bytes()[span]
        assert response.headers["content-type"] == "video/mp4" and response.headers["accept-ranges"] == "bytes"


TRAVERSALS = [
    f"{start}{way}"
    for start in ("/", "/video/", "/thumbnail/", "/video/{version}/", "/thumbnail/{version}/")
    for way in (
        "../secret.mp4", "..%2fsecret.mp4", "%2e%2e/secret.mp4", "..%5csecret.mp4", "%252e%252e%252fsecret.mp4",
        "....//secret.mp4", "/etc/passwd", "%00", "0%00.jpg", "file:///etc/passwd", "..;/secret.mp4", "-1", "1e3",
        "99999", "9" * 6000, "٣", "0/../../secret.mp4", "%c0%ae%c0%ae/secret.mp4", "0x0", " 0", "+0", "0?x=../..",
    )
    if not (way == "0?x=../.." and "version" in start)
]  # fmt: skip


def test_no_address_leads_out_of_the_gallery(client: TestClient, live: Live) -> None:
    for address in TRAVERSALS:
        response = client.get(address.replace("{version}", live.version))
        assert response.status_code in (404, 400), address
        assert b"not in the gallery" not in response.content and b"root:" not in response.content


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost:80@evil.example", "", "[::1", "a b"]
)
def test_another_host_is_refused(client: TestClient, host: str) -> None:
    for path in ("/", "/style.css", "/search"):
        assert client.get(path, headers={"host": host}).status_code == 403


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1:9", "[::1]:8000", "LOCALHOST"])
def test_loopback_has_several_names(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9000"},
        {"origin": "https://127.0.0.1:8000"},
        {"origin": "http://[", "sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
        {},
    ],
)
def test_what_changes_something_comes_from_the_page_itself(client: TestClient, headers: dict[str, str]) -> None:
    del client.headers["origin"]
    for path in ("/mark", "/undo", "/search", "/picture", "/export", "/send"):
        assert (
            client.post(path, json={"text": "r", "shot": "red", "relevant": True}, headers=headers).status_code == 403
        )
    client.headers.update({"sec-fetch-site": "same-origin"})
    assert client.post("/search", json={"text": "r"}).status_code == 200


def test_other_sites_may_link_to_the_page_and_embed_nothing(client: TestClient) -> None:
    film = film_of(client)
    elsewhere = {"sec-fetch-site": "cross-site"}
    assert client.get("/", headers=elsewhere).status_code == 200
    for path in ("/script.js", "/style.css", film):
        assert client.get(path, headers=elsewhere).status_code == 403


def test_other_addresses_need_the_token_and_then_the_cookie(client_of: Client) -> None:
    allowed = access("198.51.100.7")
    client = client_of(allowed, host="198.51.100.7:8000")
    client.headers["origin"] = "http://198.51.100.7:8000"
    for path in (
        "/",
        "/?token=",
        f"/?token={allowed.token[:-1]}",
        "/?token=é",
        "/style.css",
        f"/style.css?token={allowed.token}",
    ):
        assert client.get(path).status_code == 401, path
    assert client.post("/search", json={"text": "r"}).status_code == 401
    let_in = client.get(f"/?token={allowed.token}")
    assert (let_in.status_code, let_in.headers["location"]) == (303, "/")
    cookie = let_in.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie and allowed.token.lower() not in cookie
    assert client.get("/").status_code == 200
    assert ids(found(client, text="r"))[0] == "red"
    client.cookies.set(allowed.cookie, "wrong", domain="198.51.100.7")
    assert access("127.0.0.1").token == "" and access("198.51.100.7").token != allowed.token


def test_a_server_for_all_networks_takes_addresses_and_no_foreign_names(client_of: Client) -> None:
    client = client_of(access("0.0.0.0"))
    statuses = {
        host: client.get("/", headers={"host": host}).status_code for host in ("203.0.113.5:8000", "evil.example")
    }
    assert statuses == {"203.0.113.5:8000": 401, "evil.example": 403}


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"", "application/json", 400),
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"null", "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b'{"text": "\\ud800"}', "application/json", 400),
        (b'{"text": NaN}', "application/json", 400),
        (b'{"text": "r", "within": NaN}', "application/json", 400),
        (b'{"text": "r", "count": 1e400}', "application/json", 400),
        (b'{"text": "r", "count": ' + b"9" * 5000 + b"}", "application/json", 400),
        (b'{"text": "r", "first": -1}', "application/json", 400),
        (b'{"text": ["r"]}', "application/json", 400),
        (b'{"text": "r", "like": "red"}', "application/json", 400),
        (b'{"text": "r", "like": ["no such shot"]}', "application/json", 400),
        (b'{"text": "r", "pictures": ["../../etc/passwd"]}', "application/json", 400),
        (b'{"text": "/etc/passwd.png"}', "application/json", 400),
        (b'{"text": "r", "features": ["../x"]}', "application/json", 400),
        (b'{"text": "r", "by_marks": 1}', "application/json", 400),
        (b'{"text": ""}', "application/json", 400),
        (b'{"text": "r > "}', "application/json", 400),
        (b'{"text": "r", "then": "b ^0"}', "application/json", 400),
        (b'{"text": "' + b"r" * 1001 + b'"}', "application/json", 400),
        (b"[" * 20_000, "application/json", 400),
        (b'{"text": "' + b"r" * 70_000 + b'"}', "application/json", 413),
        (b'{"text": "r"}', "text/plain", 415),
        (b'{"text": "r"}', "application/x-www-form-urlencoded", 415),
        (b'{"text": "r"}', "", 415),
        (b'{"text": "r\\u0000g\\n\\t b"}', "application/json; charset=utf-8", 200),
    ],
)
def test_what_is_no_question_is_an_error_of_one_line(
    client: TestClient, content: bytes, kind: str, status: int
) -> None:
    response = client.post("/search", content=content, headers={"content-type": kind})
    assert response.status_code == status, response.text
    if status != 200:
        (message,) = response.json().values()
        assert message and "\n" not in message and "Traceback" not in message


def test_a_body_that_does_not_say_how_long_it_is_is_cut_off(client: TestClient) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(1000):
            yield b" " * 10_000

    response = client.post("/search", content=endless(), headers={"content-type": "application/json"})
    assert response.status_code == 413
    assert client.post("/search", content=b"{}", headers={"content-length": "9" * 20}).status_code in (413, 415)


def test_a_client_that_leaves_in_the_middle_is_no_error_of_ours(live: Live, tmp_path: Path) -> None:
    headers = [(b"host", b"127.0.0.1"), (b"origin", b"http://127.0.0.1"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/search", "query_string": b"", "headers": headers}
    messages: list[Any] = []

    async def leaves() -> dict[str, str]:
        return {"type": "http.disconnect"}

    async def keep(message: Any) -> None:
        messages.append(message)

    anyio.run(application(live, tmp_path, access("127.0.0.1")), scope, leaves, keep)
    assert messages[0]["status"] == 400


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "FOO"])
def test_other_methods_are_refused(client: TestClient, method: str) -> None:
    for path in ("/", "/search", "/video/x/0"):
        assert client.request(method, path).status_code in (403, 404, 405)
    assert client.get("/search").status_code == 405
    assert client.post("/").status_code == 405


def test_a_mark_of_an_unknown_shot_or_kind_changes_nothing(client: TestClient, live: Live) -> None:
    before = dict(live.marks.qrels)
    for body in (
        {"text": "r", "shot": "pink", "relevant": True},
        {"text": "r", "shot": "red", "relevant": 1},
        {"text": "r", "shot": "red"} | {"relevant": "yes"},
        {"text": "", "shot": "red", "relevant": True},
        {"text": "r", "shot": "../../x y", "relevant": True},
    ):
        assert client.post("/mark", json=body).status_code == 400
    assert live.marks.qrels == before


def test_a_failing_disk_is_an_answer(client: TestClient, monkeypatch: pytest.MonkeyPatch, live: Live) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device", "marks.qrels")

    monkeypatch.setattr("os.fsync", full)
    response = client.post("/mark", json={"text": "r", "shot": "red", "relevant": True})
    assert (response.status_code, response.json()) == (503, {"error": "marks.qrels: no space left on device"})
    monkeypatch.undo()
    assert "red" not in live.marks.qrels.get(live.search(Question("r")).topic, {})


def test_a_shot_and_a_moment_are_submitted(client_of: Client, client: TestClient) -> None:
    sent: list[tuple[str, float | None]] = []

    def submit(shot: Shot, seconds: float | None) -> str:
        sent.append((shot.id, seconds))
        return "CORRECT"

    own = client_of(submit=submit)
    assert own.post("/send", json={"shot": "green", "seconds": 1.25}).json() == {"message": "CORRECT"}
    own.post("/send", json={"shot": "green"})
    assert sent == [("green", 1.25), ("green", None)]
    assert own.post("/send", json={"shot": "pink"}).status_code == 400
    assert client.post("/send", json={"shot": "green"}).status_code == 400
    assert "submit" in found(own, text="r")["html"] and "submit" not in found(client, text="r")["html"]


def test_questions_are_json_of_this_shape(client: TestClient) -> None:
    """What the script sends is what the server reads: the names are in both."""
    script = client.get("/script.js").text
    for name in ("text", "pictures", "like", "then", "within", "features", "file", "folder", "since", "until"):
        assert re.search(rf"^  {name}:", script, re.MULTILINE), name
    assert json.loads(json.dumps(found(client, text="r")))["version"]
