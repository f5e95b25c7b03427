"""avs-formats(7) says what the readers do: its examples are read by them, with the values that the page states."""

import itertools
import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from avs_cli import cli, config, docgen
from avs_cli.core.models.described import rebuild
from avs_cli.core.search import bm25, queries
from avs_cli.core.submission import as_run
from avs_cli.errors import FormatError, MismatchError
from avs_cli.io import arrays, bigfile, head_file
from avs_cli.io.fuser import read_fuser
from avs_cli.io.store import checked, reader, schema, writer
from avs_cli.io.store.composing import Origin, compose
from avs_cli.io.store.files import FileTable, IndexedFile
from avs_cli.io.store.texts import TextItem
from avs_cli.io.tensors import save
from avs_cli.io.text import captions, leaderboard, lists, negated, scores, shots, topics, trec, trecvid_xml, words
from avs_cli.io.video.frames import IMAGE_SUFFIXES
from avs_cli.io.video.subtitles import read_side
from avs_cli.provenance import describe
from avs_cli.types import Judgment, Piece, Pixels, Sampling, Shot, Submission, TopicResult, ranked

PAGE = docgen.pages()["man/avs-formats.7"]


def plain(roff: str) -> str:
    """The text of a piece of the page, without fonts and escapes."""
    return re.sub(r"\\f[BIR]|\\&", "", roff).replace("\\-", "-").replace("\\e", "\\")


# Section -> its text in one line, and the examples in it.
SECTIONS = {
    name: " ".join(plain(re.sub(r"^\.(PP|TP|EX|EE)$", "", body, flags=re.MULTILINE)).split())
    for name, body in re.findall(r"^\.SH (.*)\n((?:(?!\.SH).*\n)*)", PAGE, re.MULTILINE)
}
EXAMPLES = {
    name: [plain(block) for block in re.findall(r"^\.EX\n(.*?)^\.EE$", body, re.MULTILINE | re.DOTALL)]
    for name, body in re.findall(r"^\.SH (.*)\n((?:(?!\.SH).*\n)*)", PAGE, re.MULTILINE)
}


# Readers: from the file with an example in it, and its name


def ledger(path: Path) -> dict[str, tuple[str, str]]:
    path.rename(path.with_name("x.h5.errors.jsonl"))
    with writer.StoreWriter(path.with_name("x.h5"), "clip", 2, {}) as held:
        return {id: (failure.stage, failure.message) for id, failure in held.failed.items()}


def order(path: Path) -> list[str]:
    return ranked(trec.read_run(str(path))["1661"])


def texts(path: Path) -> dict[str, tuple[Any, ...]]:
    """Id -> query, narrative and variants."""
    return {each.id: (each.query, each.narrative, each.variants) for each in topics.read_topics(str(path))}


def items(path: Path) -> list[str]:
    assert captions.are_captions(path.read_text())
    return [*captions.read_captions(str(path))]


def spans(path: Path) -> dict[str, tuple[str, float, float]]:
    assert shots.is_shot_table(path)
    return {each.id: each[1:] for each in shots.read_shots(path.rename(path.with_name("00042.tsv")))}


def head(path: Path) -> tuple[str, list[str], list[str]]:
    """The kind of the head that is rebuilt, and the features that it reads."""
    save(path.with_name("x.safetensors"), {}, {"avs": path.read_text()})
    described = head_file.load_head(path.with_name("x.safetensors")).head
    built = rebuild(described)
    return described["kind"], [video.name for video in built.videos], built.text_names


def big(path: Path, examples: list[str]) -> dict[str, list[list[float]]]:
    """The folder of the three examples: item -> its rows."""
    for name, text in zip(("shape.txt", "id.txt", "video2frames.txt"), examples, strict=True):
        path.with_name(name).write_text(text)
    np.arange(6, dtype="<f4").tofile(path.with_name("feature.bin"))
    (block,) = bigfile.read_bigfile(path.parent, frames=False).blocks(10)
    return {id: rows.tolist() for id, rows in arrays.rows_of(block)}


