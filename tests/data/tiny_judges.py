"""Vision-language models with small random weights, on disk in the layout in which transformers publishes full ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tiny_weights import randomised

SPECIAL = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
    "<|video_pad|>", "<image>", "<video>", "<img>", "</img>", "<IMG_CONTEXT>", "<fake_token_around_image>",
    "<global-img>", "<end_of_utterance>",
]  # fmt: skip
# The answers become tokens of one piece each, as in the vocabularies of full models.
CORPUS = ["Yes yes Yes No no No " * 3, "Judge whether the Document meets the requirements. " * 2] * 4
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}IMAGE{% elif part['type'] == 'video' %}VIDEO"
    "{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SMOL = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}<end_of_utterance>\n"
    "{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)
QWEN_VISION = ("<|vision_start|><|image_pad|><|vision_end|>", "<|vision_start|><|video_pad|><|vision_end|>")
TEXT = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 4096, "pad_token_id": 0, "bos_token_id": None,
    "eos_token_id": 2,
}  # fmt: skip
ROPE = {"rope_type": "default", "rope_theta": 10000.0}


def tokenizer(template: str, **named: str) -> Any:
    """A byte-level BPE of a few hundred tokens; `named`: special tokens by the attribute that a processor reads."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(CORPUS, trainer)
    found = PreTrainedTokenizerFast(
        tokenizer_object=made,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=SPECIAL,
        extra_special_tokens=named,
    )
    found.chat_template = template
    return found


def save(folder: Path, network: torch.nn.Module, processor: Any) -> Path:
    """A folder as `save_pretrained` leaves it, with weights of which no tensor is zero."""
    folder.mkdir(parents=True, exist_ok=True)
    network.config.architectures = [type(network).__name__]
    network.config.save_pretrained(folder)
    state = randomised(network)
    tied = dict(getattr(network, "_tied_weights_keys", None) or {}) if network.config.tie_word_embeddings else {}
    save_file({key: tensor for key, tensor in state.items() if key not in tied}, folder / "model.safetensors")
    processor.save_pretrained(folder)
    return folder


def ids(words: Any) -> Callable[[str], int]:
    """The number of a token."""
    return words.convert_tokens_to_ids  # type: ignore[no-any-return]


# Both families of Qwen cut pictures so.
QWEN_PICTURES = {
    "patch_size": 8, "temporal_patch_size": 2, "merge_size": 2,
    "size": {"shortest_edge": 16 * 16, "longest_edge": 64 * 64},
}  # fmt: skip


def qwen_tokenizer() -> Any:
    """A tokenizer with Qwen's places of images and videos."""
    image, video = QWEN_VISION
    return tokenizer(CHATML.replace("IMAGE", image).replace("VIDEO", video))


def qwen_tokens(words: Any) -> dict[str, int]:
    """The numbers of the tokens around images and videos, as settings of a configuration."""
    number = ids(words)
    return {
        "image_token_id": number("<|image_pad|>"),
        "video_token_id": number("<|video_pad|>"),
        "vision_start_token_id": number("<|vision_start|>"),
        "vision_end_token_id": number("<|vision_end|>"),
    }


def qwen3_vl(folder: Path) -> Path:
    """Qwen3-VL; Qwen3-VL-Reranker is the same network."""
    from transformers import (
        Qwen2VLImageProcessor,
        Qwen3VLConfig,
        Qwen3VLForConditionalGeneration,
        Qwen3VLProcessor,
        Qwen3VLVideoProcessor,
    )

    words = qwen_tokenizer()
    vision = {
        "depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "patch_size": 8, "out_hidden_size": 32,
        "num_position_embeddings": 64, "deepstack_visual_indexes": [0],
    }  # fmt: skip
    config = Qwen3VLConfig(
        text_config={
            **TEXT, "vocab_size": len(words), "head_dim": 16,
            "rope_parameters": {**ROPE, "mrope_section": [4, 2, 2], "mrope_interleaved": True},
        },
        vision_config=vision,
        **qwen_tokens(words),
    )  # fmt: skip
    processor = Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(**QWEN_PICTURES),
        tokenizer=words,
        video_processor=Qwen3VLVideoProcessor(**QWEN_PICTURES),
        chat_template=words.chat_template,
    )
    return save(folder, Qwen3VLForConditionalGeneration(config), processor)


