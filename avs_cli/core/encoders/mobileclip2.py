"""MobileCLIP2 (Faghri et al. 2025, arXiv:2508.20691): small image towers with most of the accuracy of a large one."""

from typing import Literal

from avs_cli.core.encoders import Runtime
from avs_cli.core.encoders.open_clip_models import OpenClip, named


def load(runtime: Runtime, variant: Literal["s4", "l14"] = "s4") -> OpenClip:
    """MobileCLIP2-S4 or -L/14."""
    return named(runtime, f"mobileclip2:{variant}")
