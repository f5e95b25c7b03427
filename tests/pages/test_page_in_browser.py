"""The page of `avs view` in a real browser: what it loads, how it looks and how it obeys keys."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import chromium, press, wait_until, watched
from PIL import Image

from avs_cli.cli import exit_code
from avs_cli.io.store.writer import Item, StoreWriter
from avs_cli.types import Shot

HOSTILE = '"><img/src=https://evil.example/x><script>document.title="owned"</script>'
LONG = "a_shot_id_without_any_place_to_break_" * 4
COLOURS = {"red": (200, 30, 30), "green": (30, 160, 60), "blue": (30, 60, 200)}

# topic 1: what only one run has, what moves up and down, what stays
MANY = [f"s{n}" for n in range(120)]
FIRST = {"1": ["stays", "falls", "climbs", "goes", LONG], "2": [HOSTILE, "stays"], "3": MANY, "4": MANY, "5": MANY}
SECOND = {"1": ["stays", "climbs", "comes", "falls"], "2": [HOSTILE], "3": MANY, "4": MANY, "5": MANY}
QRELS = {"stays": 1, "climbs": 1, "falls": 0}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def address(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page of two runs and three topics, with judgments, hostile and long ids, and shots without pictures."""
    folder = tmp_path_factory.mktemp("page")
    ids = dict.fromkeys(shot for run in (FIRST, SECOND) for ranking in run.values() for shot in ranking)
    pictures = {shot: jpeg(list(COLOURS.values())[n % 3]) for n, shot in enumerate(ids) if shot != "goes"}
    with StoreWriter(folder / "g.h5", "conse", 2, {}) as writer:
        vector = np.ones(2, np.float16)
        writer.add([Item(Shot(i, f"{i}.cut.mp4", 5, 65), i, vector, pictures.get(i)) for i in ids if len(i) < 150])
        writer.finish([])
    for name, run in (("first", FIRST), ("second", SECOND)):
        rows = ((topic, shot, -rank) for topic, ranking in run.items() for rank, shot in enumerate(ranking))
        (folder / f"{name}.trec").write_text("".join(f"{topic} Q0 {shot} 0 {score} x\n" for topic, shot, score in rows))
    (folder / "q.qrels").write_text("".join(f"1 0 {shot} 1 {relevance}\n" for shot, relevance in QRELS.items()))
    (folder / "t.txt").write_text(
        f"1 a first query\n2 {HOSTILE} is asked\n3 a third query\n4 a fourth query\n5 a fifth query\n"
    )
    options = {"-g": "g.h5", "--topics": "t.txt", "--qrels": "q.qrels", "-o": "p.html"}
    arguments = [str(folder / name) if "." in name else name for pair in options.items() for name in pair]
    assert exit_code(["view", str(folder / "first.trec"), str(folder / "second.trec"), *arguments]) == 0
    return (folder / "p.html").as_uri()


def jpeg(colour: tuple[int, int, int]) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (64, 36), colour).save(data, "JPEG", quality=95)
    return data.getvalue()


Opener = Callable[..., Any]


@pytest.fixture(scope="module")
def windows(browser: Any) -> Iterator[dict[bool, Any]]:
    """A window with scripts and one without; a new one for each test would take most of the time."""
    contexts = {scripts: browser.new_context(java_script_enabled=scripts) for scripts in (True, False)}
    yield {scripts: context.new_page() for scripts, context in contexts.items()}
    for context in contexts.values():
        context.close()


@pytest.fixture
def page_of(windows: dict[bool, Any], address: str) -> Iterator[Opener]:
    """Opens the page afresh; whatever it asks the world for, and whatever it complains of, fails the test."""
    with watched(*windows.values()) as requests:

        def open_page(width: int = 1280, height: int = 800, scheme: str = "light", scripts: bool = True) -> Any:
            page = windows[scripts]
            page.set_default_timeout(10_000)
            page.set_viewport_size({"width": width, "height": height})
            page.emulate_media(color_scheme=scheme, media="screen")
            page.goto("about:blank")
            page.goto(address)
            return page

        yield open_page
    asked = [request.url for request in requests]
    assert [
        url for url in asked if not url.startswith(("data:image/jpeg", "about:blank")) and url.split("#")[0] != address
    ] == []


