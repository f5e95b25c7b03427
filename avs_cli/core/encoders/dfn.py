"""DFN: CLIP ViT-H trained on data selected by a data filtering network (Fang et al. 2023, arXiv:2309.17425)."""

from typing import Literal

from avs_cli.core.encoders import Runtime
from avs_cli.core.encoders.catalogue import Model
from avs_cli.core.encoders.open_clip_models import FILES, OpenClip, named
from avs_cli.types import Source

MODELS = {
    "h14-378": Model(
        builds="ViT-H-14-378-quickgelu/dfn5b",
        dim=1024,
        text=True,
        parameters=986.7,
        gmacs=503.5,
        licence="apple-ascl",
        source=Source(3.9, "apple/DFN5B-CLIP-ViT-H-14-378", FILES),
    ),
    "h14-224": Model(
        builds="ViT-H-14-quickgelu/dfn5b",
        dim=1024,
        text=True,
        parameters=986.1,
        gmacs=167.3,
        licence="apple-ascl",
        source=Source(3.9, "apple/DFN5B-CLIP-ViT-H-14", FILES),
    ),
}


def load(runtime: Runtime, variant: Literal["h14-378", "h14-224"] = "h14-378") -> OpenClip:
    """ViT-H/14 at 378 or 224 pixels."""
    return named(runtime, MODELS[variant])