def npy(path: Path) -> dict[str, int]:
    path.rename(path.with_name("x.ids.txt"))
    np.save(path.with_name("x.npy"), np.ones((3, 2), np.float32))
    (block,) = arrays.read_npy(path.with_name("x.npy"), frames=False).blocks(10)
    return {id: len(rows) for id, rows in arrays.rows_of(block)}


def vectors(path: Path) -> dict[str, list[float]]:
    found = bigfile.read_word_vectors(str(path))
    return {word: found.vectors[row].tolist() for word, row in found.rows.items()}


def lines(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    assert words.are_word_lines(path)
    return {item.id: list(item.pieces) for item in words.read_word_lines(str(path))}


def settings(path: Path) -> dict[str, dict[str, Any]]:
    path.rename(path.with_name("avs.toml"))
    root = cli.build(cli.COMMANDS)
    return config.defaults({name: cli.parameters(command) for name, command in root.commands.items()}, path.parent)


def grammar(path: Path) -> list[str]:
    """The names that the grammar defines; it is that of the parser's module, whose comments explain more."""
    rules = [line.split("=", 1) for line in path.read_text().splitlines()]
    assert " ".join(rules[0][1].split()) in " ".join((queries.__doc__ or "").split())
    return [name.strip() for name, _ in rules]


def parsed(path: Path) -> list[list[tuple[Any, ...]]]:
    """The parts of each line with their weights and, in sequences, times."""
    found = []
    for line in path.read_text().splitlines():
        steps = queries.parse(line)
        found.append([
            ("like:" * part.example + part.text, part.weight, *([step.within] if len(steps) > 1 else []))
            for step in steps for part in step.parts
        ])  # fmt: skip
    return found


GLIDER, BIKES = "a hang glider floating in the sky", "two persons riding mountain bikes"
# Section, number of the example in it, reader, what the reader gives, and where the page states it.
READ: list[tuple[str, int, Callable[[Path], Any], Any, str]] = [
    (
        "ERROR LEDGERS", 0, ledger, {"00007": ("decode", "videos/00007.mp4: not a video")},
        "lacks the item 00007, because the stage decode failed",
    ),
    (
        "FEATURES OF TEXTS", 1, lines, {"a_1": [("NOT TODAY", 1.0, 2.5, (0.1, 0.25, 0.5, 0.375), 0.97)], "a_2": []},
        "Shot a_1 has the text NOT TODAY, and a_2 none.",
    ),
    (
        "FEATURES OF TEXTS", 2, lambda path: read_side(path.with_suffix(".srt"), path.read_bytes())[0],
        [("NOT TODAY", 1.0, 2.5, None, None)], "Its text is NOT TODAY, from 1 to 2.5 seconds.",
    ),
    ("RUNS", 0, order, ["shot00002_3", "shot00001_2", "shot00001_1"], "order shot00002_3, shot00001_2, shot00001_1"),
    (
        "QRELS", 0, lambda path: trec.read_qrels(str(path))["1661"]["shot00001_2"], Judgment(-1, "2"),
        "shot00001_2 is in stratum 2 and not judged",
    ),
    (
        "QRELS", 1, lambda path: trec.read_qrels(str(path))["301"],
        {"FBIS3-10082": Judgment(1, "1"), "FBIS3-10169": Judgment(0, "1")}, "one stratum, called 1,",
    ),
    ("TOPICS", 0, texts, {"661": (GLIDER, "", ()), "662": (BIKES, "", ())}, f"Topic 662 is: {BIKES}."),
    (
        "TOPICS", 1, texts, {"661": ("a hang glider", "Any kind of glider without an engine is relevant.", ())},
        "The narrative of topic 661 is: Any kind of glider without an engine is relevant.",
    ),
    (
        "TOPICS", 2, texts,
        {"661": ("a hang glider", "", (
            (1.0, "a hang glider"), (0.5, "paraglider in the sky"), (0.25, "examples/glider.jpg"),
        ))},
        "its 3 wordings, and its text is the wording of the largest weight: a hang glider.",
    ),
    ("TOPICS", 3, texts, {"661": (GLIDER, "Any kind of glider.", ())}, "optionally narrative"),
    (
        "TOPICS", 4, texts, {"661": ("a hang glider", "Any kind of glider.", ()), "662": (BIKES, "", ())},
        "the text is text, query or title",
    ),
    (
        "TOPICS", 5, texts, {"661": ("a hang glider", "", ((1.0, "a hang glider"), (0.5, "paraglider in the sky")))},
        "narrative and weight are optional",
    ),
    (
        "TOPICS", 6, texts, {"661": ("a hang glider, seen from below", "Any kind of glider.", ())},
        "CSV, or TSV, with a header line",
    ),
    ("QUERIES", 0, grammar, ["query", "step", "part"], "query with structure"),
    (
        "QUERIES", 1, parsed, [
            [("a street at night", 1), ("cars", -0.3), ("people", -0.5)],
            [("a beach", 1), ("the sea at sunset", 0.5), ("like:beach_12", 1)],
            [("a dog runs", 1, 30), ("it jumps into water", 1, 20), ("it shakes", 1, 5)],
        ],
        "subtracts 0.3 times the score of cars and 0.5 times that of people, the last one is a sequence of 3 shots",
    ),
    (
        "CAPTIONS", 0, items, ["video1#enc#0", "video1#enc#1", "video2#enc#0"],
        "There are 3 captions of the 2 items video1 and video2.",
    ),
    ("CAPTIONS", 1, items, ["video7#enc#0"], "named ITEM#enc#N in the order of the file"),
    ("CAPTIONS", 2, items, ["a1#enc#0", "a1#enc#1"], "VATEX"),
    ("CAPTIONS", 3, items, ["BV1#enc#0", "BV2#enc#0", "BV2#enc#1"], "ChinaOpen, an object per video"),
    ("CAPTIONS", 4, items, ["tumblr_x1#enc#0"], "named after their files, without the suffix: tumblr_x1"),
    ("CAPTIONS", 5, items, ["1000268201_693b08cb0e#enc#0"], "and 1000268201_693b08cb0e."),
    ("CAPTIONS", 6, items, ["21179416#enc#0"], "as for WebVid (videoid, name)"),
    (
        "CAPTIONS", 7, lambda path: negated.read_negated(str(path)),
        {"video1#enc#0": [("video1#enc#0Fn0", "a dog does not run")]},
        "The caption video1#enc#0 has one negated caption, a dog does not run.",
    ),
    (
        "SHOT TABLES", 0, spans, {"bikes_1": ("bikes.mp4", 0, 2.5), "bikes_2": ("bikes.mp4", 2.5, 10)},
        "Shot bikes_2 lasts 7.5 seconds.",
    ),
    (
        "SHOT TABLES", 1, spans, {"shot00042_1": ("00042", 0, 2.04), "shot00042_2": ("00042", 2.04, 4.84)},
        "Row N of 00042.tsv is shot00042_N of the video 00042: shot00042_2 starts at 2.04 seconds.",
    ),
    ("HEADS", 0, head, ("w2vvpp", ["clip"], ["sent", "bow"]), "as in avs train --head; here w2vvpp"),
    ("FUSERS", 0, lambda path: read_fuser(str(path)).weights, (0.75, 0.25), "The run clip has the weight 0.75 here."),
    ("INTERCHANGE", 3, npy, {"shot1": 2, "shot2": 1}, "shot1 has 2."),
    (
        "INTERCHANGE", 5, lambda path: scores.read_scores(str(path)),
        {"1661": {"shot00002_3": 0.75, "shot00001_1": 0.5}}, "a topic, then shots and scores in turn",
    ),
    (
        "SHORT LISTS", 0, lambda path: scores.read_verdicts(str(path)),
        {"": {"shot00002_3": 0.9, "shot00001_1": 0.1}}, "which then hold for every topic",
    ),
    (
        "SHORT LISTS", 1, lambda path: scores.read_verdicts(str(path)), {"661": {"shot00002_3": 2.25}},
        "files are joined by cat",
    ),
    ("SHORT LISTS", 2, lambda path: lists.read_times(str(path)), {"661": 0.25}, "its seconds per line"),
    ("SHORT LISTS", 3, lambda path: lists.read_ids(str(path)), {"shot00001_1", "shot00001_2"}, "one shot id per line"),
    (
        "SHORT LISTS", 4, lambda path: leaderboard.read_leaderboard(str(path)), {"clip": 0.21, "blip2": 0.25},
        "lines of run and score",
    ),
    (
        "SHORT LISTS", 5, vectors, {"dog": pytest.approx([0.1, 0.2, 0.3]), "cat": pytest.approx([0.1, 0.2, 0.4])},
        "with two counts, is skipped",
    ),
    (
        "CONFIGURATION", 0, lambda path: settings(path)["search"], {"device": "cpu"},
        "The device of every command is cpu here",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("section", "number", "read", "value", "stated"), READ)
def test_an_example_is_read_with_the_values_that_the_page_states(
    section: str, number: int, read: Callable[[Path], Any], value: Any, stated: str, tmp_path: Path
) -> None:
    path = tmp_path / "example"
    path.write_text(EXAMPLES[section][number].replace("<TAB>", "\t"))
    assert read(path) == value
    assert stated in SECTIONS[section]


def test_every_example_is_read_by_a_test() -> None:
    elsewhere = {("FEATURE STORES", 0), ("FEATURES OF TEXTS", 0), ("CONFIGURATION", 1)}
    elsewhere |= {("INTERCHANGE", number) for number in (0, 1, 2, 4)}
    shown = {(name, number) for name, blocks in EXAMPLES.items() for number in range(len(blocks))}
    assert shown == {(section, number) for section, number, *_ in READ} | elsewhere


def test_the_parts_of_a_bigfile_are_one_folder(tmp_path: Path) -> None:
    found = big(tmp_path / "example", EXAMPLES["INTERCHANGE"][:3])
    assert found == {"video7": [[0, 1], [2, 3]], "video9": [[4, 5]]}
    assert "Item video7 has 2 rows." in SECTIONS["INTERCHANGE"]


def test_a_folder_of_clip_retrieval_has_the_files_on_the_page(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="needs pip install 'avs-cli[parquet]'")
    store(tmp_path / "a.h5", frame_level=False)
    with reader.Store(tmp_path / "a.h5") as held:
        arrays.write_clip_retrieval(tmp_path / "folder", (2, 3), held.dtype, held.blocks())
    files = sorted(str(path.relative_to(tmp_path / "folder")) for path in tmp_path.glob("folder/*/*"))
    assert files == EXAMPLES["INTERCHANGE"][4].split()


def test_the_tables_of_avs_toml_are_for_one_command(tmp_path: Path) -> None:
    assert tomllib.loads("".join(EXAMPLES["CONFIGURATION"]))["extract"] == {
        "inputs": ["videos"],
        "output": "videos.h5",
    }
    path = tmp_path / "example"
    path.write_text("".join(EXAMPLES["CONFIGURATION"]))
    assert settings(path)["extract"] == {"device": "cpu", "inputs": ["videos"], "output": "videos.h5"}
    (tmp_path / "avs.toml").write_text("[convert]\ntrust-pickle = true\n")
    with pytest.raises(FormatError, match="command line only"):
        settings(tmp_path / "avs.toml")


# Stores


def store(path: Path, frame_level: bool) -> None:
    """A store with every dataset that there is, of two shots."""
    provenance = describe(
        {"model": "CLIP", "weights": "0", "precision": "fp32", "mean": [0.5], "std": [0.5], "frame_norm": "none"},
        spec="clip",
        pooling="none",
        dtype="float16",
        packages={"numpy": "2"},
        pixels=Pixels(224, 224),
        sampling=Sampling(),
    )
    rows = [np.ones((2, 3)), np.ones((1, 3))] if frame_level else [np.ones(3), np.ones(3)]
    with writer.StoreWriter(path, "clip", 3, provenance, frame_level=frame_level) as out:
        out.add([writer.Item(Shot(id, "v", 0, 1), id, row, b"jpeg") for id, row in zip("ab", rows, strict=True)])
        out.finish(["a", "b"])
    table = FileTable("content", ("clip",), [IndexedFile("v", "v", 1, 1, "0", ((0.0, 1.0), (1.0, 2.0)))])
    shots = [Shot("a", "v", 0, 1), Shot("b", "v", 0, 1)]
    compose(path, ["clip"], shots, [Origin(path, ["a", "b"])], table)


def test_a_store_has_the_datasets_on_the_page_and_no_others(tmp_path: Path) -> None:
    store(tmp_path / "a.h5", frame_level=True)
    lines = [re.split(r"\s{2,}", line.strip()) for line in EXAMPLES["FEATURE STORES"][0].splitlines()]
    sizes = {"N": 2, "M": 3, "D": 3, "S": 2, "V": 1, "T": 2, "B": 8, "F": 1, "P": 2}
    with h5py.File(tmp_path / "a.h5") as file:
        assert {f"{group}/{name}" for group in file for name in file[group]} == {name for name, *_ in lines}
        for name, shape, kinds, _ in lines:
            assert file[name].shape == eval(shape, {}, sizes)
            text = h5py.check_string_dtype(file[name].dtype)
            assert (text.encoding if text else file[name].dtype.name) in kinds.split()
        assert dict(file.attrs) == {"format": "avs-features", "format_version": 1}
        assert {*file["clip"].attrs} == {"provenance"} and {*file["files"].attrs} == {"shots", "models"}
        given = json.loads(file["clip"].attrs["provenance"])
    named = re.findall(r"^\.TP\n\\fB(.*)\\fR$", PAGE.partition(".SH ERROR")[0], re.MULTILINE)
    keys = {key for names in named for key in plain(names).split(", ")}
    assert keys == given.keys() | {"field"}
    for group in ("pixels", "sampling"):
        listed = re.search(rf"{group} An object with (.*?)[,;] (?:of|for) ", SECTIONS["FEATURE STORES"])
        assert listed and {*given[group]} <= {*re.findall(r"\w+", listed[1])}


def test_the_limits_of_a_store_are_those_on_the_page() -> None:
    text = SECTIONS["FEATURE STORES"]
    limits = f"An id has at most {checked.ID_BYTES} bytes, a path {checked.PATH_BYTES}, a vector {checked.LARGEST_DIM}"
    assert limits in text
    assert f"reads up to {schema.PROVENANCE_BYTES}" in text
    assert all(name in text for name in checked.RESERVED)


def test_a_provenance_is_written_up_to_the_limit_on_the_page(tmp_path: Path) -> None:
    (limit,) = map(int, re.findall(r"avs writes up to (\d+) bytes", SECTIONS["FEATURE STORES"]))
    for extra, fits in ((0, True), (1, False)):
        provenance = {"model": "x" * (limit - len('{"model": ""}') + extra)}
        with writer.StoreWriter(tmp_path / f"{extra}.h5", "clip", 1, provenance) as out:
            if fits:
                out.add([writer.Item(None, "a", np.ones(1))])
                out.finish(["a"])
            else:
                with pytest.raises(MismatchError, match="more than HDF5 keeps"):
                    out.add([writer.Item(None, "a", np.ones(1))])


# Lists in the text


def test_lists_of_names_are_those_of_the_readers(tmp_path: Path) -> None:
    from avs_cli.io.text import records

    assert f"ends in {', '.join(sorted(IMAGE_SUFFIXES)[:-1])} or .webp" in SECTIONS["TOPICS"]
    for names in (records.TOPIC_IDS, records.TOPIC_TEXTS):
        assert f"{', '.join(names[:-1])} or {names[-1]}" in SECTIONS["TOPICS"]
    for names in (records.ITEMS, records.SENTENCES):
        assert f"({', '.join(names[:-1])} or {names[-1]}" in SECTIONS["CAPTIONS"]
    assert f"from -{trec.GREATEST} to {trec.GREATEST}" in SECTIONS["QRELS"]
    ids, texts, narratives = (
        re.split(r", | or ", names)
        for names in re.findall(
            r"child (.*?)\) and a text \((.*?)\), and optionally (.*?)\. Entities", SECTIONS["TOPICS"]
        )[0]
    )
    for number, (id, text, narrative) in enumerate(itertools.product(ids, texts, narratives)):
        path = tmp_path / f"{number}.xml"
        path.write_text(
            f"<topics><topic {id}='1'><{text}>a dog</{text}><{narrative}>any</{narrative}></topic></topics>"
        )
        assert topics.read_topics(str(path)) == [topics.Topic("1", "a dog", "any")]


def test_the_keys_of_a_head_and_of_a_fuser_are_those_of_their_files() -> None:
    def listed(section: str) -> set[str]:
        body = PAGE.partition(f".SH {section}\n")[2].partition(".SH ")[0]
        return {key for names in re.findall(r"^\.TP\n\\fB(.*)\\fR$", body, re.MULTILINE) for key in names.split(", ")}

    assert listed("HEADS") == {key.removesuffix("?") for key in head_file.HEAD}
    assert listed("FUSERS") == json.loads(EXAMPLES["FUSERS"][0]).keys() - {"format", "format_version"}
    assert f'format, "{head_file.FORMAT}", format_version, {head_file.VERSION}' in SECTIONS["HEADS"]


def test_a_submission_becomes_a_run_scored_by_rank() -> None:
    answer = Submission({"pid": "x"}, [TopicResult("661", "1", [("1", "b"), ("2", "a")])])
    read = trecvid_xml.submission_in("x.xml", trecvid_xml.submission_text(answer, 2022))
    assert ranked(as_run(read)["661"]) == ["b", "a"]
    assert "Submissions of TRECVID (XML, see avs-submit(1)) become runs too, scored by rank." in SECTIONS["INTERCHANGE"]


def test_the_page_is_named_on_every_other_page() -> None:
    for path, text in docgen.pages().items():
        if path.endswith(".1"):
            assert "\\fBavs\\-formats\\fR(7)" in text.partition(".SH SEE ALSO")[2]


def test_every_page_is_installed_in_its_chapter() -> None:
    project = tomllib.loads((docgen.ROOT / "pyproject.toml").read_text())
    shared = project["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    pages = [path for path in docgen.pages() if path.startswith("man/")]
    assert {path: shared.get(path) for path in pages} == {
        path: f"share/man/man{path[-1]}/{Path(path).name}" for path in pages
    }
    assert [path for path in shared if path.startswith("man")] == sorted(pages)


def test_the_table_of_texts_is_what_a_store_has(tmp_path: Path) -> None:
    with writer.TextWriter(tmp_path / "a.h5", "ocr", {"model": "ocr"}) as out:
        out.add([TextItem(None, "s1", [Piece("x", 0.0, 1.0)])])
        out.finish(["s1"])
    with h5py.File(tmp_path / "a.h5") as file:
        held = {f"ocr/{name}" for name in file["ocr"]}
        fields = ", ".join(file["ocr/pieces"].dtype.names)
        stated = f'format, "{file["ocr"].attrs["format"]}", format_version, {file["ocr"].attrs["format_version"]}'
    table, page = EXAMPLES["FEATURES OF TEXTS"][0], SECTIONS["FEATURES OF TEXTS"]
    assert {row.split()[0] for row in table.splitlines()} == held and fields in table
    assert stated in page
    assert f"at most {checked.TEXT_BYTES}" in page
    assert f"k1 = {bm25.K1} and b = {bm25.B}" in page
