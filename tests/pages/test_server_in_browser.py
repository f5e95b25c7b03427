"""The page of `avs serve` in a real browser: search, play, mark and export by keyboard and mouse."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browser
import numpy as np
import pytest
import uvicorn
from browser import chromium, press, watched, with_axe
from colours import colour_gallery, jpeg, use_colours
from films import webm_film

from avs_cli.io.text.trec import parse_run, read_qrels
from avs_cli.pages.server import access, application, listening
from avs_cli.stages.live import Live
from avs_cli.types import Shot

# `npm install axe-core` in any folder; this names its axe.min.js.
PLAYER = "document.querySelector('#large video')"
READY = "!document.querySelector('#found').hidden && !document.querySelector('#found.waiting')"

# Letters are colours. Twins are near-duplicates of "red"; "reddish" is not.
VECTORS = {"red": (1.0, 0.0, 0.1), "twin-1": (1.0, 0.01, 0.1), "twin-2": (1.0, 0.0, 0.12), "reddish": (0.8, 0.5, 0.4)}
VECTORS |= {"green": (0.1, 1.0, 0.0), "blue": (0.0, 0.1, 1.0)}
# What fills the sheet, far from all that.
VECTORS |= {f"grey-{n}": tuple(np.random.default_rng(n).uniform(-1, -0.2, 3).tolist()) for n in range(150)}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("served")
    (folder / "sea").mkdir()
    webm_film(folder / "sea" / "a film #1.webm")
    shots = {id: Shot(id, str(folder / "sea/a film #1.webm"), n * 0.5, n * 0.5 + 0.75) for n, id in enumerate(VECTORS)}
    shots |= {id: Shot(id, str(folder / f"{id}.mp4"), 0, 1) for id in VECTORS if id.startswith("grey")}
    colour_gallery(folder / "g.h5", VECTORS, shots)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AVS_CACHE", str(folder / "cache"))
        use_colours(patch, calibrated=True)
        with Live(folder / "g.h5", marks=folder / "marks.qrels", threads=1) as opened:
            yield opened


@pytest.fixture(scope="module")
def address(live: Live, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with listening("127.0.0.1", 0) as bound:
        app = application(
            live, tmp_path_factory.mktemp("sent"), access("127.0.0.1"), lambda shot, at: f"sent {shot.id}"
        )
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/"
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def window() -> Iterator[Any]:
    with chromium() as started:
        page = started.new_context(viewport={"width": 1280, "height": 800}).new_page()
        page.set_default_timeout(10_000)
        yield page


@pytest.fixture
def page(window: Any, address: str, live: Live) -> Iterator[Any]:
    """The page, opened afresh and without marks."""
    live.marks.path.unlink(missing_ok=True)
    with watched(window) as requests:
        window.goto("about:blank")
        window.goto(address)
        yield window
    assert {request.url.startswith((address, "about:blank", "blob:")) for request in requests} == {True}


def wait_until(page: Any, expression: str) -> None:
    browser.wait_until(page, expression, "document.querySelector('#message').textContent")


def search(page: Any, text: str) -> None:
    page.locator("#text").fill(text)
    press(page, "Enter")
    wait_until(page, f"{READY} && document.querySelector('#title').textContent === {text!r}")


def seen(page: Any) -> list[str]:
    return list(page.locator("#sheet .shot:visible .id").all_inner_texts())


def focused(page: Any) -> str:
    return str(page.evaluate("document.activeElement.closest('.shot')?.querySelector('.id').textContent ?? ''"))


def test_from_the_empty_page_to_an_export_by_keyboard(page: Any, live: Live) -> None:
    assert page.locator("#empty").is_visible() and page.evaluate("document.activeElement.id") == "text"
    page.keyboard.type("r")
    press(page, "Enter")
    wait_until(page, READY)
    assert (seen(page)[:2], focused(page)) == (["red", "reddish"], "red")
    # play
    press(page, "ArrowRight Space")
    wait_until(page, f"{PLAYER}.currentTime > 1.5")
    before = page.evaluate(f"{PLAYER}.currentTime")
    wait_until(page, f"{PLAYER}.currentTime > {before}")
    # like what plays, and it plays on
    press(page, "l")
    wait_until(page, "document.querySelector('#marks').textContent === '1 ✓'")
    assert page.locator("#large .id").inner_text() == "reddish" and page.evaluate(f"{PLAYER}.currentTime") > before
    press(page, "Escape")
    # A dialog's closing is an event of its own, which a busy machine has later.
    wait_until(page, "!!document.activeElement.closest('.shot')")
    assert (seen(page)[0], focused(page)) == ("reddish", "reddish")
    assert {shot: one.relevance for shot, one in read_qrels(str(live.marks.path))["1"].items()} == {"reddish": 1}
    # dislike the next one: another takes its place, and the focus stays there
    press(page, "j")
    second = focused(page)
    press(page, "d")
    wait_until(page, "document.querySelector('#marks').textContent.endsWith('1 ✕')")
    assert seen(page)[-1] == second and focused(page) == seen(page)[1]
    press(page, "u")
    wait_until(page, "!document.querySelector('#marks').textContent.includes('✕')")
    assert seen(page)[1] == second
    # the run is that of the sheet
    with page.expect_download() as download:
        page.locator("#export").select_option("run")
    run = parse_run("run", Path(download.value.path()).read_text())
    assert download.value.suggested_filename == "topic-1.run" and next(iter(run["1"])) == "reddish"


def test_by_mouse(page: Any, live: Live) -> None:
    page.get_by_role("button", name="a dog on a beach").click()
    wait_until(page, READY)
    search(page, "g")
    third = seen(page)[2]
    page.get_by_role("button", name=f"Like: {third}", exact=True).click()
    wait_until(page, "document.querySelector('#marks').textContent === '1 ✓'")
    assert seen(page)[0] == third
    page.get_by_role("button", name="Undo").click()
    wait_until(page, "document.querySelector('#marks').textContent === ''")
    assert seen(page)[0] == "green" and not live.marks.path.exists()
    page.get_by_role("button", name=f"More like this: {third}", exact=True).click()
    wait_until(page, f"{READY} && location.search === '?like={third}'")
    assert third not in seen(page) and page.locator(".chip bdi").inner_text() == f"like {third}"
    page.go_back()
    wait_until(page, f"{READY} && document.querySelector('#title').textContent === 'g'")
    assert seen(page)[0] == "green"
    page.locator("#sheet .place a").first.click()
    wait_until(page, f"{PLAYER}.currentTime > 2")
    page.locator("#large").get_by_role("button", name="Submit").click()
    wait_until(page, "document.querySelector('#large .note').textContent === 'sent green'")
    page.get_by_role("button", name="Close").click()


def test_near_duplicates_are_behind_one_card(page: Any) -> None:
    search(page, "r")
    page.get_by_role("button", name="Show 2 similar to red").click()
    assert seen(page)[:4] == ["red", "twin-1", "twin-2", "reddish"]
    press(page, "Tab")
    page.locator("#sheet .shot > a").first.focus()
    press(page, "j")
    assert focused(page) == "twin-1"
    page.get_by_role("checkbox", name="Fold similar").uncheck()
    wait_until(page, "document.querySelectorAll('.fold').length === 0")


def test_folders_narrow_down_and_more_shots_come_with_scrolling(page: Any) -> None:
    search(page, "r g b")
    page.get_by_role("checkbox", name="Fold similar").uncheck()
    wait_until(page, f"{READY} && document.querySelectorAll('#sheet .shot').length === 60")
    shown = page.locator("#sheet .shot").count()
    page.locator("#more").scroll_into_view_if_needed()
    wait_until(page, f"document.querySelectorAll('#sheet .shot').length > {shown}")
    page.locator("[data-facet=folder] button", has_text="sea").click()
    wait_until(page, f"{READY} && document.querySelector('#count').textContent.startsWith('6 shots')")
    page.get_by_role("button", name="Remove in ").click()
    wait_until(page, f"{READY} && document.querySelector('#count').textContent.startsWith('156 shots')")


def test_a_dropped_picture_is_an_example(page: Any) -> None:
    data = list(jpeg((0, 0, 1), kind="PNG"))
    page.evaluate(
        """data => {
            const files = new DataTransfer();
            files.items.add(new File([new Uint8Array(data)], "sky.png", { type: "image/png" }));
            const drop = { dataTransfer: files, bubbles: true, cancelable: true };
            document.body.dispatchEvent(new DragEvent("drop", drop));
        }""",
        data,
    )
    wait_until(page, f"{READY} && document.querySelector('.chip bdi').textContent === 'sky.png'")
    assert seen(page)[0] == "blue"


def test_what_the_server_refuses_is_said(window: Any, address: str) -> None:
    window.goto(address)
    window.locator("#text").fill("picture.png")
    press(window, "Enter")
    wait_until(window, "!document.querySelector('#message').hidden")
    assert "drop the picture itself" in window.locator("#message").inner_text()


def test_a_line_of_structure_is_searched_and_where_it_is_wrong_the_focus_stays(window: Any, address: str) -> None:
    window.goto(address)
    search(window, "r -b > g < 5s")
    assert (seen(window)[0], focused(window)) == ("red", "red")
    window.locator("#text").fill("r > g < soon")
    press(window, "Enter")
    wait_until(window, "!document.querySelector('#message').hidden")
    assert window.locator("#message").inner_text() == "Query, character 7: '<': expected seconds, as in < 20s."
    assert window.evaluate("document.activeElement.id") == "text"


@pytest.mark.parametrize(("width", "scheme"), [(1280, "dark"), (390, "light")])
def test_nothing_sticks_out_and_controls_are_large_enough(page: Any, width: int, scheme: str) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)
    for turn in range(2):
        if turn:
            search(page, "r")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.evaluate("document.querySelector('#topics').offsetWidth > 0.7 * innerWidth")
        sizes = page.locator("button:visible").evaluate_all(
            "(all) => all.map((one) => one.getBoundingClientRect()).map(({ width, height }) => Math.min(width, height))"
        )
        assert min(sizes) >= 24
    page.set_viewport_size({"width": 1280, "height": 800})
    page.emulate_media(color_scheme="light")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light")])
def test_axe_finds_nothing_serious_on_the_live_page(page: Any, width: int, scheme: str) -> None:
    serious = with_axe(page, width, scheme)
    for keys in ("", "r Enter", "l", "Space", "Escape ?"):
        if keys.endswith("Enter"):
            page.locator("#text").focus()
        press(page, keys)
        wait_until(page, f"{READY} || !document.querySelector('#empty').hidden")
        assert serious() == []
    page.set_viewport_size({"width": 1280, "height": 800})
    page.emulate_media(color_scheme="light")
