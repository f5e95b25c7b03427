"""SigLIP 2 (Tschannen et al. 2025, arXiv:2502.14786): joint image-text space; the best general choice."""

from typing import Literal

from avs_cli.core.encoders import Runtime
from avs_cli.core.encoders.open_clip_models import OpenClip, named


def load(
    runtime: Runtime, variant: Literal["so400m-384", "so400m-512", "so400m-14-378", "gopt-384"] = "so400m-384"
) -> OpenClip:
    """SigLIP 2 of this size and resolution."""
    return named(runtime, f"siglip2:{variant}")
