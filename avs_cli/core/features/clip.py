"""OpenAI's CLIP (Radford et al. 2021, arXiv:2103.00020): frames and text in one space of 512 or 768 numbers.

The 512 numbers of the AVS literature are those of ViT-B/32; no ViT-L/14@336 gives 512.
"""

from typing import Literal

from avs_cli.core.features import Runtime
from avs_cli.core.features._open_clip import OpenClip, named


def load(
    runtime: Runtime,
    variant: Literal["vit-b32", "vit-l14-336"] = "vit-b32",
    output: Literal["sentence", "words"] = "sentence",
    words: int = 32,
) -> OpenClip:
    """ViT-B/32 (512) or ViT-L/14@336 (768).

    output  "sentence": pictures and sentences, a vector each; "words": of texts, the vectors of at most `words` tokens,
            start and end included, which the head xclip looks at; the last is the sentence's
    """
    return named(runtime, f"clip:{variant}", output, words)
