"""CLIP's two towers (Radford et al. 2021, arXiv:2103.00020), with the vectors of frames, patches and words.

The networks are open_clip's. Its own `encode_text` wants all 77 positions and gives the sentence alone.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import cache
from typing import Any

import torch
from torch import nn

from avs_cli.core.weights import misfits, shapes_of
from avs_cli.errors import MismatchError, SpecError, UnknownName

DEFAULT = "ViT-B-32-quickgelu"
# Mean and standard deviation of the pixels of OpenAI's CLIP.
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
SHIFTED_PARTS = 7
NO_CLIP = "these are not the weights of a CLIP with a vision transformer"
# Errors of building a network with inconsistent sizes.
UNBUILT = (LookupError, TypeError, ValueError, ArithmeticError, RuntimeError, AssertionError, AttributeError)
# Settings of open_clip that only change the sizes of OpenAI's architecture.
_MODEL = {"embed_dim", "quick_gelu", "vision_cfg", "text_cfg"}
_VISION = {"image_size", "layers", "width", "head_width", "mlp_ratio", "patch_size", "patch_dropout"}
_TEXT = {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"}
# Trainable parameters beside the blocks; embeddings and the first convolution are frozen.
_TRAINED = ("ln_final.", "text_projection", "logit_scale", "visual.ln_post.", "visual.proj")


class Towers(nn.Module):
    """A CLIP model; vectors are not normalised.

    shifted  blocks of the image tower that exchange patches between neighbouring frames (TS2-Net)
    """

    def __init__(self, network: Any, shifted: Sequence[int] = ()):
        super().__init__()
        self.network, self.shifted = network, tuple(shifted)

    @property
    def dim(self) -> int:
        """Length of the vectors."""
        return int(self.network.text_projection.shape[1])

    def frames(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, F, 3, S, S) to (B, F, D)."""
        if self.shifted:
            return self.tokens(pixels)[:, :, 0]
        vectors: torch.Tensor = self.network.encode_image(pixels.flatten(0, 1))
        return vectors.unflatten(0, pixels.shape[:2])  # type: ignore[no-untyped-call, no-any-return]

    def tokens(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, F, 3, S, S) to (B, F, 1 + P, D): the vector of the frame, as in `frames`, then those of its patches."""
        visual, count = self.network.visual, pixels.shape[1]
        x = visual._embeds(pixels.flatten(0, 1))
        if not self.shifted:
            x = visual.transformer(x)
        else:
            for place, block in enumerate(visual.transformer.resblocks):
                if place not in self.shifted:
                    x = block(x)
                    continue
                x = x + block.attention(shifted(block.ln_1(x), count))
                x = x + block.mlp(block.ln_2(x))
        x = visual.ln_post(x) @ visual.proj
        return x.view(len(pixels), count, *x.shape[1:])  # type: ignore[no-any-return]

    def texts(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, W) token ids to sentences (N, D) and words (N, W, D), including start, end and padding."""
        network, width = self.network, tokens.shape[1]
        x = network.token_embedding(tokens) + network.positional_embedding[:width]
        x = network.transformer(x, attn_mask=network.attn_mask[:width, :width])
        words = network.ln_final(x) @ network.text_projection
        return words[torch.arange(len(tokens), device=tokens.device), tokens.argmax(1)], words


