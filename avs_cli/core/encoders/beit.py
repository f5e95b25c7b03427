"""BEiT-Large (Bao et al. 2021, arXiv:2106.08254), fine-tuned on ImageNet-22k: mean-pooled patches, 1024 dimensions."""

from typing import Literal

from avs_cli.core.encoders import Runtime
from avs_cli.core.encoders._timm import FILES, Timm, named
from avs_cli.core.encoders.catalogue import Model
from avs_cli.types import Source

MODELS = {
    "224": Model(
        builds="beit_large_patch16_224.in22k_ft_in22k",
        dim=1024,
        parameters=303.4,
        gmacs=61.6,
        licence="Apache-2.0",
        source=Source(1.3, "timm/beit_large_patch16_224.in22k_ft_in22k", FILES),
    ),
    "512": Model(
        builds="beit_large_patch16_512.in22k_ft_in22k_in1k",
        dim=1024,
        parameters=304.6,
        gmacs=362.0,
        licence="Apache-2.0",
        source=Source(1.2, "timm/beit_large_patch16_512.in22k_ft_in22k_in1k", FILES),
    ),
}


def load(runtime: Runtime, variant: Literal["224", "512"] = "224") -> Timm:
    """The 22k-class model at 224 pixels, or the model at 512 pixels, further fine-tuned on 1k classes."""
    return named(runtime, MODELS[variant])
