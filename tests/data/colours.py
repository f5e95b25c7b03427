"""Galleries in the space of the tests' own encoder `colour`, whose sentences count the letters r, g and b."""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avs_cli.core import encoders as package
from avs_cli.core.search.confidence import Calibration
from avs_cli.io.store.writer import Item, StoreWriter
from avs_cli.types import Shot

ENCODERS = Path(__file__).parent / "encoders"


def use_colours(patch: pytest.MonkeyPatch, calibrated: bool = False) -> None:
    """Make the tests' own encoders known; `colour` with confidences, if it is to be calibrated."""
    patch.setattr(package, "__path__", [*package.__path__, str(ENCODERS)])
    if calibrated:
        module = package.encoders.module("colour")
        patch.setattr(module, "CALIBRATION", Calibration(20.0, 0.05), raising=False)


def colour_gallery(
    path: Path, vectors: Mapping[str, tuple[float, float, float]], shots: Mapping[str, Shot], gain: float = 1.0
) -> Path:
    """A store of the feature `colour` with a thumbnail in the colour of each shot."""
    spec = "colour" if gain == 1 else f"colour:gain={gain:g}"
    feature = "colour" if gain == 1 else f"colour-{gain:g}"
    made = {"model": "mean colour", "gain": gain, "spec": spec}
    with StoreWriter(path, feature, 3, made, "float32") as writer:
        writer.add([Item(shots.get(id), id, np.array(one, np.float32), jpeg(one)) for id, one in vectors.items()])
        writer.finish(list(vectors))
    return path


def jpeg(colour: tuple[float, float, float], size: tuple[int, int] = (64, 36), kind: str = "JPEG") -> bytes:
    data = io.BytesIO()
    Image.new("RGB", size, tuple(int(255 * min(1, max(0, value))) for value in colour)).save(data, kind)
    return data.getvalue()
