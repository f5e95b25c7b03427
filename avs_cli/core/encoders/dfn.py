"""DFN: CLIP ViT-H trained on data selected by a data filtering network (Fang et al. 2023, arXiv:2309.17425)."""

from typing import Literal

from avs_cli.core.encoders import Runtime
from avs_cli.core.encoders.open_clip_models import OpenClip, named


def load(runtime: Runtime, variant: Literal["h14-378", "h14-224"] = "h14-378") -> OpenClip:
    """ViT-H/14 at 378 or 224 pixels."""
    return named(runtime, f"dfn:{variant}")
