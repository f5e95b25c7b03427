"""OpenAI's CLIP (Radford et al. 2021, arXiv:2103.00020): joint image-text space, 512 or 768 dimensions.

The 512-dimensional CLIP features of the AVS literature are from ViT-B/32; ViT-L/14@336 has 768 dimensions.
"""

from typing import Literal

from avs_cli.core.encoders import Runtime
from avs_cli.core.encoders.open_clip_models import OpenClip, named


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
    return named(runtime, f"clip:{variant}", output, words)
