"""The page of `avs view` as a file; tests/test_page_in_browser.py looks at it."""

import base64
import hashlib
import io
import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import NamedTuple

import numpy as np
import pytest
from lxml import html
from PIL import Image

from avs_cli.cli import exit_code
from avs_cli.io.store.texts import TextItem
from avs_cli.io.store.writer import Item, StoreWriter, TextWriter
from avs_cli.pages import results
from avs_cli.pages.cards import clock, stretch
from avs_cli.stages.view import RankedShot, laid_out, readable, run_names
from avs_cli.types import Piece, Shot

Avs = Callable[..., CompletedProcess[str]]
HOSTILE = "\"><script>alert(1)</script><img/src=https://evil.example/x>&amp;'$title"


def jpeg(colour: str, size: tuple[int, int] = (32, 18)) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", size, colour).save(data, "JPEG")
    return data.getvalue()


def gallery(path: Path, shots: dict[Shot, bytes | None]) -> None:
    vector = np.ones(2, np.float16)
    with StoreWriter(path, "conse", 2, {}) as writer:
        writer.add([Item(shot, shot.id, vector, picture) for shot, picture in shots.items()])
        writer.finish([shot.id for shot in shots])


def run(path: Path, *lines: str) -> None:
    """Lines of `topic shot score`."""
    rows = (line.split() for line in lines)
    path.write_text("".join(f"{topic} Q0 {shot} 0 {score} test\n" for topic, shot, score in rows), encoding="utf-8")


RED, BLUE = Shot("red_1", "red.mp4", 0, 9.2), Shot("blue_1", "blue.mp4", 75, 80)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    gallery(tmp_path / "g.h5", {RED: jpeg("red"), BLUE: jpeg("blue")})
    run(tmp_path / "a.trec", "1661 red_1 0.75", "1661 blue_1 0.5", "1662 red_1 3")
    run(tmp_path / "b.trec", "1661 blue_1 0.9", "1662 red_1 2")
    (tmp_path / "topics.txt").write_text("661 a red square\n662 another square\n")
    (tmp_path / "q.qrels").write_text("1661 0 red_1 1 1\n1661 0 blue_1 2 -1\n")
    for name in ("red.mp4", "blue.mp4", "green.mp4"):
        (tmp_path / name).touch()
    return tmp_path


