"""MetaCLIP 2, worldwide (Chuang et al. 2025, arXiv:2507.22062): CLIP for about 300 languages."""

from typing import Literal

from avs_cli.core.encoders import Runtime
from avs_cli.core.encoders.open_clip_models import OpenClip, named


def load(runtime: Runtime, variant: Literal["bigg-378", "h14"] = "bigg-378") -> OpenClip:
    """ViT-bigG/14 at 378 pixels, or ViT-H/14 at 224."""
    return named(runtime, f"metaclip2:{variant}")
