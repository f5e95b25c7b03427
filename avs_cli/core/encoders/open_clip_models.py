"""Encoders of pictures and text into one space (Radford et al. 2021, arXiv:2103.00020), built by open_clip."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from avs_cli.core.encoders import Runtime
from avs_cli.core.encoders.base import TEXTS, PublishedEncoder
from avs_cli.core.encoders.catalogue import Model
from avs_cli.core.models.clip.towers import MEAN, STD, Towers, is_plain, tokenise
from avs_cli.errors import FormatError, SpecError, UnavailableError
from avs_cli.types import Pixels, Source

CONFIG = "open_clip_config.json"
# Required files of a repository of open_clip, without and with a tokenizer.
FILES = (CONFIG, "open_clip_model.safetensors")
TOKENIZER = ("tokenizer*", "special_tokens_map.json", "vocab*", "merges.txt", "sentencepiece*")
# Keys of tokenizer_kwargs, which open_clip passes to transformers, that determine the tokens.
TOKENIZER_SETTINGS = frozenset({"additional_special_tokens", "clean", "language", "reduction_mask", "strip_sep_token"})
Output = Literal["sentence", "words"]


class OpenClip(PublishedEncoder):
    """The two towers of one model; `name` is open_clip's, `tag` says whose weights.

    With a folder of weights, its open_clip_config.json determines architecture and preprocessing.
    """

    has_text = True
    image_part = ("visual.",)

    def __init__(self, runtime: Runtime, name: str, tag: str, source: Source):
        super().__init__(runtime, f"{name}/{tag}", source)
        self.name, self.tag = name, tag

    @cached_property
    def own_config(self) -> dict[str, Any] | None:
        """The open_clip_config.json of a local folder."""
        if self.runtime.weights is None:
            return None
        found = self.files.json(CONFIG)
        if found is not None:
            _check(self.files.root / CONFIG, found.get("model_cfg"), self.runtime.reader.is_path)
        return found

    @cached_property
    def config(self) -> dict[str, Any]:
        """The architecture."""
        import open_clip

        found: dict[str, Any] = (
            self.own_config["model_cfg"] if self.own_config else open_clip.get_model_config(self.name)
        )
        return deepcopy(found)

    @cached_property
    def preprocessing(self) -> Mapping[str, Any]:
        """Mean, std, interpolation and resize mode of the pixels."""
        import open_clip

        usual = {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest"}
        if self.own_config:
            return {**usual, **self.own_config.get("preprocess_cfg", {})}
        return {**usual, **open_clip.get_pretrained_cfg(self.name, self.tag)}

    @property
    def mean(self) -> tuple[float, ...]:  # type: ignore[override]
        """Of the pixels, as the model was trained."""
        return tuple(self.preprocessing["mean"])

    @property
    def std(self) -> tuple[float, ...]:  # type: ignore[override]
        """Of the pixels, as the model was trained."""
        return tuple(self.preprocessing["std"])

    @cached_property
    def pixels(self) -> Pixels:  # type: ignore[override]
        """The input size of the training."""
        size = self.config["vision_cfg"].get("image_size", 224)
        size = size if isinstance(size, int) else size[0]
        mode = self.preprocessing["resize_mode"]
        if mode not in ("shortest", "squash"):
            raise FormatError(self.model, f"pictures resized by {mode!r} are not supported")
        return Pixels(size, None if mode == "squash" else size, self.preprocessing["interpolation"])

    @cached_property
    def dim(self) -> int:  # type: ignore[override]
        """Length of the vectors."""
        return int(self.config["embed_dim"])

    def build(self) -> nn.Module:
        """Both towers."""
        import open_clip

        config = deepcopy(self.config)
        config["vision_cfg"]["timm_model_pretrained"] = config["text_cfg"]["hf_model_pretrained"] = False
        custom = config.pop("custom_text", False) or "hf_model_name" in config["text_cfg"]
        kind = open_clip.CustomTextCLIP if custom else open_clip.CLIP
        if "hf_model_name" in config["text_cfg"]:
            _never_ask()
        try:
            return (open_clip.CoCa if "multimodal_cfg" in config else kind)(**config)  # type: ignore[no-any-return]
        except (KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
            if not self.own_config:
                raise
            said = " ".join(str(error).splitlines()[:1])
            raise FormatError(self.files.root / CONFIG, f"open_clip cannot build this model ({said})") from None

    @cached_property
    def text_part(self) -> tuple[str, ...]:  # type: ignore[override]
        """All weights except those of the image tower."""
        return tuple(key for key in self.network.state_dict() if not key.startswith("visual."))

    @cached_property
    def tokenizer(self) -> Any:
        """Texts to token ids."""
        name = self.files.root if self.own_config else self.name
        # The tokenizer of open_clip itself has no such parameter, and no code to trust.
        trust = {"trust_remote_code": False} if self.config["text_cfg"].get("hf_tokenizer_name") else {}
        try:
            return self.runtime.reader.open_clip_tokenizer(name, **trust)
        except (OSError, ValueError):
            repo = self.config["text_cfg"].get("hf_tokenizer_name", self.name)
            raise UnavailableError(
                f"the tokenizer of {self.model} is not on this machine; fetch it with: hf download {repo} "
                "--include 'tokenizer*' --include 'special_tokens_map.json' --include 'sentencepiece*'"
            ) from None

    def embed(self, pictures: torch.Tensor) -> torch.Tensor:
        """(B, 3, S, S) to (B, dim)."""
        with self.autocast():
            vectors: torch.Tensor = self.image_tower.encode_image(pictures)
        return vectors

    def embed_text(self, texts: list[str]) -> torch.Tensor:
        """A few texts to (N, dim)."""
        tokens = self.tokenizer(texts).to(self.runtime.device)
        with self.autocast():
            vectors: torch.Tensor = self.text_tower.encode_text(tokens)
        return vectors


def _never_ask() -> None:
    """Let transformers reject code of a folder, rather than ask on stdin, where a library does not pass the option."""
    from transformers import dynamic_module_utils

    dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0


def _check(path: Path, config: Any, is_path: Callable[[str], bool]) -> None:
    """Reject an architecture of a folder that would load other files, or code."""
    import open_clip
    import timm

    if not isinstance(config, dict) or not {"vision_cfg", "text_cfg", "embed_dim"} <= config.keys():
        raise FormatError(path, "no model_cfg with vision_cfg, text_cfg and embed_dim")
    vision, text = config["vision_cfg"], config["text_cfg"]
    if not isinstance(vision, dict) or not isinstance(text, dict):
        raise FormatError(path, "vision_cfg and text_cfg of model_cfg are not objects")
    settings = text.get("tokenizer_kwargs", {})
    if unknown := set(settings) - TOKENIZER_SETTINGS:
        raise FormatError(path, f"tokenizer_kwargs may not set {sorted(unknown)[0]!r}")
    tower = vision.get("timm_model_name")
    if tower is not None and not (isinstance(tower, str) and timm.is_model(tower)):
        raise FormatError(path, f"timm_model_name {tower!r} is not an architecture of timm")
    written = (open_clip.get_model_config(name) or {} for name in open_clip.list_models())
    known = {one.get("text_cfg", {}).get("hf_model_name") for one in written}
    name = text.get("hf_model_name")
    if name is not None and (name not in known or is_path(str(name))):
        raise FormatError(path, f"hf_model_name {name!r} is not the text tower of any published open_clip model")


class OpenClipWords(OpenClip):
    """The text tower alone, and what it makes of each token: the last hidden states, projected as the sentence is.

    A text of K tokens, its start and end included, has K vectors; the last, at the end token, is the sentence's, which
    `OpenClip` gives. X-CLIP (arXiv:2207.07285) looks at these and, as published, at those of the padding as well.

    most  maximum tokens of a text; longer texts are truncated before the end token
    """

    pixels = None  # type: ignore[assignment]
    word_level = True

    def __init__(self, runtime: Runtime, name: str, tag: str, source: Source, most: int):
        super().__init__(runtime, name, tag, source)
        self.most = most

    @property
    def settings(self) -> Mapping[str, Any]:
        """The output, and the maximum number of tokens."""
        return {"output": "words", "words": self.most}

    @cached_property
    def config(self) -> dict[str, Any]:
        """The architecture. Raises SpecError unless it is two plain transformers with room for so many tokens."""
        found = super().config
        if not is_plain(found):
            raise SpecError(f"{self.model}: output=words needs a text tower that is a plain transformer, as CLIP's is")
        room = found["text_cfg"].get("context_length", 77)
        if not 3 <= self.most <= room:
            raise SpecError(f"{self.model}: words={self.most} is not between 3 and {room}")
        return found

    @torch.inference_mode()
    def encode_text(self, texts: list[str]) -> list[np.ndarray]:  # type: ignore[override]
        """N arrays (K, dim) float32, not of unit length."""
        vectors: list[np.ndarray] = []
        for low in range(0, len(texts), TEXTS):
            tokens = tokenise(texts[low : low + TEXTS], self.most).to(self.runtime.device)
            with self.autocast():
                words = Towers(self.text_tower).texts(tokens)[1].float().cpu().numpy()
            # The end token has the largest id.
            lengths = (tokens.argmax(1) + 1).tolist()
            vectors += [row[:length] for row, length in zip(words, lengths, strict=True)]
        return vectors


def encoder(runtime: Runtime, name: str, tag: str, source: Source, output: Output, words: int) -> OpenClip:
    """The model as an encoder of pictures and sentences, or of the words of texts, at most `words` of them."""
    if output == "words":
        return OpenClipWords(runtime, name, tag, source, words)
    return OpenClip(runtime, name, tag, source)


def named(runtime: Runtime, model: Model, output: Output = "sentence", words: int = 32) -> OpenClip:
    """A published model."""
    name, _, tag = model.builds.partition("/")
    return encoder(runtime, name, tag, model.source, output, words)