class Said(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


View = Callable[..., Said]


@pytest.fixture
def view(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> View:
    """Runs `avs view` in the folder, within this process."""
    monkeypatch.chdir(folder)

    def run(*arguments: str) -> Said:
        code = exit_code(["view", *arguments])
        return Said(code, *capsys.readouterr())

    return run


def select(page: html.HtmlElement, selector: str) -> list[html.HtmlElement]:
    """The elements that a chain of `tag`, `.class`, `#id` finds."""
    path = ""
    for step in selector.split():
        tag, sign, name = re.fullmatch(r"(\w*)([.#]?)(.*)", step).groups()
        test = {"": "true()", "#": f"@id='{name}'", ".": f"contains(concat(' ', @class, ' '), ' {name} ')"}[sign]
        path += f"//{tag or '*'}[{test}]"
    return page.xpath(path)


def texts(page: html.HtmlElement, selector: str) -> list[str]:
    return [" ".join(element.text_content().split()) for element in select(page, selector)]


def parsed(path: Path) -> html.HtmlElement:
    return html.fromstring(path.read_bytes().decode(), parser=html.HTMLParser(encoding="utf-8"))


def test_a_shot_has_its_rank_score_id_video_and_times(folder: Path, view: View) -> None:
    assert view("a.trec", "-g", "g.h5", "-o", "p.html").returncode == 0
    page = parsed(folder / "p.html")
    assert texts(page, "#t0 .edge") == ["1 0.75", "2 0.5"]
    assert texts(page, "#t0 .id") == ["red_1", "blue_1"]
    assert texts(page, "#t0 .place") == ["red.mp4 0:00–0:10", "blue.mp4 1:15–1:20"]
    assert [picture.get("aria-label") for picture in select(page, "#t0 .picture")] == [
        "red_1, red.mp4, 0:00–0:10",
        "blue_1, blue.mp4, 1:15–1:20",
    ]


def heavy(folder: Path, shots: int, size: int) -> None:
    """A store and a run of one topic with thumbnails of `size` bytes, about."""
    pictures = {Shot(f"s_{n}", "s.mp4", n, n + 1): jpeg("red") + bytes(size) + bytes([n]) for n in range(shots)}
    gallery(folder / "large.h5", pictures)
    (folder / "s.mp4").touch()
    run(folder / "c.trec", *(f"1 s_{n} {shots - n}" for n in range(shots)))


def test_a_page_too_large_for_browsers_is_told_before_it_is_written_with_what_helps(tmp_path: Path, view: View) -> None:
    """40 pictures of a million bytes, a third more in base64: 53 MB; 15 of them are 20 MB."""
    heavy(tmp_path, 40, 1_000_000)
    first, *_ = view("c.trec", "-g", "large.h5", "-o", "p.html", "--shown", "1000").stderr.splitlines()
    assert first == (
        "avs: the page takes about 53 MB, which browsers open slowly; --thumbnails-beside keeps the thumbnails out of "
        "it, or --shown 14 takes about 20 MB"
    )
    assert "browsers" not in view("c.trec", "-g", "large.h5", "-o", "p.html", "--shown", "14").stderr
    assert (tmp_path / "p.html").stat().st_size < 20_200_000
    assert "browsers" not in view("c.trec", "-g", "large.h5", "-o", "p.html", "--thumbnails-beside").stderr


def test_thumbnails_beside_the_page_are_files_that_it_loads_lazily(tmp_path: Path, view: View) -> None:
    heavy(tmp_path, 3, 100_000)
    assert view("c.trec", "-g", "large.h5", "-o", "p.html", "--thumbnails-beside").returncode == 0
    assert (tmp_path / "p.html").stat().st_size < 100_000
    found = select(parsed(tmp_path / "p.html"), "#t0 img")
    assert {image.get("loading") for image in found} == {"lazy"}
    files = [tmp_path / image.get("src") for image in found]
    assert [path.read_bytes() for path in files] == [jpeg("red") + bytes(100_000) + bytes([n]) for n in range(3)]
    assert {path.parent.name for path in files} == {"p.html.thumbnails"}


def test_thumbnails_beside_are_those_of_the_last_page_and_other_files_stay(tmp_path: Path, view: View) -> None:
    heavy(tmp_path, 3, 10)
    view("c.trec", "-g", "large.h5", "-o", "p.html", "--thumbnails-beside")
    (tmp_path / "p.html.thumbnails" / "mine.jpg").touch()
    view("c.trec", "-g", "large.h5", "-o", "p.html", "--thumbnails-beside", "--shown", "1")
    (image,) = select(parsed(tmp_path / "p.html"), "#t0 img")
    names = {path.name for path in (tmp_path / "p.html.thumbnails").iterdir()}
    assert names == {"mine.jpg", Path(image.get("src")).name}


def test_thumbnails_beside_need_a_page_that_is_a_file(view: View) -> None:
    said = view("a.trec", "-g", "g.h5", "-o", "-", "--thumbnails-beside")
    assert (said.returncode, said.stderr) == (
        2,
        "avs: --thumbnails-beside needs --output FILE: stdout has no folder beside it\n",
    )


def test_thirty_topics_of_a_thousand_shots_take_less_than_twenty_megabytes(tmp_path: Path, view: View) -> None:
    ids = [f"shot{n // 100:05d}_{n % 100}" for n in range(1000)]
    shots = [Shot(id, f"videos/{id[4:9]}.mp4", n + 0.125, n + 7.875) for n, id in enumerate(ids)]
    gallery(tmp_path / "large.h5", {shot: jpeg("red") for shot in shots})
    (tmp_path / "videos").mkdir()
    for shot in shots:
        (tmp_path / shot.video).touch()
    rows = (f"{1700 + topic} {id} {1 - n / 3000:.6f}" for topic in range(30) for n, id in enumerate(ids))
    run(tmp_path / "c.trec", *rows)
    said = view("c.trec", "-g", "large.h5", "-o", "p.html", "--shown", "1000", "--thumbnails-beside")
    assert "browsers" not in said.stderr and "not play" not in said.stderr
    assert (tmp_path / "p.html").stat().st_size < 20_000_000


def test_a_topic_is_headed_by_its_query_or_else_by_its_id(folder: Path, view: View) -> None:
    view("a.trec", "-g", "g.h5", "-o", "p.html")
    assert texts(parsed(folder / "p.html"), "h2")[:2] == ["1661", "1662"]
    said = view("a.trec", "-g", "g.h5", "-o", "p.html", "--topics", "topics.txt").stderr
    page = parsed(folder / "p.html")
    assert texts(page, "h2")[:2] == ["a red square", "another square"]
    assert texts(page, "nav a") == ["1661 a red square", "1662 another square"]
    assert "661-662 read as 1661-1662" in said


def test_judgments_are_words_and_come_only_when_asked_for(folder: Path, view: View) -> None:
    view("a.trec", "-g", "g.h5", "-o", "p.html")
    page = parsed(folder / "p.html")
    assert not [found for selector in (".mark", ".strip", "#judged") for found in select(page, selector)]
    (folder / "q.qrels").write_text("661 0 red_1 1 1\n661 0 green_1 1 0\n")
    run(folder / "a.trec", "1661 red_1 3", "1661 blue_1 2", "1661 green_1 1")
    said = view("a.trec", "-g", "g.h5", "-o", "p.html", "--qrels", "q.qrels")
    page = parsed(folder / "p.html")
    assert texts(page, ".mark") == ["✓ relevant", "? unjudged", "✕ not relevant"]
    assert texts(page, ".strip") == ["a1 relevant, 1 not relevant, 1 unjudged"]
    assert "661 read as 1661" in said.stderr


def test_a_pooled_shot_without_a_judgment_is_unjudged(folder: Path, view: View) -> None:
    said = view("a.trec", "-g", "g.h5", "-o", "p.html", "--qrels", "q.qrels")
    assert texts(parsed(folder / "p.html"), "#t0 .mark") == ["✓ relevant", "? unjudged"]
    assert "q.qrels: no judgment for 1 of 2 topics" in said.stderr


def test_each_shot_says_its_rank_in_every_run(folder: Path, view: View) -> None:
    view("a.trec", "b.trec", "-g", "g.h5", "-o", "p.html")
    assert texts(parsed(folder / "p.html"), "#t0 .elsewhere") == ["a 1b –", "a 2b 1"]


def test_a_run_with_topics_of_three_digits_is_compared_with_one_of_four(folder: Path, view: View) -> None:
    run(folder / "b.trec", "661 blue_1 0.9")
    view("a.trec", "b.trec", "-g", "g.h5", "-o", "p.html")
    page = parsed(folder / "p.html")
    assert texts(page, ".number") == ["topic 1661", "topic 1662"]
    assert texts(page, "#t0 .elsewhere") == ["a 1b –", "a 2b 1"]


def test_entries_are_every_runs_first_shots_with_their_ranks_in_the_whole_runs() -> None:
    one, other = {"7": {"x": 3.0, "y": 2.0, "z": 1.0}}, {"7": {"z": 9.0, "y": 8.0}}
    assert laid_out([one, other], shown=1) == {
        "7": [RankedShot("x", (1, None), (3.0, None)), RankedShot("z", (3, 1), (1.0, 9.0))]
    }


def test_equal_scores_stand_in_nists_order() -> None:
    assert [entry.shot for entry in laid_out([{"7": {"a": 1.0, "b": 1.0}}], shown=9)["7"]] == ["b", "a"]


def test_topics_that_only_a_later_run_has_come_last() -> None:
    assert list(laid_out([{"2": {"a": 1.0}}, {"1": {"a": 1.0}, "2": {}}], shown=9)) == ["2", "1"]


def test_shown_limits_what_each_topic_shows(folder: Path, view: View) -> None:
    view("a.trec", "-g", "g.h5", "-o", "p.html", "--shown", "1")
    assert texts(parsed(folder / "p.html"), ".id") == ["red_1", "red_1"]


def test_ids_and_ranges_select_the_topics_of_the_page(folder: Path, view: View) -> None:
    line = ("a.trec", "b.trec", "-g", "g.h5", "-o", "p.html", "--topics")
    assert "p.html: 1 topic, 2 shots" in view(*line, "661").stderr
    assert [*dict.fromkeys(texts(parsed(folder / "p.html"), ".id"))] == ["red_1", "blue_1"]
    assert "p.html: 2 topics, 2 shots" in view(*line, "1661-1662").stderr
    said = view(*line, "731-750")
    assert (said.returncode, "--topics selects 731, 732, 733, …, of which no run has any" in said.stderr) == (3, True)


def test_a_thumbnail_is_in_the_page_once_however_often_it_is_shown(folder: Path, view: View) -> None:
    view("a.trec", "b.trec", "-g", "g.h5", "-o", "p.html")
    page = (folder / "p.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 2
    assert page.count(base64.b64encode(jpeg("red")).decode()) == 1
    assert len(select(parsed(folder / "p.html"), ".p0")) == 2


def test_shots_without_a_picture_get_a_blank_and_are_counted(folder: Path, view: View) -> None:
    broken = Shot("broken_1", "broken.mp4", 0, 1)
    (folder / "g.h5").unlink()
    gallery(folder / "g.h5", {RED: jpeg("red"), BLUE: None, broken: b"GIF89a not a JPEG"})
    run(folder / "a.trec", "1 red_1 4", "1 blue_1 3", "1 broken_1 2", "1 unknown_1 1")
    said = view("a.trec", "-g", "g.h5", "-o", "p.html").stderr.splitlines()
    assert said[0].startswith("avs: 3 of 4 shots have no thumbnail in g.h5 (1 are not in the gallery)")
    labels = [picture.get("aria-label") for picture in select(parsed(folder / "p.html"), ".none")]
    assert labels == [
        "blue_1, blue.mp4, 1:15–1:20, no thumbnail",
        "broken_1, broken.mp4, 0:00–0:01, no thumbnail",
        "unknown_1, no thumbnail",
    ]


def test_a_page_without_pictures_says_so_and_another_store_brings_them(folder: Path, view: View) -> None:
    gallery(folder / "bare.h5", {RED: None, BLUE: None})
    said = view("a.trec", "-g", "bare.h5", "-o", "p.html").stderr.splitlines()
    assert said[0] == (
        "avs: no thumbnails of these shots in bare.h5: the page has no images; "
        "add a store that contains them with --gallery"
    )
    said = view("a.trec", "-g", "bare.h5", "-g", "g.h5", "-o", "p.html").stderr.splitlines()
    assert len(said) == 1
    assert not select(parsed(folder / "p.html"), ".none")


def test_several_galleries_and_several_features_in_one_are_fine(folder: Path, view: View) -> None:
    gallery(folder / "more.h5", {Shot("green_1", "green.mp4", 0, 1): jpeg("green")})
    with StoreWriter(folder / "more.h5", "clip", 2, {}) as writer:
        writer.add([Item(None, "green_1", np.ones(2, np.float16))])
        writer.finish(["green_1"])
    run(folder / "a.trec", "1 red_1 4", "1 green_1 3")
    said = view("a.trec", "-g", "g.h5", "-g", "more.h5", "-o", "p.html")
    assert said.stderr.splitlines() == [said.stderr.strip()]
    page = parsed(folder / "p.html")
    assert (len(select(page, ".picture")), len(select(page, ".none"))) == (2, 0)


def test_what_comes_from_files_stays_text(folder: Path, view: View) -> None:
    (folder / "g.h5").unlink()
    gallery(folder / "g.h5", {Shot(HOSTILE, f"{HOSTILE}.mp4", 0, 1): jpeg("red")})
    name = "<b>'\"&.trec"
    run(folder / name, f"{HOSTILE} {HOSTILE} 1")
    run(folder / "b.trec", f"{HOSTILE} {HOSTILE} 1")
    (folder / "topics.txt").write_text(f"{HOSTILE}\t{HOSTILE} in a field\n")
    assert view(name, "b.trec", "-g", "g.h5", "--topics", "topics.txt", "-o", "p.html").returncode == 0
    page = parsed(folder / "p.html")
    assert len(select(page, "script")) == 1
    # The enlarged view's picture is the page's own and has no source before something is enlarged.
    assert [image.get("src") for image in select(page, "img")] == [None]
    assert texts(page, ".id") == [HOSTILE]
    assert texts(page, ".video") == [f"{HOSTILE}.mp4"]
    assert texts(page, "h2")[0] == f"{HOSTILE} in a field"
    assert texts(page, "h1 bdi") == ["<b>'\"&", "b"]
    assert {name for element in page.iter() for name in element.attrib if name.startswith("on")} == set()


def test_the_policy_allows_the_pages_own_style_and_script_and_nothing_from_elsewhere(folder: Path, view: View) -> None:
    view("a.trec", "-g", "g.h5", "-o", "p.html")
    page = parsed(folder / "p.html")
    (policy,) = (meta.get("content") for meta in page.xpath("//meta[@http-equiv='Content-Security-Policy']"))

    def hashes(selector: str) -> str:
        digests = (hashlib.sha256(element.text.encode()).digest() for element in select(page, selector))
        return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)

    assert dict(part.split(" ", 1) for part in policy.split("; ")) == {
        "default-src": "'none'",
        "img-src": "data:",
        "media-src": "'self' file:",
        "style-src": hashes("style"),
        "script-src": hashes("script"),
        "base-uri": "'none'",
        "form-action": "'none'",
    }


def test_no_two_elements_share_an_id(folder: Path, view: View) -> None:
    view("a.trec", "b.trec", "-g", "g.h5", "-o", "p.html", "--qrels", "q.qrels")
    ids = parsed(folder / "p.html").xpath("//@id")
    assert len(ids) == len(set(ids))


def test_the_page_goes_to_stdout_for_a_dash_and_the_run_comes_from_stdin(folder: Path, avs: Avs) -> None:
    said = avs("view", "-", "-g", "g.h5", "-o", "-", input=(folder / "a.trec").read_text())
    assert said.stdout.startswith("<!doctype html>") and said.stdout.endswith("</html>\n")
    assert said.stderr.startswith("avs: stdout: 2 topics, 2 shots")


def test_stderr_says_where_the_page_is(folder: Path, view: View) -> None:
    said = view("a.trec", "-g", "g.h5", "-o", "p.html")
    assert (said.stdout, said.stderr.split(":")[:2]) == ("", ["avs", " p.html"])


def test_equal_inputs_give_equal_bytes(folder: Path, view: View) -> None:
    for name in ("one.html", "two.html"):
        view("a.trec", "b.trec", "-g", "g.h5", "--qrels", "q.qrels", "-o", name)
    assert (folder / "one.html").read_bytes() == (folder / "two.html").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        pytest.param(["absent.trec", "-g", "g.h5"], 3, "absent.trec: no such file or directory", id="no run"),
        pytest.param(["empty.trec", "-g", "g.h5"], 3, "empty.trec: contains no lines", id="an empty run"),
        pytest.param(["a.trec", "-g", "a.trec"], 3, "a.trec: not a feature store", id="a gallery that is none"),
        pytest.param(["a.trec", "-g", "g.h5::clip"], 3, "g.h5: has no feature 'clip'", id="no such feature"),
        pytest.param(
            ["a.trec", "-g", "g.h5", "--topics", "empty.trec"], 3, "empty.trec: contains no topics", id="no topics"
        ),
        pytest.param(
            ["a.trec", "-g", "g.h5", "--qrels", "a.trec"], 3, "a.trec:1: 6 columns", id="qrels that are a run"
        ),
        pytest.param(["a.trec", "-g", "g.h5", "--shown", "0"], 2, "--shown", id="nothing to show"),
        pytest.param(["a.trec"], 2, "missing option '--gallery'", id="no gallery"),
    ],
)
def test_bad_input_is_told_in_a_line_and_leaves_the_old_page(
    folder: Path, view: View, arguments: list[str], code: int, message: str
) -> None:
    (folder / "empty.trec").touch()
    (folder / "p.html").write_text("old")
    said = view(*arguments, "-o", "p.html")
    assert said.returncode == code
    assert len(said.stderr.splitlines()) == 1 and message in said.stderr
    assert (folder / "p.html").read_text() == "old"


