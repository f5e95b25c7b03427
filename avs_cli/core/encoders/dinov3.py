"""DINOv3 (Siméoni et al. 2025, arXiv:2508.10104): self-supervised image encoder. Its licence must be accepted."""

from typing import Literal

from avs_cli.core.encoders import Runtime
from avs_cli.core.encoders._timm import Timm, named


def load(runtime: Runtime, variant: Literal["l", "b", "s"] = "l") -> Timm:
    """ViT-L, -B or -S with patches of 16 pixels."""
    return named(runtime, f"dinov3:{variant}")
