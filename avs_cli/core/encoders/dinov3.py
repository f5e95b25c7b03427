"""DINOv3 (Siméoni et al. 2025, arXiv:2508.10104): self-supervised image encoder. Its licence must be accepted."""

from typing import Literal

from avs_cli.core.encoders import Runtime
from avs_cli.core.encoders._timm import FILES, Timm, named
from avs_cli.core.encoders.catalogue import Model
from avs_cli.types import Source

MODELS = {
    "l": Model(
        builds="vit_large_patch16_dinov3.lvd1689m",
        dim=1024,
        parameters=303.1,
        gmacs=82.4,
        licence="DINOv3 licence, must be accepted",
        source=Source(1.2, "timm/vit_large_patch16_dinov3.lvd1689m", FILES),
    ),
    "b": Model(
        builds="vit_base_patch16_dinov3.lvd1689m",
        dim=768,
        parameters=85.6,
        gmacs=23.6,
        licence="DINOv3 licence, must be accepted",
        source=Source(0.34, "timm/vit_base_patch16_dinov3.lvd1689m", FILES),
    ),
    "s": Model(
        builds="vit_small_patch16_dinov3.lvd1689m",
        dim=384,
        parameters=21.6,
        gmacs=6.2,
        licence="DINOv3 licence, must be accepted",
        source=Source(0.086, "timm/vit_small_patch16_dinov3.lvd1689m", FILES),
    ),
}


def load(runtime: Runtime, variant: Literal["l", "b", "s"] = "l") -> Timm:
    """ViT-L, -B or -S with patches of 16 pixels."""
    return named(runtime, MODELS[variant])