def test_the_times_of_a_shot_link_to_them_in_its_video_from_where_the_page_is(folder: Path, view: View) -> None:
    name = "a #1, 50%?.mp4"
    (folder / "videos").mkdir()
    for file in ("red.mp4", "blue.mp4"):
        (folder / file).rename(folder / "videos" / file)
    (folder / "videos" / name).touch()
    gallery(folder / "more.h5", {Shot("odd_1", name, 1.25, 2.0): None, Shot("p_1", "p.jpg", 0, 0): None})
    run(folder / "a.trec", "1661 red_1 3", "1661 odd_1 2", "1661 blue_1 1", "1661 p_1 0.5")
    line = ("a.trec", "-g", "g.h5", "-g", "more.h5", "-o", "pages/p.html")
    said = view(*line)
    assert (
        "3 of 3 videos are not where g.h5, more.h5 says (a #1, 50%?.mp4, blue.mp4, red.mp4): their shots do not play; "
        "give --videos FOLDER"
    ) in said.stderr
    assert not select(parsed(folder / "pages" / "p.html"), ".place a")
    assert "not play" not in view(*line, "--videos", "videos").stderr
    page = parsed(folder / "pages" / "p.html")
    assert [link.get("href") for link in select(page, ".place a")] == [
        "../videos/red.mp4#t=0,9.2",
        "../videos/a%20%231%2C%2050%25%3F.mp4#t=1.25,2",
        "../videos/blue.mp4#t=75,80",
    ]
    assert [video.get("src") for video in select(page, "video")] == [None]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (59.9, "0:59"), (60, "1:00"), (3599, "59:59"), (3600, "1:00:00"), (7325, "2:02:05")],
)
def test_times_are_minutes_and_seconds_and_hours_where_needed(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_a_stretch_covers_the_whole_shot_and_a_picture_has_none() -> None:
    assert stretch(Shot("a", "a.mp4", 61.8, 62.2)) == "1:01–1:03"
    assert stretch(Shot("a", "a.jpg", 0, 0)) == ""


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["runs/laff.trec.gz"], ["laff"]),
        (["clip/r.trec", "blip/r.trec"], ["clip/r", "blip/r"]),
        (["a/x/r.trec", "b/x/r.trec"], ["a/x/r", "b/x/r"]),
        (["-", ".hidden"], ["stdin", ".hidden"]),
        (["r.trec", "r.trec"], ["r 1", "r 2"]),
        (["r.trec", "r.run"], ["r 1", "r 2"]),
    ],
)
def test_runs_are_called_as_shortly_as_tells_them_apart(paths: list[str], names: list[str]) -> None:
    assert run_names(paths) == names


