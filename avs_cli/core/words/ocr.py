"""Writing on the screen, by PP-OCR: Cui et al., PaddleOCR 3.0, arXiv:2507.05595, as the package rapidocr runs it.

Detection of lines, their direction, and recognition are three small networks, which come with the package. They know
Latin letters with accents, digits, Chinese and Japanese; `--weights` takes a recogniser for another script.
"""

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from avs_cli.core.words import ReadingSetting, ShotWords
from avs_cli.core.words.devices import placed
from avs_cli.core.words.spans import Line, spans
from avs_cli.errors import SpecError, UnavailableError
from avs_cli.machine import give_memory_back
from avs_cli.types import Failure, Shot, Span, Whole

USES = ("fps", "max_frames", "weights", "device", "threads", "workers", "timeout")
REMARK = "writing in Latin, Chinese and Japanese script; pip install 'avs-cli[words]', nothing to download"
PACKAGES = ("onnxruntime", "opencv-python-headless", "rapidocr")
MODELS = {
    "detection": "PP-OCRv6_det_small.onnx",
    "direction": "ch_ppocr_mobile_v2.0_cls_mobile.onnx",
    "recognition": "PP-OCRv6_rec_small.onnx",
}
# Frames per second: captions stay for seconds, and encoders look at as many frames as this.
RATE = 0.5
# The long side of what is read, which is the most that rapidocr looks at, in pixels.
LONGEST = 2000
SIDES = (160, 1920)
# A frame is read unless each cell of it is within so many grey levels of that of the last frame that was read: cells
# of a still picture differ by less than one after H.264 or VP9; a word of 14 pixels in 1280 by 720 changes one by 7
# where it differs by 60 from what is behind it, which is hardly legible.
CELLS, CHANGE = 64, 4.0
# Textures are often read as one letter, seldom as more; confidences of real words are rarely lower.
SURE, SURE_OF_LETTER = 0.6, 0.9


def load(setting: ReadingSetting, side: int = 960) -> "OcrReader":
    """A reader of writing.

    side  frames are enlarged until their short side has so many pixels; small writing needs more, and the time grows
          with its square
    """
    if not SIDES[0] <= side <= SIDES[1]:
        raise SpecError(f"ocr: side={side}: expected {SIDES[0]} to {SIDES[1]} pixels")
    return OcrReader(setting, side)


