"""Small films for tests."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def noise_film(path: Path, draw: np.random.Generator, channel: int, frames: int) -> None:
    """Noise of 32 by 32 pixels, two frames a second, in which one of the three channels (or none) is bright."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=2)
        stream.width = stream.height = 32
        for _ in range(frames):
            picture = draw.integers(0, 80, (32, 32, 3), np.uint8) + np.uint8(150) * (np.arange(3) == channel)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture.astype(np.uint8), format="rgb24")))
        container.mux(stream.encode())


def subtitled_film(
    path: Path, seconds: float, cues: Sequence[tuple[float, float, str]], language: str = "eng", codec: str = "subrip"
) -> Path:
    """Grey frames of 32 by 32 pixels, two a second, with a stream of subtitles: (start, end, text)."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=2)
        stream.width = stream.height = 32
        words = container.add_stream(codec) if cues else None
        if words is not None:
            words.codec_context.subtitle_header = b"[Script Info]\n[V4+ Styles]\n[Events]\n"
            words.metadata["language"] = language
        for _ in range(round(2 * seconds)):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((32, 32, 3), 99, np.uint8), format="rgb24")))
        container.mux(stream.encode())
        for start, end, text in cues:
            raw = text.encode()
            packet = av.Packet(len(raw).to_bytes(2, "big") + raw if codec == "mov_text" else raw)
            packet.stream, packet.time_base = words, Fraction(1, 1000)
            packet.pts = packet.dts = round(1000 * start)
            packet.duration = round(1000 * (end - start))
            container.mux(packet)
    return path


def webm_film(path: Path) -> None:
    """Six seconds at 10 frames a second, with a key frame each second, which browsers play."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libvpx", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 48, "yuv420p", 10
        for n in range(60):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), 4 * n, np.uint8))))
        out.mux(stream.encode())