def test_frames_take_the_shape_that_most_thumbnails_have(folder: Path, view: View) -> None:
    (folder / "g.h5").unlink()
    gallery(folder / "g.h5", {RED: jpeg("red", (30, 30)), BLUE: jpeg("blue", (30, 30))})
    view("a.trec", "-g", "g.h5", "-o", "p.html")
    assert ":root{--aspect:1.000}" in (folder / "p.html").read_text()


def test_only_a_jpeg_is_a_thumbnail() -> None:
    picture = io.BytesIO()
    Image.new("RGB", (4, 4)).save(picture, "PNG")
    assert readable(picture.getvalue()) is None
    assert readable(b"") is None and readable(None) is None
    assert (found := readable(jpeg("red", (40, 20)))) is not None and found.aspect == 2


def test_nothing_but_our_own_style_script_and_policy_goes_into_the_page_unescaped() -> None:
    templates = [path.read_text(encoding="utf-8") for path in Path(results.__file__).parent.glob("*.html")]
    assert len(templates) == 6
    trusted = [name for text in templates for name in re.findall(r"(\w+) *\| *safe|autoescape|Markup", text)]
    assert sorted(trusted) == ["pictures", "policy", "script", "style"]


def test_confidences_of_a_file_are_shown_for_topics_of_its_ids(folder: Path) -> None:
    run(folder / "c.trec", "661 red_1 0.8", "661 blue_1 0.25", "662 red_1 0.4")
    line = [
        "view",
        folder / "a.trec",
        "-g",
        folder / "g.h5",
        "--confidence",
        folder / "c.trec",
        "-o",
        folder / "p.html",
    ]
    assert exit_code([*map(str, line)]) == 0
    page = html.fromstring((folder / "p.html").read_text())
    shown = [text for text in page.xpath("//li//p/text()") if text.startswith("confidence")]
    assert shown == ["confidence 80%", "confidence 25%", "confidence 40%"]
    (doubt,) = page.xpath("//p[contains(@class, 'doubt')]/text()")
    assert "no confidence exceeds 40%" in doubt


