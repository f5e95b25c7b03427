"""OpenAI's CLIP (Radford et al. 2021, arXiv:2103.00020): joint image-text space, 512 or 768 dimensions.

The 512-dimensional CLIP features of the AVS literature are from ViT-B/32; ViT-L/14@336 has 768 dimensions.
"""

from typing import Literal

from avs_cli.core.encoders import Runtime
from avs_cli.core.encoders.catalogue import Model
from avs_cli.core.encoders.open_clip_models import FILES, OpenClip, named
from avs_cli.types import Source

MODELS = {
    "vit-b32": Model(
        builds="ViT-B-32-quickgelu/openai",
        dim=512,
        text=True,
        parameters=151.3,
        gmacs=4.4,
        licence="MIT",
        source=Source(0.61, "timm/vit_base_patch32_clip_224.openai", FILES),
    ),
    "vit-l14-336": Model(
        builds="ViT-L-14-336-quickgelu/openai",
        dim=768,
        text=True,
        parameters=427.9,
        gmacs=191.0,
        licence="MIT",
        source=Source(1.7, "timm/vit_large_patch14_clip_336.openai", FILES),
    ),
}


def load(
    runtime: Runtime,
    variant: Literal["vit-b32", "vit-l14-336"] = "vit-b32",
    output: Literal["sentence", "words"] = "sentence",
    words: int = 32,
) -> OpenClip:
    """ViT-B/32 (512) or ViT-L/14@336 (768).

    output  "sentence": one vector per image or sentence; "words": vectors of at most `words` tokens per text, including
            start and end, for the head xclip; the last one is the vector of the sentence
    """
    return named(runtime, MODELS[variant], output, words)
