"""BEiT-Large (Bao et al. 2021, arXiv:2106.08254), fine-tuned on ImageNet-22k: the mean of the patches, 1024 numbers."""

from typing import Literal

from avs_cli.core.features import Runtime
from avs_cli.core.features._timm import Timm, named


def load(runtime: Runtime, variant: Literal["224", "512"] = "224") -> Timm:
    """The model of 224 pixels and 22k classes, or of 512 pixels and then 1k."""
    return named(runtime, f"beit:{variant}")
