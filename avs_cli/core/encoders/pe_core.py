"""Perception Encoder, core (Bolya et al. 2025, arXiv:2504.13181): trained on images, then on videos."""

from typing import Literal

from avs_cli.core.encoders import Runtime
from avs_cli.core.encoders.catalogue import Model
from avs_cli.core.encoders.open_clip_models import FILES, OpenClip, named
from avs_cli.types import Source

MODELS = {
    "l14-336": Model(
        builds="PE-Core-L-14-336/meta",
        dim=1024,
        text=True,
        parameters=671.1,
        gmacs=192.2,
        licence="Apache-2.0",
        source=Source(2.7, "timm/PE-Core-L-14-336", FILES),
    ),
    "b16": Model(
        builds="PE-Core-B-16/meta",
        dim=1024,
        text=True,
        parameters=447.7,
        gmacs=17.8,
        licence="Apache-2.0",
        source=Source(1.8, "timm/PE-Core-B-16", FILES),
    ),
    "bigg-448": Model(
        builds="PE-Core-bigG-14-448/meta",
        dim=1280,
        text=True,
        parameters=2419.3,
        gmacs=2059.3,
        licence="Apache-2.0",
        source=Source(9.7, "timm/PE-Core-bigG-14-448", FILES),
    ),
}


def load(runtime: Runtime, variant: Literal["l14-336", "b16", "bigg-448"] = "l14-336") -> OpenClip:
    """PE-core of this size and resolution."""
    return named(runtime, MODELS[variant])