def test_the_words_of_a_topic_are_under_the_thumbnail_and_their_boxes_on_it(folder: Path, view: View) -> None:
    red = [
        Piece("a RED\nsquare", 1, 8, (0.25, 0.5, 0.5, 0.75)),
        Piece("red later", 9, 9.2, (0, 0, 1, 1)),  # not in the middle of the shot, which the thumbnail shows
        Piece("nothing of the sort", 1, 8, (0, 0, 1, 1)),
        Piece(HOSTILE + " red", 1, 8),
    ]
    with TextWriter(folder / "g.h5", "ocr", {"model": "ocr"}) as writer:
        writer.add([TextItem(RED, "red_1", red), TextItem(BLUE, "blue_1", [])])
        writer.finish(["red_1", "blue_1"])
    assert view("a.trec", "-g", "g.h5", "--topics", "topics.txt", "-o", "p.html").returncode == 0
    shots = {shot.get("id"): shot for shot in parsed(folder / "p.html").iter("li") if shot.get("id")}
    first = shots["t0s0"]
    assert [one.text for one in first.find_class("words")] == ["a RED square", "red later", HOSTILE + " red"]
    (boxes,) = first.iter("svg")
    assert boxes.get("viewbox", boxes.get("viewBox")) == "0 0 1778 1000"
    (box,) = boxes.iter("rect")
    assert [box.get(name) for name in ("x", "y", "width", "height")] == ["444", "500", "445", "250"]
    assert not shots["t0s1"].find_class("words") and not list(shots["t0s1"].iter("svg"))
    # Topic 1662, another square, has the same shot.
    assert [one.text for one in shots["t1s0"].find_class("words")] == ["a RED square"]
