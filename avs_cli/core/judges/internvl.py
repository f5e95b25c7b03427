"""InternVL3 (Zhu et al. 2025, arXiv:2504.10479), in the form of transformers."""

from typing import ClassVar, Literal

from avs_cli.core.encoders import Runtime
from avs_cli.core.judges.base import FILES, VisionLanguageJudge
from avs_cli.types import Seeing, Source

MODELS = {
    "1b": Source(1.9, "OpenGVLab/InternVL3-1B-hf", FILES),
    "2b": Source(4.2, "OpenGVLab/InternVL3-2B-hf", FILES),
    "8b": Source(15.9, "OpenGVLab/InternVL3-8B-hf", FILES),
}


class InternVL(VisionLanguageJudge):
    """InternVL3, which cuts a picture into tiles, but not the frames of a video."""

    kind = "internvl"
    separate: ClassVar = {"crop_to_patches": False}


def load(runtime: Runtime, seeing: Seeing, variant: Literal["1b", "2b", "8b"] = "2b") -> InternVL:
    """InternVL3 of this size."""
    return InternVL(runtime, MODELS[variant], seeing)
