"""MetaCLIP 2, worldwide (Chuang et al. 2025, arXiv:2507.22062): CLIP for about 300 languages."""

from typing import Literal

from avs_cli.core.encoders import Runtime
from avs_cli.core.encoders.catalogue import Model
from avs_cli.core.encoders.open_clip_models import FILES, TOKENIZER, OpenClip, named
from avs_cli.types import Source

MODELS = {
    "bigg-378": Model(
        builds="ViT-bigG-14-worldwide-378/metaclip2_worldwide",
        dim=1280,
        text=True,
        parameters=3631.2,
        gmacs=1429.2,
        licence="CC-BY-NC-4.0",
        source=Source(14.5, "timm/vit_gigantic_patch14_clip_378.metaclip2_worldwide", FILES + TOKENIZER),
    ),
    "h14": Model(
        builds="ViT-H-14-worldwide-quickgelu/metaclip2_worldwide",
        dim=1024,
        text=True,
        parameters=1858.8,
        gmacs=167.3,
        licence="CC-BY-NC-4.0",
        source=Source(7.4, "timm/vit_huge_patch14_clip_224.metaclip2_worldwide", FILES + TOKENIZER),
    ),
}


def load(runtime: Runtime, variant: Literal["bigg-378", "h14"] = "bigg-378") -> OpenClip:
    """ViT-bigG/14 at 378 pixels, or ViT-H/14 at 224."""
    return named(runtime, MODELS[variant])
