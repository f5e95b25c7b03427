"""SigLIP 2 (Tschannen et al. 2025, arXiv:2502.14786): joint image-text space; the best general choice."""

from typing import Literal

from avs_cli.core.encoders import Runtime
from avs_cli.core.encoders.catalogue import Model
from avs_cli.core.encoders.open_clip_models import FILES, TOKENIZER, OpenClip, named
from avs_cli.types import Source

MODELS = {
    "so400m-384": Model(
        builds="ViT-SO400M-16-SigLIP2-384/webli",
        dim=1152,
        text=True,
        parameters=1136.0,
        gmacs=259.5,
        licence="Apache-2.0",
        source=Source(4.5, "timm/ViT-SO400M-16-SigLIP2-384", FILES + TOKENIZER),
    ),
    "so400m-512": Model(
        builds="ViT-SO400M-16-SigLIP2-512/webli",
        dim=1152,
        text=True,
        parameters=1136.6,
        gmacs=489.8,
        licence="Apache-2.0",
        source=Source(4.5, "timm/ViT-SO400M-16-SigLIP2-512", FILES + TOKENIZER),
    ),
    "so400m-14-378": Model(
        builds="ViT-SO400M-14-SigLIP2-378/webli",
        dim=1152,
        text=True,
        parameters=1136.0,
        gmacs=335.2,
        licence="Apache-2.0",
        source=Source(4.5, "timm/ViT-SO400M-14-SigLIP2-378", FILES + TOKENIZER),
    ),
    "gopt-384": Model(
        builds="ViT-gopt-16-SigLIP2-384/webli",
        dim=1536,
        text=True,
        parameters=1871.9,
        gmacs=696.5,
        licence="Apache-2.0",
        source=Source(7.5, "timm/ViT-gopt-16-SigLIP2-384", FILES + TOKENIZER),
    ),
}


def load(
    runtime: Runtime, variant: Literal["so400m-384", "so400m-512", "so400m-14-378", "gopt-384"] = "so400m-384"
) -> OpenClip:
    """SigLIP 2 of this size and resolution."""
    return named(runtime, MODELS[variant])
