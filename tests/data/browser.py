"""A real browser for tests of pages: Chromium by Playwright, and what its tests share."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

AXE = os.environ.get("AVS_AXE", "node_modules/axe-core/axe.min.js")
CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--mute-audio"]
FLAGS += ["--disable-component-update", "--disable-sync"]


@contextmanager
def chromium() -> Iterator[Any]:
    """The browser; the test skips where it is absent."""
    if not CHROMIUM.exists():
        pytest.skip(f"needs {CHROMIUM} to look at the page (apt install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright to drive chromium")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield started
        started.close()


@contextmanager
def watched(*windows: Any) -> Iterator[list[Any]]:
    """The requests that windows make; what they complain of fails the test when the context ends."""
    requests: list[Any] = []
    complaints: list[str] = []
    listeners = {
        "request": lambda request: requests.append(request),
        "console": lambda message: complaints.append(message.text),
        "pageerror": lambda error: complaints.append(str(error)),
    }
    for window in windows:
        for event, listener in listeners.items():
            window.on(event, listener)
    yield requests
    for window in windows:
        for event, listener in listeners.items():
            window.remove_listener(event, listener)
    assert complaints == []


def wait_until(page: Any, expression: str, shown: str = "''") -> None:
    """Playwright's own waiting evaluates strings within the page, which the page's policy forbids.

    shown  an expression whose value the failure has
    """
    for _ in range(100):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"still not so after 5 s: {expression}; {page.evaluate(shown)}")


def with_axe(page: Any, width: int, scheme: str) -> Callable[[], list[Any]]:
    """Load axe-core into a page of that width and colour scheme: what then looks for serious findings, or worse ones.

    The test skips without axe-core.
    """
    if not Path(AXE).is_file():
        pytest.skip("needs axe-core (npm install axe-core; AVS_AXE names its axe.min.js)")
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)
    page.evaluate(Path(AXE).read_text(encoding="utf-8"))

    def serious() -> list[Any]:
        found = page.evaluate(
            "axe.run().then(({violations}) => violations.map(({id, impact, nodes}) => [id, impact, nodes[0].html]))"
        )
        return [one for one in found if one[1] in ("serious", "critical")]

    return serious


def press(page: Any, keys: str) -> None:
    for key in keys.split():
        page.keyboard.press(key)