def qwen2_5_vl(folder: Path) -> Path:
    """Qwen2.5-VL."""
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
    )

    words = qwen_tokenizer()
    config = Qwen2_5_VLConfig(
        text_config={
            **TEXT, "vocab_size": len(words), "rope_parameters": {**ROPE, "mrope_section": [4, 2, 2]},
        },
        vision_config={
            "depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "patch_size": 8,
            "out_hidden_size": 32, "window_size": 32, "fullatt_block_indexes": [1],
        },
        **qwen_tokens(words),
    )  # fmt: skip
    processor = Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(**QWEN_PICTURES),
        tokenizer=words,
        video_processor=Qwen2VLVideoProcessor(**QWEN_PICTURES),
        chat_template=words.chat_template,
    )
    return save(folder, Qwen2_5_VLForConditionalGeneration(config), processor)


def smolvlm(folder: Path) -> Path:
    """SmolVLM."""
    from transformers import (
        SmolVLMConfig,
        SmolVLMForConditionalGeneration,
        SmolVLMImageProcessor,
        SmolVLMProcessor,
        SmolVLMVideoProcessor,
    )

    words = tokenizer(SMOL)
    config = SmolVLMConfig(
        text_config={**TEXT, "model_type": "llama", "vocab_size": len(words), "rope_parameters": ROPE},
        vision_config={
            "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
            "image_size": 32, "patch_size": 8,
        },
        image_token_id=ids(words)("<image>"),
        scale_factor=2,
        pad_token_id=0,
    )  # fmt: skip
    sizes = {"size": {"longest_edge": 64}, "max_image_size": {"longest_edge": 32}}
    processor = SmolVLMProcessor(
        image_processor=SmolVLMImageProcessor(**sizes),
        tokenizer=words,
        video_processor=SmolVLMVideoProcessor(**sizes),
        image_seq_len=4,
        chat_template=SMOL,
    )
    return save(folder, SmolVLMForConditionalGeneration(config), processor)


def internvl(folder: Path) -> Path:
    """InternVL."""
    from transformers import (
        GotOcr2ImageProcessor,
        InternVLConfig,
        InternVLForConditionalGeneration,
        InternVLProcessor,
        InternVLVideoProcessor,
    )

    words = tokenizer(
        CHATML.replace("IMAGE", "<IMG_CONTEXT>\n").replace("VIDEO", "<video>\n"),
        start_image_token="<img>",
        end_image_token="</img>",
        context_image_token="<IMG_CONTEXT>",
        video_token="<video>",
    )
    config = InternVLConfig(
        text_config={**TEXT, "model_type": "qwen2", "vocab_size": len(words), "rope_parameters": ROPE},
        vision_config={
            "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
            "image_size": 32, "patch_size": 8,
        },
        image_token_id=ids(words)("<IMG_CONTEXT>"),
        image_seq_length=4,
    )  # fmt: skip
    size = {"height": 32, "width": 32}
    processor = InternVLProcessor(
        image_processor=GotOcr2ImageProcessor(size=size, max_patches=4),
        tokenizer=words,
        video_processor=InternVLVideoProcessor(size=size),
        image_seq_length=4,
        chat_template=words.chat_template,
    )
    return save(folder, InternVLForConditionalGeneration(config), processor)


def llava_onevision(folder: Path) -> Path:
    """LLaVA-OneVision."""
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        LlavaOnevisionImageProcessor,
        LlavaOnevisionProcessor,
        LlavaOnevisionVideoProcessor,
    )

    words = tokenizer(CHATML.replace("IMAGE", "<image>\n").replace("VIDEO", "<video>\n"))
    number = ids(words)
    points = [[32, 32], [32, 64], [64, 32], [64, 64]]
    config = LlavaOnevisionConfig(
        text_config={**TEXT, "model_type": "qwen2", "vocab_size": len(words), "rope_parameters": ROPE},
        vision_config={
            "model_type": "siglip_vision_model", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
            "num_attention_heads": 2, "image_size": 32, "patch_size": 8, "vision_use_head": False,
        },
        image_token_index=number("<image>"),
        video_token_index=number("<video>"),
        image_grid_pinpoints=points,
    )  # fmt: skip
    size = {"height": 32, "width": 32}
    processor = LlavaOnevisionProcessor(
        image_processor=LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=points),
        tokenizer=words,
        video_processor=LlavaOnevisionVideoProcessor(size=size),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=words.chat_template,
    )
    return save(folder, LlavaOnevisionForConditionalGeneration(config), processor)


# By the name of the judge.
MAKERS: dict[str, Callable[[Path], Path]] = {
    "internvl": internvl,
    "llava-onevision": llava_onevision,
    "qwen2-5-vl": qwen2_5_vl,
    "qwen3-vl": qwen3_vl,
    "qwen3-vl-reranker": qwen3_vl,
    "smolvlm": smolvlm,
}
