"""LLaVA-OneVision (Li et al. 2024, arXiv:2408.03326), over Qwen2. Apache-2.0."""

from typing import Literal

from avs_cli.core.encoders import Runtime
from avs_cli.core.judges.base import FILES, VisionLanguageJudge
from avs_cli.types import Seeing, Source

MODELS = {
    "0.5b": Source(1.8, "llava-hf/llava-onevision-qwen2-0.5b-ov-hf", FILES),
    "7b": Source(16.1, "llava-hf/llava-onevision-qwen2-7b-ov-hf", FILES),
}


class LlavaOneVision(VisionLanguageJudge):
    """LLaVA-OneVision."""

    kind = "llava_onevision"


def load(runtime: Runtime, seeing: Seeing, variant: Literal["0.5b", "7b"] = "0.5b") -> LlavaOneVision:
    """LLaVA-OneVision of this size."""
    return LlavaOneVision(runtime, MODELS[variant], seeing)