def shifted(x: torch.Tensor, frames: int) -> torch.Tensor:
    """(B * F, 1 + P, n) tokens with some patches replaced by those of the previous and the next frame.

    Liu et al. 2022, TS2-Net, arXiv:2207.07852: in each seven tokens, one patch is passed to the next frame and, three
    positions later, one to the previous frame. The first and the last frame keep theirs. Padding frames are included.
    """
    clips = x.view(-1, frames, *x.shape[1:])
    moved, step = clips.clone(), max(1, x.shape[1] // SHIFTED_PARTS)
    moved[:, 1:, 1::step] = clips[:, :-1, 1::step]
    moved[:, :-1, 4::step] = clips[:, 1:, 4::step]
    return moved.view_as(x)


def tokenise(texts: Sequence[str], words: int) -> torch.Tensor:
    """(N, words) ids of CLIP's vocabulary: start, at most `words` - 2 pieces of the text in lower case, end, zeros."""
    ids: torch.Tensor = _tokenizer()(list(texts), context_length=words)
    return ids


@cache
def _tokenizer() -> Any:
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()


def named(name: str = DEFAULT) -> Any:
    """The network of open_clip with this name, with random weights.

    Raises UnknownName, and SpecError for a model other than two plain transformers.
    """
    import open_clip

    config = open_clip.get_model_config(name)
    if config is None:
        raise UnknownName("open_clip model", name, open_clip.list_models())
    if not is_plain(config):
        raise SpecError(
            f"{name} is not a plain pair of transformers; take a ViT that OpenAI's CLIP has, like {DEFAULT}"
        )
    return open_clip.CLIP(**config)


def is_plain(config: Mapping[str, Any]) -> bool:
    """Whether an architecture of open_clip is that of OpenAI, possibly with other sizes: two plain transformers."""
    parts = {"vision_cfg": _VISION, "text_cfg": _TEXT}
    known = all(isinstance(config.get(part), Mapping) and config[part].keys() <= names for part, names in parts.items())
    return known and config.keys() <= _MODEL and isinstance(config["vision_cfg"].get("layers"), int)


def network_of(state: Mapping[str, torch.Tensor], config: Mapping[str, Any] | None = None) -> Any:
    """A network with these weights, in float32.

    config  the architecture, if known; by default from the shapes of the weights
    Raises MismatchError for weights other than those of two plain transformers.
    """
    import open_clip

    sizes = dict(config or config_of(state))
    try:
        # On the meta device first: sizes from one tensor may exceed the memory.
        with torch.device("meta"):
            own = open_clip.CLIP(**deepcopy(sizes)).state_dict()
    except UNBUILT as error:
        raise MismatchError(f"{NO_CLIP} ({' '.join(str(error).split())})") from None
    check_fit(own, state, "CLIP")
    network = open_clip.CLIP(**deepcopy(sizes))
    network.load_state_dict(dict(state))
    return network


def config_of(state: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """The architecture in the notation of open_clip, from the shapes of the weights; heads have 64 dimensions.

    state  weights with the names of OpenAI's CLIP and open_clip
    Raises MismatchError for weights that are not those of two plain transformers.
    """
    if missing := {"visual.proj", "visual.conv1.weight", "text_projection", "token_embedding.weight"} - state.keys():
        raise MismatchError(f"{NO_CLIP}: no {sorted(missing)[0]}")
    ranks = {"visual.conv1.weight": 4, "visual.positional_embedding": 2, "positional_embedding": 2}
    for key, rank in {**ranks, "text_projection": 2, "token_embedding.weight": 2}.items():
        if key not in state or state[key].dim() != rank or not state[key].numel():
            raise MismatchError(f"{NO_CLIP}: {key} is {tuple(state[key].shape) if key in state else 'missing'}")
    width, _, _, patch = state["visual.conv1.weight"].shape
    grid = round((len(state["visual.positional_embedding"]) - 1) ** 0.5)
    context, text_width = state["positional_embedding"].shape
    return {
        "embed_dim": state["text_projection"].shape[1],
        "quick_gelu": True,
        "vision_cfg": {
            "layers": _layers(state, "visual."),
            "width": width,
            "patch_size": patch,
            "image_size": grid * patch,
        },
        "text_cfg": {
            "context_length": context,
            "vocab_size": len(state["token_embedding.weight"]),
            "width": text_width,
            "heads": max(1, text_width // 64),
            "layers": _layers(state, ""),
        },
    }


def _layers(state: Mapping[str, torch.Tensor], tower: str) -> int:
    return sum(key.startswith(f"{tower}transformer.") and key.endswith(".ln_1.weight") for key in state)


def fill(module: nn.Module, state: Mapping[str, torch.Tensor], what: str) -> None:
    """Load all of a module's weights, in its own precision. Raises MismatchError where names or shapes differ."""
    check_fit(module.state_dict(), state, what)
    module.load_state_dict(dict(state))


def check_fit(own: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor], what: str) -> None:
    """Raises MismatchError where names or shapes differ."""
    for key, expected, given in misfits(shapes_of(own), shapes_of(state)):
        if given is None:
            raise MismatchError(f"the weights of {what} lack {key}")
        if expected is None:
            raise MismatchError(f"unexpected tensor {key} in the weights of {what}")
        sizes = (" x ".join(map(str, shape)) or "one number" for shape in (given, expected))
        raise MismatchError(f"the weights of {what}: {key} is {next(sizes)}, where {next(sizes)} are expected")


def freeze(network: nn.Module, blocks: int = 0) -> None:
    """Leave CLIP's embeddings, its first convolution and the first `blocks` blocks of both towers as they are."""
    for name, parameter in network.named_parameters():
        place = name.partition("transformer.resblocks.")[2].partition(".")[0]
        parameter.requires_grad = int(place) >= blocks if place else name.startswith(_TRAINED)
