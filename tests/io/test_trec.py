"""Runs and qrels: what is read, in which order it is written, and which line is to blame."""

import gzip
from pathlib import Path

import pytest

from avs_cli.errors import FormatError
from avs_cli.io.text import trec
from avs_cli.io.text.trec import read_qrels, read_run, write_run
from avs_cli.types import Judgment, ranked


@pytest.fixture
def file(tmp_path: Path):
    def write(content: str | bytes, name: str = "file") -> str:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return write


@pytest.mark.parametrize(
    "text",
    [
        "1661 Q0 shot1_1 1 2.5 tag\n1661 Q0 shot1_2 2 -1e-3 tag\n",
        "1661 0 shot1_1 1 2.5 tag\n1661 0 shot1_2 2 -1e-3 tag",
        "1661\tQ0\tshot1_1\t1\t2.5\ttag\r\n1661\tQ0\tshot1_2\t2\t-1e-3\ttag\r\n",
        "\n  1661   Q0 shot1_1 1 2.5 tag  \n\n1661 Q0 shot1_2 2 -1e-3 tag\n\n",
        "\ufeff1661 Q0 shot1_1 1 2.5 tag\n1661 Q0 shot1_2 2 -1e-3 tag\n",
    ],
    ids=["spaces", "zero, no last line end", "tabs and CRLF", "blank lines", "byte order mark"],
)
def test_a_run_is_read_as_the_fields_tools_write_it(file, text: str) -> None:
    assert read_run(file(text)) == {"1661": {"shot1_1": 2.5, "shot1_2": -0.001}}
    assert read_run(file(gzip.compress(text.encode()), "run.gz")) == {"1661": {"shot1_1": 2.5, "shot1_2": -0.001}}


def test_rows_of_a_topic_need_not_stand_together(file) -> None:
    assert read_run(file("2 Q0 a 1 3 t\n1 Q0 a 1 3 t\n2 Q0 b 2 1 t\n")) == {"2": {"a": 3.0, "b": 1.0}, "1": {"a": 3.0}}


def test_qrels_have_five_columns_or_four(file) -> None:
    assert read_qrels(file("1661 0 a 2 -1\n1661 0 b 1 1\n")) == {
        "1661": {"a": Judgment(-1, "2"), "b": Judgment(1, "1")}
    }
    # TREC-COVID's second column is the round of judging, which is no stratum.
    assert read_qrels(file("1 0.5  a 2\n1 1  b 0\n")) == {"1": {"a": Judgment(2, "1"), "b": Judgment(0, "1")}}


def test_equal_judgments_are_one_object(file) -> None:
    judgments = read_qrels(file("1 0 a 2 0\n2 0 b 2 0\n3 0 c 2\t0\n"))
    assert judgments["1"]["a"] is judgments["2"]["b"] is judgments["3"]["c"]


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("1 Q0 a 1 2 t\n1 Q0 b 2 high t\n", 2, "'high' is not a finite number"),
        ("1 Q0 a 1 nan t\n", 1, "'nan' is not a finite number"),
        ("1 Q0 a 1 1 t\n1 Q0 b 1 -inf t\n", 2, "'-inf' is not a finite number"),
        ("1 Q0 a 1 1_0 t\n", 1, "'1_0' is not a finite number"),
        ("1 Q0 a 1 \u0661 t\n", 1, "is not a finite number"),
        ("1 Q0 a 1 2 t\n\n1 Q0 b 2 1\n", 3, "5 columns instead of 6"),
        ("1 Q0 a 1 2\n1 Q0 b 2 1 t x\n", 1, "5 columns instead of 6"),
        ("1 Q0 a 1 2 t\n1 Q0 b 2 1 t x\n1 Q0 c 3 t\n", 2, "7 columns instead of 6"),
        ("1 Q0 a 1 2 t\n2 Q0 a 1 2 t\n1 Q0 b 2 1 t\n1 Q0 a 3 0 t\n", 4, "duplicate shot 'a' in topic 1"),
        ("1 Q0 a 1 2 t\n1 Q0 a 2 1 t\n", 2, "duplicate shot 'a' in topic 1"),
        ("", None, "contains no lines"),
        ("1 Q0 a 1 2 t\n1 Q0 \0 2 1 t\n", 2, "not a text file"),
    ],
)
def test_a_bad_run_names_its_line(file, text: str, line: int | None, what: str) -> None:
    with pytest.raises(FormatError) as error:
        read_run(file(text))
    assert what in str(error.value)
    assert error.value.line == line


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("1 0 a 1 1\n1 0 b 1 yes\n", 2, "relevance 'yes' is not a whole number"),
        ("1 0 a 1 1\n1 0 b 1 0.5\n", 2, "relevance '0.5' is not a whole number"),
        ("1 0 a 1 1000\n1 0 b 1 1001\n", 2, "relevance '1001' is not between -1000 and 1000"),
        ("1 0 a 1 100000000\n", 1, "relevance '100000000' is not between -1000 and 1000"),
        ("1 0 a 1 -2\n1 0 b 1 -99999999999\n", 2, "relevance '-99999999999' is not between -1000 and 1000"),
        ("1 0 a 1 1\n1 0 b 1\n", 2, "4 columns instead of 5"),
        ("1 0 a 1\n1 0 b 1 1\n", 2, "5 columns instead of 4"),
        ("1 0 a\n", 1, "3 columns instead of 5"),
        ("1 0 a 1\n1 0 a 0\n", 2, "duplicate shot 'a' in topic 1"),
    ],
)
def test_bad_qrels_name_their_line(file, text: str, line: int, what: str) -> None:
    with pytest.raises(FormatError) as error:
        read_qrels(file(text))
    assert what in str(error.value)
    assert error.value.line == line