class OcrReader:
    """Reads what is written on sampled frames."""

    def __init__(self, setting: ReadingSetting, side: int):
        self.setting, self.side = setting, side
        found = importlib.util.find_spec("rapidocr")
        if found is None or not found.origin or importlib.util.find_spec("onnxruntime") is None:
            raise UnavailableError("--model ocr needs packages: pip install 'avs-cli[words]'")
        self.models = {task: Path(found.origin).parent / "models" / name for task, name in MODELS.items()}
        if setting.weights:
            self.models["recognition"] = Path(setting.weights)
        self.rate = setting.fps or RATE
        self.times = partial(middles, rate=self.rate, most=setting.max_frames)

    @cached_property
    def provenance(self) -> Mapping[str, Any]:
        """Models and digests of their weights, frames, and what is left out."""
        return {
            "model": "PP-OCR",
            "weights": {task: self._digest(path) for task, path in self.models.items()},
            "names": {task: path.name for task, path in self.models.items()},
            "side": self.side,
            "fps": self.rate,
            "max_frames": self.setting.max_frames,
            "longest": LONGEST,
            "change": CHANGE,
            "confidence": [SURE, SURE_OF_LETTER],
        }

    def _digest(self, path: Path) -> str:
        try:
            return self.setting.media.digest(path, self.setting.remember)
        except FileNotFoundError:
            if self.setting.weights and path == Path(self.setting.weights):
                raise
            raise UnavailableError(
                f"rapidocr comes without {path.name}; install the version that avs was made for: pip install "
                "'avs-cli[words]'"
            ) from None

    def read(self, videos: Mapping[str, Sequence[Shot]]) -> Iterator[ShotWords | Failure | str]:
        """As that of `WordReader`."""
        shots = {shot.id: shot for own in videos.values() for shot in own}
        setting = self.setting
        frames = setting.media.frames(
            list(shots.values()), self.times, Whole(LONGEST), setting.workers, setting.timeout
        )
        reading = _Frames(self.lines)
        for piece in frames:
            if isinstance(piece, Failure):
                reading = _Frames(self.lines)
                yield piece
                continue
            reading.add(piece.pixels[0])
            if piece.last:
                shot = shots[piece.shot]
                yield ShotWords(shot, spans(zip(parts(shot, len(reading.lines)), reading.lines, strict=True)))
                reading = _Frames(self.lines)

    def lines(self, picture: np.ndarray) -> list[Line]:
        """What is written on a picture, (H, W, 3) uint8, RGB, in no order."""
        found = self._engine(np.ascontiguousarray(picture[:, :, ::-1]))
        # The networks see arrays of another size in each frame, which take 200 MB in gaps; this takes a millisecond.
        give_memory_back()
        if found.txts is None:
            return []
        size = np.array([picture.shape[1], picture.shape[0]], np.float64)
        corners = np.clip(np.asarray(found.boxes, np.float64) / size, 0.0, 1.0)
        boxes = np.concatenate([corners.min(1), corners.max(1)], axis=1).tolist()
        read = zip(found.txts, boxes, found.scores, strict=True)
        lines = [Line(text.strip(), (box[0], box[1], box[2], box[3]), float(sure)) for text, box, sure in read]
        return [line for line in lines if line.confidence >= (SURE if len(line.text) > 1 else SURE_OF_LETTER)]

    @cached_property
    def _engine(self) -> Any:
        import cv2
        import onnxruntime
        from rapidocr import RapidOCR

        gpus = int("CUDAExecutionProvider" in onnxruntime.get_available_providers())
        kind, number = placed(self.setting.device, gpus and 1 << 10, "ocr", "pip install onnxruntime-gpu")
        cv2.setNumThreads(self.setting.threads)
        engine = "EngineConfig.onnxruntime"
        # With a path for each network, rapidocr looks for nothing on the web.
        return RapidOCR(
            params={
                "Global.log_level": "critical",
                "Global.max_side_len": LONGEST,
                "Det.model_path": str(self.models["detection"]),
                "Cls.model_path": str(self.models["direction"]),
                "Rec.model_path": str(self.models["recognition"]),
                "Det.limit_side_len": self.side,
                f"{engine}.intra_op_num_threads": self.setting.threads,
                f"{engine}.inter_op_num_threads": 1,
                f"{engine}.use_cuda": kind == "cuda",
                f"{engine}.cuda_ep_cfg.device_id": number,
            }
        )


class _Frames:
    """The lines of the frames of a shot, of which those that hardly differ from the last one are not read."""

    def __init__(self, read: Callable[[np.ndarray], list[Line]]):
        self.read = read
        self.lines: list[list[Line] | None] = []
        self.last: np.ndarray | None = None

    def add(self, picture: np.ndarray) -> None:
        grey = cells(picture)
        if self.last is not None and not changed(self.last, grey):
            self.lines.append(None)
            return
        self.last = grey
        self.lines.append(self.read(picture))


def cells(picture: np.ndarray) -> np.ndarray:
    """The mean grey level of each cell of a picture (H, W, 3), RGB: (h, w) float32, of about 64 on the long side."""
    step = max(1, round(max(picture.shape[:2]) / CELLS))
    grey = picture @ np.array([0.299, 0.587, 0.114], np.float32)
    tops, lefts = (np.arange(0, length, step) for length in grey.shape)
    sums = np.add.reduceat(np.add.reduceat(grey, tops, axis=0), lefts, axis=1)
    heights, widths = (np.diff([*starts, end]) for starts, end in zip((tops, lefts), grey.shape, strict=True))
    means: np.ndarray = sums / np.outer(heights, widths).astype(np.float32)
    return means


def changed(before: np.ndarray, now: np.ndarray) -> bool:
    """Whether a cell differs by more than `CHANGE` grey levels, or the size does."""
    return before.shape != now.shape or bool(np.abs(before - now).max() > CHANGE)


def middles(start: float, end: float, *, frame_rate: float, rate: float, most: int | None) -> list[float]:
    """The middles of equal parts of a shot, which are no longer than 1 / `rate` seconds unless there are `most`."""
    count = max(1, ceil((end - start) * rate - 1e-6))
    return [(low + high) / 2 for low, high in parts(Shot("", "", start, end), min(count, most or count))]


def parts(shot: Shot, count: int) -> list[Span]:
    """Equal parts of a shot, one for each of its frames."""
    bounds = [shot.start + (shot.end - shot.start) * number / count for number in range(count)] + [shot.end]
    return list(pairwise(bounds))
