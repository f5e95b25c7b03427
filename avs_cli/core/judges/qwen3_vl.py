"""Qwen3-VL (Bai et al. 2025, arXiv:2511.21631), as it is published for chats. Apache-2.0."""

from typing import Literal

from avs_cli.core.encoders import Runtime
from avs_cli.core.judges.base import FILES, VisionLanguageJudge
from avs_cli.types import Seeing, Source

MODELS = {
    "2b": Source(4.3, "Qwen/Qwen3-VL-2B-Instruct", FILES),
    "4b": Source(8.9, "Qwen/Qwen3-VL-4B-Instruct", FILES),
    "8b": Source(17.5, "Qwen/Qwen3-VL-8B-Instruct", FILES),
}


class Qwen3VL(VisionLanguageJudge):
    """Qwen3-VL."""

    kind = "qwen3_vl"


def load(runtime: Runtime, seeing: Seeing, variant: Literal["2b", "4b", "8b"] = "2b") -> Qwen3VL:
    """Qwen3-VL of this size."""
    return Qwen3VL(runtime, MODELS[variant], seeing)
