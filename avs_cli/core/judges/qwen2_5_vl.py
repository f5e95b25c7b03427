"""Qwen2.5-VL (Bai et al. 2025, arXiv:2502.13923). The weights of 7B are Apache-2.0, those of 3B for research only."""

from typing import Literal

from avs_cli.core.encoders import Runtime
from avs_cli.core.judges.base import FILES, VisionLanguageJudge
from avs_cli.types import Seeing, Source

MODELS = {
    "3b": Source(7.5, "Qwen/Qwen2.5-VL-3B-Instruct", FILES),
    "7b": Source(16.6, "Qwen/Qwen2.5-VL-7B-Instruct", FILES),
}


class Qwen25VL(VisionLanguageJudge):
    """Qwen2.5-VL."""

    kind = "qwen2_5_vl"


def load(runtime: Runtime, seeing: Seeing, variant: Literal["3b", "7b"] = "3b") -> Qwen25VL:
    """Qwen2.5-VL of this size."""
    return Qwen25VL(runtime, MODELS[variant], seeing)
