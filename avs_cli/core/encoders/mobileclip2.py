"""MobileCLIP2 (Faghri et al. 2025, arXiv:2508.20691): small image towers with most of the accuracy of a large one."""

from typing import Literal

from avs_cli.core.encoders import Runtime
from avs_cli.core.encoders.catalogue import Model
from avs_cli.core.encoders.open_clip_models import FILES, OpenClip, named
from avs_cli.types import Source

MODELS = {
    "s4": Model(
        builds="MobileCLIP2-S4/dfndr2b",
        dim=768,
        text=True,
        parameters=445.4,
        gmacs=27.8,
        licence="apple-amlr",
        source=Source(1.8, "timm/MobileCLIP2-S4-OpenCLIP", FILES),
    ),
    "l14": Model(
        builds="MobileCLIP2-L-14/dfndr2b",
        dim=768,
        text=True,
        parameters=427.6,
        gmacs=81.0,
        licence="apple-amlr",
        source=Source(1.7, "timm/MobileCLIP2-L-14-OpenCLIP", FILES),
    ),
}


def load(runtime: Runtime, variant: Literal["s4", "l14"] = "s4") -> OpenClip:
    """MobileCLIP2-S4 or -L/14."""
    return named(runtime, MODELS[variant])
