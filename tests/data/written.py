"""Films for tests of words: what is written on them, and what is said."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

SAID = Path(__file__).with_name("said.ogg")
# Speech of espeak-ng (en-us), which is said.ogg.
SENTENCE = "The quarterly results are better than we expected."
SIZE = (320, 180)


def page(*lines: str, size: int = 28, at: tuple[int, int] = (12, 12)) -> np.ndarray:
    """(180, 320, 3) white lines on a dark page, in Pillow's font."""
    picture = Image.new("RGB", SIZE, (40, 44, 60))
    draw = ImageDraw.Draw(picture)
    for number, line in enumerate(lines):
        draw.text((at[0], at[1] + 40 * number), line, fill=(240, 240, 240), font=ImageFont.load_default(size))
    return np.asarray(picture)


def written_film(path: Path, pages: Sequence[np.ndarray], seconds: float = 2.0, rate: int = 5) -> Path:
    """A film that shows each page for some seconds."""
    with av.open(str(path), "w") as container:
        stream = _pictures(container, pages[0], rate)
        for picture in pages:
            for _ in range(round(seconds * rate)):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def spoken_film(
    path: Path,
    seconds: float,
    begins: Sequence[float] = (),
    late: float = 0.0,
    gap: Callable[[float], bool] | None = None,
    sound: Path = SAID,
) -> Path:
    """A grey film in which a sound begins at some times.

    sound  a file; default: the sentence of said.ogg
    late  seconds by which the sound begins after the pictures, as its time stamps say
    gap   at which times, in seconds, packets of sound are lost
    """
    said, rate = speech(sound)
    heard = np.zeros(round((seconds - late) * rate), np.int16)
    for begin in begins:
        first = round((begin - late) * rate)
        part = heard[first : first + len(said)]
        part += said[: len(part)]
    with av.open(str(path), "w") as container:
        stream = _pictures(container, np.full((48, 64, 3), 99, np.uint8), 5)
        voice: Any = container.add_stream("libmp3lame" if path.suffix == ".mp3" else "pcm_s16le", rate=rate)
        voice.layout = "mono"
        for number in range(round(5 * seconds)):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 99 + number % 2, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        step = rate // 10
        for low in range(0, len(heard), step):
            if gap and gap(low / rate):
                continue
            chunk = av.AudioFrame.from_ndarray(heard[None, low : low + step], format="s16", layout="mono")
            chunk.sample_rate, chunk.time_base, chunk.pts = rate, Fraction(1, rate), low + round(late * rate)
            container.mux(voice.encode(chunk))
        container.mux(voice.encode())
    return path


def speech(path: Path = SAID) -> tuple[np.ndarray, int]:
    """The samples of a file, (N,) int16, and their number in a second."""
    with av.open(str(path)) as container:
        rate = container.streams.audio[0].rate
        resampler = av.AudioResampler(format="s16", layout="mono", rate=rate)
        frames = [one for frame in container.decode(audio=0) for one in resampler.resample(frame)]
    return np.concatenate([frame.to_ndarray()[0] for frame in frames]), rate


def _pictures(container: Any, picture: np.ndarray, rate: int) -> Any:
    stream = container.add_stream("libx264", rate=rate, options={"crf": "20", "preset": "ultrafast"})
    stream.height, stream.width = picture.shape[:2]
    stream.pix_fmt = "yuv420p"
    return stream
