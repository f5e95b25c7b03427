"""Perception Encoder, core (Bolya et al. 2025, arXiv:2504.13181): trained on images, then on videos."""

from typing import Literal

from avs_cli.core.encoders import Runtime
from avs_cli.core.encoders.open_clip_models import OpenClip, named


def load(runtime: Runtime, variant: Literal["l14-336", "b16", "bigg-448"] = "l14-336") -> OpenClip:
    """PE-core of this size and resolution."""
    return named(runtime, f"pe-core:{variant}")