def focused(page: Any) -> str:
    """The shot that has the focus."""
    return str(page.evaluate("document.activeElement.closest('.shot')?.querySelector('.id').textContent ?? ''"))


def seen(page: Any, topic: str = "#t0") -> list[str]:
    """The shots of a topic as they stand on the page."""
    return list(page.locator(f"{topic} .shot:visible .id").all_inner_texts())


def test_the_first_run_is_shown_in_its_order(page_of: Opener) -> None:
    page = page_of()
    assert seen(page) == FIRST["1"]
    assert page.locator("#t0 .rank:visible").all_inner_texts() == ["1", "2", "3", "4", "5"]
    assert page.locator("#count").inner_text() == "307 shots"


def test_thumbnails_are_painted(page_of: Opener) -> None:
    page = page_of()
    picture = Image.open(io.BytesIO(page.locator("#t0 .picture").first.screenshot()))
    middle = picture.convert("RGB").getpixel((picture.width // 2, picture.height // 2))
    assert np.allclose(middle, COLOURS["red"], atol=6)


def test_what_is_far_down_the_page_is_not_drawn_before_it_is_needed(page_of: Opener) -> None:
    page = page_of(height=400)
    drawn = "document.querySelector('#t2 .picture').checkVisibility({contentVisibilityAuto: true})"
    assert page.evaluate(drawn) is False
    press(page, "n n n")
    wait_until(page, drawn)


def test_the_second_run_is_shown_with_its_own_ranks_and_scores(page_of: Opener) -> None:
    page = page_of()
    page.get_by_role("radio", name="second").check(force=True)
    assert seen(page) == SECOND["1"]
    assert page.locator("#t0 .edge:visible").nth(1).inner_text().split() == ["2", "-1"]


def test_the_difference_groups_what_came_moved_stayed_and_went(page_of: Opener) -> None:
    page = page_of()
    page.get_by_role("radio", name="Difference").check(force=True)
    groups = page.locator("#t0 .group")
    told = [(group.locator("h3").inner_text(), group.locator(".id").all_inner_texts()) for group in groups.all()]
    assert [(" ".join(title.split()), shots) for title, shots in told] == [
        ("Only in second 1", ["comes"]),
        ("Moved up in second 1", ["climbs"]),
        ("Moved down in second 1", ["falls"]),
        ("Same rank in both 1", ["stays"]),
        ("Only in first 2", ["goes", LONG]),
    ]
    moves = page.locator("#t0 .edge .move").all_inner_texts()
    assert moves == ["new", "▲ 1", "▼ 2", "=", "gone", "gone"]


def test_the_difference_can_be_turned_round(page_of: Opener) -> None:
    page = page_of()
    page.get_by_role("radio", name="Difference").check(force=True)
    page.get_by_label("difference from").select_option("second")
    page.get_by_label("difference to").select_option("first")
    assert page.locator("#t0 h3").first.inner_text().split() == ["Only", "in", "first", "2"]
    assert page.locator("#t0 .edge .move").all_inner_texts() == ["new", "new", "▲ 2", "▼ 1", "=", "gone"]


def test_v_steps_through_the_views(page_of: Opener) -> None:
    page = page_of()
    views = []
    for _ in range(3):
        press(page, "v")
        views.append(page.locator(".views input:checked").get_attribute("value"))
    assert views == ["1", "difference", "0"]


def test_j_and_k_move_between_shots_and_cross_topics(page_of: Opener) -> None:
    page = page_of()
    press(page, "j k")
    assert focused(page) == "stays"
    press(page, "j j")
    assert focused(page) == "climbs"
    press(page, "k")
    assert focused(page) == "falls"
    press(page, "j j j j")
    assert focused(page) == HOSTILE


def test_arrows_move_on_the_sheet_by_place(page_of: Opener) -> None:
    page = page_of()
    press(page, "n n")
    assert focused(page) == "s0"
    columns = page.evaluate(
        "getComputedStyle(document.querySelector('#t2 .sheet')).gridTemplateColumns.split(' ').length"
    )
    press(page, "ArrowDown")
    assert focused(page) == f"s{columns}"
    press(page, "ArrowRight ArrowDown")
    assert focused(page) == f"s{2 * columns + 1}"
    press(page, "ArrowUp ArrowLeft")
    assert focused(page) == f"s{columns}"


def test_the_first_shot_or_that_of_the_address_has_the_focus_from_the_start(page_of: Opener, address: str) -> None:
    page = page_of()
    assert (focused(page), page.evaluate("scrollY")) == ("stays", 0)
    press(page, "ArrowRight Enter")
    assert page.locator("#large .id").inner_text() == "falls"
    for name, shot in (("#t1", HOSTILE), ("#t2s7", "s7"), ("#absent", "stays")):
        page.goto("about:blank")
        page.goto(address + name)
        wait_until(page, "document.activeElement.closest('.shot')")
        assert focused(page) == shot


def test_arrows_scroll_as_ever_while_the_sheet_has_no_focus(page_of: Opener) -> None:
    page = page_of()
    page.evaluate("document.activeElement.blur()")
    press(page, "ArrowDown ArrowDown")
    wait_until(page, "scrollY > 0")
    assert focused(page) == ""


def test_n_and_p_move_between_topics_and_bring_their_heads_into_sight(page_of: Opener) -> None:
    page = page_of()
    press(page, "n n")
    assert focused(page) == "s0"
    assert page.locator("#q2").is_visible()
    tools = page.locator("#tools").bounding_box()
    assert page.locator("#q2").bounding_box()["y"] >= tools["y"] + tools["height"]
    press(page, "p")
    assert focused(page) == HOSTILE


@pytest.mark.parametrize("way", ["keys", "list"])
def test_a_jump_over_long_topics_ends_at_the_head_of_the_topic(page_of: Opener, way: str) -> None:
    page = page_of(1280, 800)
    if way == "keys":
        press(page, "n n n n n")
    else:
        page.locator(".index a").nth(4).click()
    # Long enough for the topics on the way to have been drawn.
    page.wait_for_timeout(400)
    tools, head = page.locator("#tools").bounding_box(), page.locator("#q4").bounding_box()
    assert tools["y"] + tools["height"] <= head["y"] < 150


def test_the_focus_can_be_seen(page_of: Opener) -> None:
    page = page_of()
    press(page, "j j")
    style, width = page.evaluate(
        "(({outlineStyle, outlineWidth}) => [outlineStyle, outlineWidth])(getComputedStyle(document.activeElement))"
    )
    assert style == "solid" and float(width.removesuffix("px")) >= 2


def test_tab_visits_one_shot_not_all(page_of: Opener) -> None:
    page = page_of()
    assert page.locator(".shot > a:not([tabindex='-1'])").count() == 1


def test_enter_enlarges_arrows_go_on_and_escape_returns_to_the_shot(page_of: Opener) -> None:
    page = page_of()
    press(page, "Enter")
    large = page.locator("#large")
    assert large.is_visible()
    image = large.locator("img")
    wait_until(page, "document.querySelector('#large img').naturalWidth === 64")
    assert image.get_attribute("alt") == "stays, stays.cut.mp4, 0:05–1:05"
    assert large.locator(".elsewhere").inner_text().split() == ["first", "1", "second", "1"]
    press(page, "ArrowRight ArrowRight ArrowRight")
    assert large.locator(".id").inner_text() == "goes"
    assert not image.is_visible() and large.locator(".blank").is_visible()
    press(page, "Escape")
    assert not large.is_visible()
    assert focused(page) == "goes"


def test_a_click_enlarges_and_the_buttons_work(page_of: Opener) -> None:
    page = page_of()
    page.locator("#t0 .shot > a").nth(1).click()
    large = page.locator("#large")
    assert large.locator(".id").inner_text() == "falls"
    large.get_by_role("button", name="Next").click()
    assert large.locator(".id").inner_text() == "climbs"
    large.get_by_role("button", name="Previous").click()
    large.get_by_role("button", name="Previous").click()
    assert large.get_by_role("button", name="Previous").is_disabled()
    large.get_by_role("button", name="Close").click()
    assert focused(page) == "stays"


def test_the_question_mark_shows_the_keys(page_of: Opener) -> None:
    page = page_of()
    press(page, "?")
    assert page.get_by_role("heading", name="Keys").is_visible()
    press(page, "Escape")
    assert not page.locator("#keys").is_visible()


def test_the_filter_sifts_shots_topics_and_the_list_of_topics(page_of: Opener) -> None:
    page = page_of()
    press(page, "/")
    page.keyboard.type("LLs")
    assert seen(page) == ["falls"]
    assert page.locator(".topic:visible").count() == 1
    assert page.locator(".index li:visible").count() == 1
    assert page.locator("#count").inner_text() == "1 of 307 shots"
    page.keyboard.type("zzz")
    assert page.locator("#nothing").is_visible()
    press(page, "Escape")
    assert page.locator("#count").inner_text() == "307 shots"
    assert focused(page) == "stays"


def test_judgments_sift_too(page_of: Opener) -> None:
    page = page_of()
    page.get_by_label("Judged").select_option("relevant")
    assert seen(page) == ["stays", "climbs"]
    page.get_by_label("Judged").select_option("not relevant")
    assert seen(page) == ["falls"]


def test_the_filter_holds_when_the_view_changes(page_of: Opener) -> None:
    page = page_of()
    page.get_by_label("Filter").fill("climbs")
    page.get_by_role("radio", name="Difference").check(force=True)
    assert seen(page) == ["climbs"]
    assert page.locator("#t0 .group:visible").count() == 1


def test_hostile_names_stay_text(page_of: Opener) -> None:
    page = page_of()
    press(page, "v v n n Enter")
    assert page.title() == "first · second – avs"
    assert seen(page, "#t1")[0] == HOSTILE
    assert page.locator("#large .id").inner_text() == HOSTILE
    assert page.locator("#q1").inner_text() == f"{HOSTILE} is asked"
    assert page.evaluate("document.scripts.length") == 1
    assert page.evaluate("document.images.length") == 1


def test_the_policy_stops_requests_and_foreign_scripts(browser: Any, address: str) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        asked: list[str] = []
        context.route("https://**", lambda route: (asked.append(route.request.url), route.abort()))
        page.goto(address)
        blocked = page.evaluate(
            """async () => {
              const seen = [];
              document.addEventListener("securitypolicyviolation", (event) => seen.push(event.effectiveDirective));
              const image = new Image();
              image.src = "https://evil.example/x";
              document.body.append(Object.assign(document.createElement("script"), {textContent: "window.owned = 1"}));
              await fetch("https://evil.example/y").catch(() => {});
              await new Promise((done) => setTimeout(done, 100));
              return [seen.sort(), window.owned ?? null];
            }"""
        )
        assert blocked == [["connect-src", "img-src", "script-src-elem"], None]
        assert asked == []


# Every visible text against what lies behind it, by WCAG 2's contrast of relative luminances.
CONTRASTS = """() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = (colour) => {
    const [red, green, blue] = numbers(colour).map((part) => part / 255)
      .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if ((numbers(colour)[3] ?? 1) === 1) return colour;
    }
  };
  const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement, text = walker.currentNode.textContent.trim();
    if (!text || element.disabled || !element.checkVisibility({opacityProperty: true})) continue;
    if (element.closest(".views legend, .skip, script, style")) continue;
    let opacity = 1;
    for (let at = element; at; at = at.parentElement) opacity *= Number(getComputedStyle(at).opacity);
    const [one, other] = [getComputedStyle(element).color, ground(element)].map(luminance);
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    found.push([text.slice(0, 40), opacity === 1 ? ratio : 0]);
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_light_and_dark(page_of: Opener, scheme: str) -> None:
    page = page_of(scheme=scheme)
    # A run, the difference, a shot enlarged, the keys.
    for keys in ("", "v v", "j Enter", "Escape ?"):
        press(page, keys)
        contrasts = page.evaluate(CONTRASTS)
        assert len(contrasts) > 100
        assert [found for found in contrasts if found[1] < 4.5] == []


def test_dark_mode_is_dark_and_light_mode_is_light(page_of: Opener) -> None:
    grounds = [
        page_of(scheme=scheme).evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
        for scheme in ("light", "dark")
    ]
    assert min(grounds[0]) > 200 and max(grounds[1]) < 50


STICKING_OUT = """[...document.querySelectorAll('.topic :not(svg *), dialog *')]
  .filter((element) => element.getBoundingClientRect().right > innerWidth + 8).map((element) => element.className)"""


@pytest.mark.parametrize("width", [320, 390, 1280, 2560])
def test_nothing_sticks_out_sideways(page_of: Opener, width: int) -> None:
    page = page_of(width, 844)
    # A run, the difference, the shot with the long id enlarged.
    for keys in ("", "v v", "v j j j j j Enter"):
        press(page, keys)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(STICKING_OUT) == []


def test_a_phone_shows_two_shots_side_by_side_under_a_row_of_topics(page_of: Opener) -> None:
    page = page_of(390, 844)
    boxes = [page.locator("#t0 .shot").nth(place).bounding_box() for place in range(3)]
    assert boxes[0]["y"] == boxes[1]["y"] < boxes[2]["y"]
    topics = [page.locator(".index li").nth(place).bounding_box() for place in range(2)]
    assert topics[0]["y"] == topics[1]["y"]


def test_without_script_everything_can_be_read(page_of: Opener) -> None:
    page = page_of(scripts=False)
    assert not page.locator("#tools").is_visible()
    assert seen(page) == [*FIRST["1"], "comes"]
    assert page.locator("#t0 .elsewhere").last.inner_text().split() == ["first", "–", "second", "3"]
    assert page.locator("#t0 .mark").all_inner_texts()[:2] == ["✓ relevant", "✕ not relevant"]
    page.locator(".index a").nth(2).click()
    assert page.url.endswith("#t2") and page.locator("#q2").is_visible()


def test_paper_gets_the_shots_and_not_the_controls(page_of: Opener) -> None:
    page = page_of(scheme="dark")
    page.emulate_media(media="print")
    assert not page.locator("#tools").is_visible() and not page.locator(".index").is_visible()
    assert page.locator("#t2 .shot").last.is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_the_topic_in_sight_is_marked_in_the_list(page_of: Opener) -> None:
    page = page_of()
    press(page, "n n")
    wait_until(page, "document.querySelector('.index [aria-current]')?.textContent.startsWith('3')")
    assert page.locator(".index [aria-current]").count() == 1


def test_controls_and_regions_have_names(page_of: Opener) -> None:
    page = page_of()
    for role, name in [("navigation", "Topics"), ("searchbox", "Filter"), ("combobox", "Judged"), ("radio", "second")]:
        assert page.get_by_role(role, name=name).count() == 1
    assert page.get_by_role("heading", level=1).inner_text() == "first and second"
    assert page.get_by_role("heading", level=2).count() == 5
    assert page.get_by_role("link", name="stays, stays.cut.mp4, 0:05–1:05").count() == 2
    assert page.get_by_role("region", name="a first query").count() == 1


def test_thumbnails_beside_the_page_are_loaded_when_they_are_scrolled_to(browser: Any, tmp_path: Path) -> None:
    """300 shots with thumbnails of their own; the policy lets the page load these files."""
    pictures = {f"s{n}": jpeg((n % 256, n // 256, 90)) + bytes([n % 256, n // 256]) for n in range(300)}
    with StoreWriter(tmp_path / "g.h5", "conse", 2, {}) as writer:
        writer.add([Item(Shot(i, "v.mp4", 5, 65), i, np.ones(2, np.float16), data) for i, data in pictures.items()])
        writer.finish([])
    (tmp_path / "x.trec").write_text("".join(f"1 Q0 s{n} 0 {-n} x\n" for n in range(300)) + "1 Q0 absent 0 -0.5 x\n")
    page = tmp_path / "a page, 50%.html"
    line = [str(tmp_path / "x.trec"), "-g", str(tmp_path / "g.h5"), "--shown", "1000", "-o", str(page)]
    assert exit_code(["view", *line, "--thumbnails-beside"]) == 0
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    try:
        window = context.new_page()
        asked: list[str] = []
        complaints: list[str] = []
        window.on("request", lambda request: asked.append(request.url))
        window.on("console", lambda message: complaints.append(message.text))
        window.goto(page.as_uri())
        painted = "document.querySelector('#t0s{} img').naturalWidth === 64"
        wait_until(window, painted.format(0))
        assert 1 < len(asked) < 200
        window.locator("#t0s300").scroll_into_view_if_needed()
        wait_until(window, painted.format(300))
        window.locator("#t0s0 a").click()
        wait_until(window, "document.querySelector('#large img').naturalWidth === 64")
        assert window.locator("#large img").get_attribute("alt") == "s0, v.mp4, 0:05–1:05"
        window.keyboard.press("ArrowRight")
        assert window.locator("#large .blank").is_visible()
        assert complaints == []
    finally:
        context.close()
