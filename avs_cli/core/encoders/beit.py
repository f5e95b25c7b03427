"""BEiT-Large (Bao et al. 2021, arXiv:2106.08254), fine-tuned on ImageNet-22k: mean-pooled patches, 1024 dimensions."""

from typing import Literal

from avs_cli.core.encoders import Runtime
from avs_cli.core.encoders._timm import Timm, named


def load(runtime: Runtime, variant: Literal["224", "512"] = "224") -> Timm:
    """The 22k-class model at 224 pixels, or the model at 512 pixels, further fine-tuned on 1k classes."""
    return named(runtime, f"beit:{variant}")
