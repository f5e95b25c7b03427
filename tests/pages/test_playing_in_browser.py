"""The page of `avs view` plays shots from their videos, in a real browser, by keyboard and mouse."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browser
import numpy as np
import pytest
from browser import chromium, press, watched, with_axe
from films import webm_film

from avs_cli.cli import exit_code
from avs_cli.io.store.writer import Item, StoreWriter
from avs_cli.types import Shot

CLIP = "a clip #1, 50%.webm"
# `npm install axe-core` in any folder; this names its axe.min.js.

PLAYER = "document.querySelector('#large video')"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page of five shots: two of a video, one of a file that is none, one of a missing file, one without times."""
    folder = tmp_path_factory.mktemp("playing")
    (folder / "videos").mkdir()
    webm_film(folder / "videos" / CLIP)
    (folder / "videos" / "broken.mp4").write_bytes(b"not a video")
    shots = {
        Shot("one", f"videos/{CLIP}", 1.5, 2.25),
        Shot("two", f"videos/{CLIP}", 4.0, 5.0),
        Shot("broken", "videos/broken.mp4", 1.0, 2.0),
        Shot("missing", "videos/missing.mp4", 1.0, 2.0),
        Shot("picture", "picture.jpg", 0.0, 0.0),
    }
    with StoreWriter(folder / "g.h5", "conse", 2, {}) as writer:
        writer.add([Item(shot, shot.id, np.ones(2, np.float16)) for shot in sorted(shots)])
        writer.finish([])
    order = ["one", "two", "broken", "missing", "picture"]
    (folder / "r.run").write_text("".join(f"1 Q0 {shot} {n} {-n} x\n" for n, shot in enumerate(order, start=1)))
    page = folder / "p.html"
    assert exit_code(["view", str(folder / "r.run"), "-g", str(folder / "g.h5"), "-o", str(page)]) == 0
    return page.as_uri()


@pytest.fixture(scope="module")
def window() -> Iterator[Any]:
    with chromium() as started:
        context = started.new_context(viewport={"width": 1280, "height": 800})
        page = context.new_page()
        page.set_default_timeout(10_000)
        yield page


@pytest.fixture
def page(window: Any, address: str) -> Iterator[Any]:
    """The page, opened afresh; `page.requests` are those that it has made."""
    with watched(window) as requests:
        window.goto("about:blank")
        window.goto(address)
        window.requests = requests
        yield window


def films(page: Any) -> list[str]:
    """The videos that the page has asked for."""
    return [one.url for one in page.requests if one.resource_type == "media" or "/videos/" in one.url]


def wait_until(page: Any, expression: str) -> None:
    browser.wait_until(page, expression, f"[{PLAYER}.currentTime, {PLAYER}.paused]")


def test_enter_enlarges_without_a_request_and_enter_again_plays_the_shot_to_its_end(page: Any) -> None:
    press(page, "Enter")
    page.wait_for_timeout(150)
    assert (films(page), page.locator("#large video").is_visible()) == ([], False)
    press(page, "Enter")
    wait_until(page, f"{PLAYER}.currentTime > 1.5")
    assert page.evaluate(f"{PLAYER}.currentSrc").endswith("/videos/a%20clip%20%231%2C%2050%25.webm#t=1.5,2.25")
    assert page.get_by_role("button", name="Pause").count() == 1
    wait_until(page, f"{PLAYER}.paused")
    assert 2.1 < page.evaluate(f"{PLAYER}.currentTime") < 2.6
    press(page, "Enter")
    wait_until(page, f"!{PLAYER}.paused && {PLAYER}.currentTime < 2.1")


def test_space_plays_at_once_arrows_go_on_playing_and_escape_stops(page: Any) -> None:
    press(page, "Space")
    wait_until(page, f"{PLAYER}.currentTime > 1.5")
    press(page, "ArrowRight")
    wait_until(page, f"{PLAYER}.currentTime > 4")
    assert page.locator("#large .id").inner_text() == "two"
    press(page, "Space")
    wait_until(page, f"{PLAYER}.paused")
    press(page, "Escape")
    wait_until(page, f"{PLAYER}.paused && !{PLAYER}.hasAttribute('src') && {PLAYER}.networkState === 0")
    assert page.evaluate("document.activeElement.closest('.shot').querySelector('.id').textContent") == "two"


def test_the_mouse_plays_from_the_times_and_from_the_picture(page: Any) -> None:
    page.locator("#t0s1 .place a").click()
    wait_until(page, f"{PLAYER}.currentTime > 4")
    page.get_by_role("button", name="Close").click()
    page.locator("#t0s0 > a").click()
    assert not page.locator("#large video").is_visible()
    page.locator("#large .frame").click()
    wait_until(page, f"{PLAYER}.currentTime > 1.5")


@pytest.mark.parametrize("allowed", [True, False])
def test_path_and_time_are_copied_as_in_a_shot_table(page: Any, address: str, allowed: bool) -> None:
    if allowed:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    else:
        page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined, configurable: true})")
        page.evaluate("document.addEventListener('copy', () => { window.copied = getSelection().toString() })")
    press(page, "Enter c")
    wait_until(page, "document.querySelector('.note').textContent.startsWith('Copied')")
    copied = page.evaluate("navigator.clipboard.readText()" if allowed else "window.copied")
    path = Path(page.url.removeprefix("file://")).parent / "videos" / CLIP
    assert copied == f"{path}\t1.5\t2.25"
    assert page.locator(".note").inner_text() == f"Copied: {path}, 1.5 to 2.25 s"
    assert films(page) == []


def test_a_file_that_the_browser_cannot_play_and_one_that_is_missing_are_reported_in_place(page: Any) -> None:
    press(page, "j j Space")
    note = page.locator("#large .note")
    wait_until(page, "document.querySelector('#large .note').textContent")
    assert note.inner_text().startswith("This browser cannot play broken.mp4: the file has moved")
    assert not page.locator("#large video").is_visible()
    assert page.locator("#large .caption .place a").get_attribute("target") == "_blank"
    press(page, "ArrowRight")
    assert note.inner_text() == "This shot does not play: its video was not there when the page was made."
    assert page.get_by_role("button", name="Play").count() == 0
    press(page, "ArrowRight")
    assert note.inner_text() == ""


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light")])
def test_axe_finds_nothing_serious(page: Any, width: int, scheme: str) -> None:
    serious = with_axe(page, width, scheme)
    for keys in ("", "Enter", "Enter", "Escape ?"):
        press(page, keys)
        assert serious() == []
    page.set_viewport_size({"width": 1280, "height": 800})
    page.emulate_media(color_scheme="light")