def test_lines_are_counted_through_pieces_of_a_long_file(file, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trec, "_PIECE", 100)
    good = [f"{n // 50} Q0 s{n} 1 {n} t" for n in range(200)]
    assert sum(map(len, read_run(file("\n".join(good))).values())) == 200
    assert sum(map(len, read_run(file("\n".join(good) + "\n" * 300)).values())) == 200
    for bad in (0, 99, 199):
        lines = [*good[:bad], "\n" + good[bad].replace(f" {bad} t", " x t"), *good[bad + 1 :]]
        with pytest.raises(FormatError) as error:
            read_run(file("\n".join(lines)))
        assert error.value.line == bad + 2


@pytest.mark.parametrize(
    ("text", "regular"),
    [
        ("1 Q0 a 1 2.5 t\n1 Q0 bb 2 -1e-3 t\n2\tQ0\ta\t1\t7\tt\n", True),
        ("1 Q0 a 1 2.5 t\n1 Q0 bb 2 -1e-3 t", True),
        ("1 Q0 a 1 2.5 t\n11 Q0 a 1 1 t\n12 Q0 a 1 1 t\n1 Q0 bb 2 -1e-3 t\n2\tQ0\ta\t1\t1 t\n2 Q0 b 1 1 t\n", True),
        (f"1 Q0 a 1 2.5 t\n1 Q0 bb 2 -1e-3 t\n{'1' * 65} Q0 a 1 1 t\n{'1' * 64}2 Q0 a 1 1 t\n", True),
        ("1 Q0  a 1 2.5 t\n1 Q0 bb 2 -1e-3 t\n", False),
        ("1 Q0 a 1 2.5 t \n1 Q0 bb 2 -1e-3 t\n", False),
        ("1 Q0 a 1 2.5 t\r\n1 Q0 bb 2 -1e-3 t\r\n", False),
        ("1 Q0 a 1 2.5 t\n\n1 Q0 bb 2 -1e-3 t\n", False),
        # White space to Python, not to us; and white space of Unicode.
        ("1 Q0 a 1 2.5\x1ct\n1 Q0 bb 2 -1e-3 t\n", False),
        ("1 Q0 é 1 2.5\u00a0t\n1 Q0 bb 2 -1e-3 t\n", False),
    ],
    ids=[
        "tools",
        "no last line end",
        "topics",
        "long topics",
        "two spaces",
        "space at the end",
        "CRLF",
        "blank line",
        "separator",
        "Unicode",
    ],
)
def test_lines_as_tools_write_them_are_read_column_by_column_and_alike(
    text: str, regular: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = text if text.endswith("\n") else f"{text}\n"
    assert (trec._cut("a.run", whole, range(whole.count("\n")), 6) is not None) == regular
    by_column = trec.parse_run("a.run", text)
    monkeypatch.setattr(trec, "_cut", lambda *_: None)
    assert trec.parse_run("a.run", text) == by_column
    assert list(by_column["1"].values()) == [2.5, -0.001]


def test_a_written_run_reads_back_with_the_same_scores_and_order(file, tmp_path: Path) -> None:
    run = {"7": {"b": 1 / 3, "a": 0.1 + 0.2, "c": 1 / 3, "d": 1e-300}, "5": {"x": -0.0}}
    for name in ("run", "run.gz"):
        path = str(tmp_path / name)
        write_run(path, run, tag="mine")
        assert read_run(path) == run
    lines = (tmp_path / "run").read_text().splitlines()
    # Equal scores: shot ids descend, as NIST's script orders them.
    assert lines[0] == "7 Q0 c 1 0.3333333333333333 mine"
    assert [line.split()[2] for line in lines] == ["c", "b", "a", "d", "x"] == [*ranked(run["7"]), *ranked(run["5"])]


def test_depth_keeps_the_best(tmp_path: Path) -> None:
    write_run(str(tmp_path / "run"), {"1": {f"s{n}": float(n) for n in range(9)}}, depth=2)
    assert read_run(str(tmp_path / "run")) == {"1": {"s8": 8.0, "s7": 7.0}}


@pytest.mark.parametrize(
    ("run", "tag"),
    [
        ({"1": {"a b": 1.0}}, "t"),
        ({"1": {"": 1.0}}, "t"),
        ({"1 2": {"a": 1.0}}, "t"),
        ({"1": {"a": 1.0}}, "my run"),
        ({"1": {"a": float("nan")}}, "t"),
    ],
)
def test_what_could_not_be_read_back_is_not_written(tmp_path: Path, run: dict, tag: str) -> None:
    with pytest.raises(FormatError, match="not written"):
        write_run(str(tmp_path / "run"), run, tag)
    assert list(tmp_path.iterdir()) == []


def test_numpy_scores_are_written_as_plain_numbers(tmp_path: Path) -> None:
    import numpy as np

    write_run(str(tmp_path / "run"), {"1": {"a": np.float32(0.1)}})  # type: ignore[dict-item]
    assert (tmp_path / "run").read_text() == "1 Q0 a 1 0.10000000149011612 avs\n"


def test_broken_gzip_is_an_error_of_the_file(file) -> None:
    packed = gzip.compress(b"1 Q0 a 1 1 t\n" * 50)
    with pytest.raises(FormatError, match="broken gzip"):
        read_run(file(packed[:20]))


def test_text_that_is_not_utf8_names_its_line(file) -> None:
    with pytest.raises(FormatError) as error:
        read_run(file(b"1 Q0 a 1 1 t\n1 Q0 \xff 2 1 t\n"))
    assert error.value.line == 2
