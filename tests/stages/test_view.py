"""View from Python: what a page shows, from files or from values."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avs_cli.errors import MismatchError
from avs_cli.io.store.writer import Item, StoreWriter
from avs_cli.pages.results import render
from avs_cli.reporting import Reporter
from avs_cli.stages.view import RankedShot, page
from avs_cli.types import Judgment, Shot


class Notes(Reporter):
    """Keeps what is reported."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def note(self, message: str) -> None:
        self.messages.append(message)


@pytest.fixture
def gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Shots a and b, of which a has a thumbnail, beside a run, topics and judgments."""
    monkeypatch.chdir(tmp_path)
    picture = io.BytesIO()
    Image.new("RGB", (32, 18), "red").save(picture, "JPEG")
    with StoreWriter(tmp_path / "g.h5", "tiny", 2, {}) as writer:
        shots = {Shot("a", "v.mp4", 0.0, 1.5): picture.getvalue(), Shot("b", "v.mp4", 1.5, 3.0): None}
        writer.add([Item(shot, shot.id, np.ones(2), jpeg) for shot, jpeg in shots.items()])
        writer.finish(["a", "b"])
    Path("x.run").write_text("1661 Q0 a 1 0.9 x\n1661 Q0 b 2 0.8 x\n1662 Q0 b 1 0.7 x\n")
    Path("t.txt").write_text("661 a hang glider\n")
    Path("v.mp4").touch()
    Path("x.qrels").write_text("1661 0 a 1\n1662 0 b 0\n")
    return "g.h5"


RUN = {"1661": {"a": 0.9, "b": 0.8}, "1662": {"b": 0.7}}


def test_a_page_has_the_first_shots_of_each_topic_with_their_texts_judgments_and_pictures(gallery: str) -> None:
    notes = Notes()
    shown = page(["x.run"], [gallery], topics="t.txt", qrels="x.qrels", shown=1, report=notes)
    assert shown.names == ["x"]
    assert shown.topics == {"1661": [RankedShot("a", (1,), (0.9,))], "1662": [RankedShot("b", (1,), (0.7,))]}
    assert shown.queries == {"1661": "a hang glider"}
    assert (shown.qrels, [*shown.pictures]) == (
        {"1661": {"a": Judgment(1)}, "1662": {"b": Judgment(0)}},
        ["a"],
    )
    assert shown.shots["b"] == Shot("b", "v.mp4", 1.5, 3.0)
    assert notes.messages == [
        "t.txt: 1 topic renamed: 661 read as 1661",
        "t.txt: no query for 1 of 2 topics",
        "1 of 2 shots have no thumbnail in g.h5; they are shown blank",
    ]


def test_values_show_what_their_files_show(gallery: str) -> None:
    qrels = {"1661": {"a": Judgment(1)}, "1662": {"b": Judgment(0)}}
    files = page(["x.run"], [gallery], topics="t.txt", qrels="x.qrels", report=Notes())
    values = page({"x": RUN}, [gallery], topics={"661": "a hang glider"}, qrels=qrels, report=Notes())
    assert values._replace(sources=files.sources) == files
    assert files.sources == {"runs": "x.run", "gallery": "g.h5", "topics": "t.txt", "judgments": "x.qrels"}
    assert "a hang glider" in render(values)


def test_ids_and_ranges_choose_topics_and_are_no_source(gallery: str) -> None:
    shown = page({"x": RUN}, [gallery], topics="662", report=Notes())
    assert ([*shown.topics], shown.queries, shown.sources["topics"]) == (["1662"], {}, "")
    with pytest.raises(MismatchError, match="no run has any"):
        page({"x": RUN}, [gallery], topics="700", report=Notes())


def test_confidences_stand_below_shots_and_a_topic_without_any_is_doubted(gallery: str) -> None:
    sure = {"661": {"a": 0.314}}
    html = render(page({"x": RUN}, [gallery], confidence=sure, report=Notes()))
    assert "confidence 31%" in html and "no confidence exceeds 31%" in html
    assert "Probably nothing relevant" not in render(page({"x": RUN}, [gallery], report=Notes()))
    with pytest.raises(MismatchError, match="a confidence is from 0 to 1"):
        page({"x": RUN}, [gallery], confidence={"661": {"a": 3.0}}, report=Notes())
