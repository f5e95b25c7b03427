"""SmolVLM2 (Marafioti et al. 2025, arXiv:2504.05299): small, and for videos too. Apache-2.0."""

import importlib.util
from typing import ClassVar, Literal

from avs_cli.core.encoders import Runtime
from avs_cli.core.judges.base import FILES, VisionLanguageJudge
from avs_cli.errors import UnavailableError
from avs_cli.types import Seeing, Source

MODELS = {
    "256m": Source(1.0, "HuggingFaceTB/SmolVLM2-256M-Video-Instruct", FILES),
    "500m": Source(2.0, "HuggingFaceTB/SmolVLM2-500M-Video-Instruct", FILES),
    "2b": Source(9.0, "HuggingFaceTB/SmolVLM2-2.2B-Instruct", FILES),
}


class SmolVlm(VisionLanguageJudge):
    """SmolVLM2, which enlarges a picture and cuts it into tiles, but not the frames of a video."""

    kind = "smolvlm"
    separate: ClassVar = {"do_image_splitting": False}


def load(runtime: Runtime, seeing: Seeing, variant: Literal["256m", "500m", "2b"] = "2b") -> SmolVlm:
    """SmolVLM2 of this size."""
    if importlib.util.find_spec("num2words") is None:
        raise UnavailableError("judge smolvlm needs a package: pip install 'avs-cli[judge]'")
    return SmolVlm(runtime, MODELS[variant], seeing)
