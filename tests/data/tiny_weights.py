"""Small random weights of every feature, on disk in the layout in which the full ones are published."""

import contextlib
import functools
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "cat", "red", "runs", "on", "the", "street"]
EVA = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "image_size": 42, "intermediate_size": 96}
QFORMER = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 48,
           "encoder_hidden_size": 48, "vocab_size": 60, "max_position_embeddings": 40}  # fmt: skip
BLIP2 = {"vision_config": EVA, "qformer_config": QFORMER, "num_query_tokens": 4, "image_text_hidden_size": 16}
BLIP = {
    "vision_config": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 48,
                      "intermediate_size": 64},
    "text_config": {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 48,
                    "vocab_size": 60, "max_position_embeddings": 40, "encoder_hidden_size": 32},
    "image_text_hidden_size": 16,
}  # fmt: skip
XCLIP = {
    "vision_config": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 32,
                      "patch_size": 16, "intermediate_size": 64, "num_frames": 4, "mit_hidden_size": 16,
                      "mit_intermediate_size": 32, "mit_num_attention_heads": 2},
    "text_config": {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 48,
                    "vocab_size": 60},
    "projection_dim": 16, "prompt_num_attention_heads": 2,
}  # fmt: skip
VJEPA2 = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "crop_size": 32, "frames_per_clip": 4,
          "pred_hidden_size": 24, "pred_num_hidden_layers": 1, "pred_num_attention_heads": 2}  # fmt: skip
TEXT = {"width": 32, "heads": 2, "layers": 2, "context_length": 77, "vocab_size": 49408}
OPENAI = {
    "model_cfg": {"embed_dim": 16, "quick_gelu": True, "text_cfg": TEXT,
                  "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16}},
    "preprocess_cfg": {"interpolation": "bicubic", "resize_mode": "shortest"},
}  # fmt: skip
PERCEPTION = {
    "model_cfg": {"embed_dim": 64, "custom_text": True, "text_cfg": TEXT,
                  "vision_cfg": {"image_size": 160, "timm_model_name": "test_vit", "timm_pool": "avg",
                                 "timm_proj": "linear"}},
    "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear", "resize_mode": "squash"},
}  # fmt: skip
SIGLIP = {
    "model_cfg": {"embed_dim": 16, "custom_text": True, "init_logit_bias": -10,
                  "vision_cfg": OPENAI["model_cfg"]["vision_cfg"],
                  "text_cfg": {**TEXT, "context_length": 16, "vocab_size": 60, "hf_tokenizer_name": "here",
                               "tokenizer_kwargs": {"clean": "canonicalize"}, "no_causal_mask": True,
                               "pool_type": "last"}},
    "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"},
}  # fmt: skip


def randomised(network: torch.nn.Module, seed: int = 0) -> dict[str, torch.Tensor]:
    """A network's state, no tensor of it left at zeros or ones: those would hide a tensor that is not loaded."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for key, tensor in network.state_dict().items():
        if not tensor.is_floating_point():
            state[key] = tensor
            continue
        noise = torch.randn(tensor.shape, generator=generator)
        if key.endswith("running_var"):
            state[key] = 1 + 0.1 * noise.abs()
        elif tensor.dim() == 1 and key.endswith("weight"):
            state[key] = 1 + 0.1 * noise
        else:
            fan_in = tensor[0].numel() if tensor.dim() > 1 else 100
            state[key] = noise / fan_in**0.5
    return state


def vocabulary(folder: Path) -> None:
    from transformers import BertTokenizer

    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)


def open_clip_folder(folder: Path, config: dict[str, Any]) -> Path:
    import copy

    import open_clip

    model = copy.deepcopy(config["model_cfg"])
    kind = open_clip.CustomTextCLIP if model.pop("custom_text", False) else open_clip.CLIP
    save_file(randomised(kind(**model)), folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    vocabulary(folder)
    return folder


def timm_folder(folder: Path, architecture: str, size: int, **arguments: Any) -> Path:
    import timm

    network = timm.create_model(architecture, num_classes=5, **arguments)
    save_file(randomised(network), folder / "model.safetensors")
    seen = {
        "input_size": [3, size, size],
        "interpolation": "bicubic",
        "crop_pct": 0.9,
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
    }
    config = {"architecture": architecture, "model_args": arguments, "pretrained_cfg": seen}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def timm_file(folder: Path) -> Path:
    import timm

    save_file(randomised(timm.create_model("test_vit")), folder / "model.safetensors")
    return folder / "model.safetensors"


def hugging_face_folder(folder: Path, kind: str, config: dict[str, Any]) -> Path:
    import transformers

    made = getattr(transformers, kind)
    settings = made.config_class(**config)
    if kind.startswith("Blip2"):
        settings.qformer_config.use_qformer_text_input = True
    save_file(randomised(made(settings)), folder / "model.safetensors")
    settings.save_pretrained(folder)
    vocabulary(folder)
    return folder


def video_llama_parts() -> dict[str, dict[str, Any]]:
    """What the three published files hold: the bare tower, the Q-Former, the video part; each with more around it."""
    from transformers import Blip2Config

    from avs_cli.core.encoders.video_llama import Network

    config = Blip2Config(**BLIP2)
    video = type(config.qformer_config)(**{**QFORMER, "cross_attention_frequency": 1, "encoder_hidden_size": 24})
    state = randomised(Network(config.vision_config, config.qformer_config, 4, video, 5, 32))
    parts: dict[str, dict[str, Any]] = {"eva_vit_g": {}, "blip2_pretrained_flant5xxl": {}, "finetune-vicuna7b-v2": {}}
    for key, tensor in state.items():
        if key.startswith("vision_model.post_layernorm."):
            parts["blip2_pretrained_flant5xxl"][key.replace("vision_model.post_layernorm.", "ln_vision.")] = tensor
        elif key.startswith("vision_model."):
            parts["eva_vit_g"] |= _eva(key.removeprefix("vision_model."), tensor)
        elif key.startswith("video_"):
            parts["finetune-vicuna7b-v2"][_bert(key, "video_qformer.", "video_Qformer.bert.")] = tensor
        else:
            parts["blip2_pretrained_flant5xxl"][_bert(key, "qformer.", "Qformer.bert.")] = tensor
    parts["eva_vit_g"]["head.weight"] = parts["blip2_pretrained_flant5xxl"]["t5_proj.weight"] = torch.ones(3)
    parts["finetune-vicuna7b-v2"]["llama_proj.weight"] = torch.ones(3)
    for name in list(parts)[1:]:
        parts[name] = {"model": parts[name], "epoch": 3, "optimizer": {"state": {}}}
    return parts


def _eva(key: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    for ours, theirs in (
        ("embeddings.class_embedding", "cls_token"), ("embeddings.position_embedding", "pos_embed"),
        ("embeddings.patch_embedding", "patch_embed.proj"), ("encoder.layers", "blocks"), ("layer_norm", "norm"),
        ("self_attn.projection", "attn.proj"), ("self_attn", "attn"),
    ):  # fmt: skip
        key = key.replace(ours, theirs)
    if not key.endswith("attn.qkv.bias"):
        return {key: tensor}
    query, _, value = tensor.chunk(3)
    stem = key.removesuffix("qkv.bias")
    return {f"{stem}q_bias": query.clone(), f"{stem}v_bias": value.clone()}


def _bert(key: str, ours: str, theirs: str) -> str:
    if not key.startswith(ours):
        return key
    key = key.replace(ours, theirs, 1).replace("attention.attention.", "attention.self.")
    return key.replace("bert.layernorm.", "bert.embeddings.LayerNorm.")


def video_llama_folder(folder: Path) -> Path:
    for name, part in video_llama_parts().items():
        save_file(part.get("model", part), folder / f"{name}.safetensors")
    (folder / "config.json").write_text(json.dumps(BLIP2))
    return folder


def csn(scheme: str) -> dict[str, torch.Tensor]:
    """A narrow ir-CSN as VMZ or mmaction2 names it, with the classifier that it was trained with."""
    from avs_cli.core.encoders._csn import Csn

    state = randomised(Csn((1, 1, 1, 1), 4))
    if scheme == "vmz":
        return {**state, "fc.weight": torch.ones(359, 128), "fc.bias": torch.ones(359)}
    return {f"backbone.{_mmaction(key)}": tensor for key, tensor in state.items()} | {
        "cls_head.fc_cls.bias": torch.ones(400)
    }


def _mmaction(key: str) -> str:
    parts = key.split(".")
    part = {"0": "conv", "1": "bn"}[parts[-2]]
    if parts[0] == "stem":
        return f"conv1.{part}.{parts[-1]}"
    inner = "0." if parts[2] == "conv2" else ""
    return f"{'.'.join(parts[:3])}.{inner}{part}.{parts[-1]}"


def resnext() -> dict[str, torch.Tensor]:
    from torchvision.models.resnet import Bottleneck, ResNet

    return randomised(ResNet(Bottleneck, [1, 1, 1, 1], groups=4, width_per_group=1))


def saved(path: Path, state: dict[str, torch.Tensor]) -> Path:
    save_file(state, path)
    return path


STUDENT = {
    "config": {
        "embed_dim": 32, "quick_gelu": True, "text_cfg": {**TEXT, "context_length": 16},
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16},
    },
    "frames": 3, "words": 16, "aggregate": "attention", "layers": 1, "interpolation": "bicubic",
}  # fmt: skip


def student_file(folder: Path) -> Path:
    from avs_cli.core.models.clip.student import ClipStudent
    from avs_cli.io.head_file import save_head

    network = ClipStudent(**{key: value for key, value in STUDENT.items() if key != "interpolation"})
    told = {"kind": "teachclip", "settings": STUDENT, "videos": [], "texts": [], "encoders": []}
    save_head(folder / "student.safetensors", told, randomised(network))
    return folder / "student.safetensors"


# What the encoders of recent versions of transformers publish: a network and its processor, saved by transformers.

LETTERS = ["<pad>", "</s>", "<unk>", "\u2581", *"abcdefghijklmnopqrstuvwxyz"]
NARROW = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
TIPSV2 = {
    "vision_config": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28},
    "text_config": {**NARROW, "num_hidden_layers": 2, "vocab_size": 60, "max_position_embeddings": 16},
}
VIDEOPRISM = {
    "vision_config": {**NARROW, "image_size": 36, "num_frames": 4, "num_spatial_layers": 1, "num_temporal_layers": 1,
                      "num_auxiliary_layers": 1},
    "text_config": {**NARROW, "num_hidden_layers": 2, "vocab_size": 60, "max_position_embeddings": 16},
}  # fmt: skip
PE_LAYERS = {**NARROW, "num_hidden_layers": 1, "head_dim": 16}
PE_AV = {
    "text_config": {**NARROW, "model_type": "modernbert", "num_hidden_layers": 2, "vocab_size": 60, "pad_token_id": 0,
                    "global_attn_every_n_layers": 2, "eos_token_id": 3, "bos_token_id": 2, "cls_token_id": 2,
                    "sep_token_id": 3},
    "audio_video_config": {
        **PE_LAYERS,
        "audio_config": {**PE_LAYERS, "dac_config": {"encoder_hidden_size": 2, "downsampling_ratios": [2, 2],
                                                     "decoder_hidden_size": 8, "codebook_dim": 4}},
        "video_config": {**PE_LAYERS, "vision_config": {
            "architecture": "vit_pe_core_large_patch14_336", "num_classes": 16, "num_labels": 16,
            "model_args": {"embed_dim": 32, "img_size": [28, 28], "depth": 1, "num_heads": 2, "global_pool": "map"},
        }},
    },
}  # fmt: skip
QWEN_TEXT = {
    **NARROW, "hidden_size": 80, "num_key_value_heads": 1, "head_dim": 16, "num_hidden_layers": 3, "vocab_size": 110,
    "rope_parameters": {"rope_type": "default", "mrope_interleaved": True, "mrope_section": [4, 2, 2],
                        "rope_theta": 5e6},
}  # fmt: skip
QWEN_VISION = {"depth": 3, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 80,
               "num_position_embeddings": 16, "deepstack_visual_indexes": [0, 1]}  # fmt: skip
# The sizes of the published models, in the configuration that transformers has for them.
_TIPS = {"b14": (768, 12, 12, 3072, 12, 12), "l14": (1024, 24, 16, 4096, 12, 16),
         "so400m14": (1152, 27, 16, 4304, 27, 16), "g14": (1536, 40, 24, 6144, 12, 24)}  # fmt: skip
_PRISM = {"large": {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16}, "base": {}}
_PRISM_VISION = {"large": {"num_frames": 8, "num_spatial_layers": 24}, "base": {}}
_QWEN = {
    "2b": ({"hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 28, "num_attention_heads": 16},
           {"depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "deepstack_visual_indexes": [5, 11, 17]}),
    "8b": ({"hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36, "num_attention_heads": 32}, {}),
}  # fmt: skip
PUBLISHED: dict[str, tuple[str, dict[str, Any]]] = {
    **{
        f"tipsv2:{name}": ("Tipsv2Config", {
            "vision_config": {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads,
                              "mlp_ratio": inner / width, "use_swiglu_ffn": name == "g14"},
            "text_config": {"hidden_size": width, "intermediate_size": inner, "num_hidden_layers": text_layers,
                            "num_attention_heads": text_heads},
        })
        for name, (width, layers, heads, inner, text_layers, text_heads) in _TIPS.items()
    },
    **{
        f"videoprism:{name}": ("VideoPrismConfig", {
            "vision_config": {**sizes, **_PRISM_VISION[name]}, "text_config": sizes
        })
        for name, sizes in _PRISM.items()
    },
    **{
        f"qwen3-vl-embedding:{name}": ("Qwen3VLConfig", {
            "text_config": {**text, "num_key_value_heads": 8,
                            "rope_parameters": {"rope_type": "default", "rope_theta": 5e6,
                                                "mrope_section": [24, 20, 20], "mrope_interleaved": True}},
            "vision_config": {**vision, "out_hidden_size": text["hidden_size"]},
        })
        for name, (text, vision) in _QWEN.items()
    },
    "embeddinggemma2": ("EmbeddingGemma2Config", {"vision_config": {}}),
}  # fmt: skip
# As Qwen's, which has more cases.
CHAT = (
    "{% for turn in messages %}<|im_start|>{{ turn.role }}\n{% for part in turn.content %}{% if part.type == 'text' %}"
    "{{ part.text }}{% else %}<|vision_start|><|{{ part.type }}_pad|><|vision_end|>{% endif %}{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GEMMA = {
    "text_config": {**NARROW, "num_key_value_heads": 1, "head_dim": 16, "num_hidden_layers": 2, "vocab_size": 60,
                    "sliding_window": 8, "sliding_window_pattern": 2, "global_head_dim": 32,
                    "num_global_key_value_heads": 1, "hidden_size_per_layer_input": 8, "embedding_dim": 160},
    "vision_config": {**NARROW, "num_hidden_layers": 1, "num_key_value_heads": 2, "head_dim": 16,
                      "position_embedding_size": 64},
    "audio_config": {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "output_proj_dims": 32,
                     "subsampling_conv_channels": [4, 2]},
}  # fmt: skip


def saved_by_transformers(folder: Path, kind: str, config: dict[str, Any], processor: Any) -> Path:
    import transformers
    from transformers.utils import logging

    logging.disable_progress_bar()
    made = getattr(transformers, kind)
    with contextlib.redirect_stdout(None):  # PeVideoModel prints
        network = made(made.config_class(**config))
    network.load_state_dict(randomised(network))
    network.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@functools.cache
def _made(make: Callable[[Path], Path]) -> Any:
    room = tempfile.TemporaryDirectory()
    make(Path(room.name))
    return room


def once(make: Callable[[Path], Path]) -> Callable[[Path], Path]:
    """What fills a folder with a copy of what `make` gives, which is made once in a process."""
    return lambda folder: shutil.copytree(_made(make).name, folder, dirs_exist_ok=True)


def tipsv2_folder(folder: Path, **vision: Any) -> Path:
    from transformers import Tipsv2ImageProcessor, Tipsv2Processor, Tipsv2Tokenizer

    words = Tipsv2Tokenizer({piece: index for index, piece in enumerate(LETTERS)}, [], model_max_length=16)
    pictures = Tipsv2ImageProcessor(size={"height": 28, "width": 28})
    config = {**TIPSV2, "vision_config": {**TIPSV2["vision_config"], **vision}}
    return saved_by_transformers(folder, "Tipsv2Model", config, Tipsv2Processor(pictures, words))


def videoprism_folder(folder: Path) -> Path:
    from transformers import LlavaOnevisionVideoProcessor, VideoPrismProcessor, VideoPrismTokenizer

    words = VideoPrismTokenizer([(piece, -float(index)) for index, piece in enumerate(LETTERS)], extra_ids=0)
    videos = LlavaOnevisionVideoProcessor(size={"height": 36, "width": 36}, do_normalize=False)
    return saved_by_transformers(folder, "VideoPrismClipModel", VIDEOPRISM, VideoPrismProcessor(videos, words))


def pe_av_folder(folder: Path) -> Path:
    from transformers import BertTokenizer, PeAudioFeatureExtractor, PeAudioVideoProcessor, PeVideoVideoProcessor

    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    words, sounds = BertTokenizer(str(folder / "vocab.txt")), PeAudioFeatureExtractor()
    half = [0.5] * 3
    videos = PeVideoVideoProcessor(size={"height": 28, "width": 28}, image_mean=half, image_std=half, do_normalize=True,
                                   do_rescale=True, do_resize=True)  # fmt: skip
    return saved_by_transformers(folder, "PeAudioVideoModel", PE_AV, PeAudioVideoProcessor(sounds, videos, words))


def qwen3_vl_embedding_folder(folder: Path) -> Path:
    from transformers import Qwen2Tokenizer, Qwen2VLImageProcessor, Qwen3VLProcessor, Qwen3VLVideoProcessor

    special = [f"<|{name}|>" for name in ("im_start", "vision_start", "vision_end", "image_pad", "video_pad")]
    letters = [*map(chr, range(33, 127)), "\u0120", "\u010a"]  # a space and a line break, as bytes are written
    words = Qwen2Tokenizer(
        {letter: index for index, letter in enumerate(letters)}, [], eos_token="<|im_end|>", pad_token="<|endoftext|>",
        additional_special_tokens=special,
    )  # fmt: skip
    half = [0.5] * 3
    pictures = Qwen2VLImageProcessor(patch_size=16, image_mean=half, image_std=half)
    processor = Qwen3VLProcessor(pictures, words, Qwen3VLVideoProcessor(), CHAT)
    names = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    ids = {name: getattr(processor, name) for name in names}
    config = {"text_config": QWEN_TEXT, "vision_config": QWEN_VISION, **ids, "tie_word_embeddings": True}
    return saved_by_transformers(folder, "Qwen3VLForConditionalGeneration", config, processor)


def embeddinggemma2_folder(folder: Path) -> Path:
    from transformers import (
        EmbeddingGemma2Processor,
        EmbeddingGemma2VideoProcessor,
        Gemma4AudioFeatureExtractor,
        Gemma4ImageProcessor,
        GemmaTokenizer,
    )

    named = {"boi_token": "<|image>", "eoi_token": "<image|>", "image_token": "<|image|>", "audio_token": "<|audio|>",
             "boa_token": "<|audio>", "eoa_token": "<audio|>"}  # fmt: skip
    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *LETTERS[3:], *":|"]
    words = GemmaTokenizer(
        {piece: index for index, piece in enumerate(pieces)}, [], add_bos_token=True, add_eos_token=True,
        padding_side="right", extra_special_tokens=named,
    )  # fmt: skip
    videos = EmbeddingGemma2VideoProcessor(max_soft_tokens=70)
    processor = EmbeddingGemma2Processor(Gemma4AudioFeatureExtractor(), Gemma4ImageProcessor(), words, videos)
    tokens = {"boi_token_id": "boi_token", "eoi_token_id": "eoi_token", "image_token_id": "image_token",
              "audio_token_id": "audio_token", "boa_token_id": "boa_token", "eoa_token_index": "eoa_token"}  # fmt: skip
    ids = {name: words.convert_tokens_to_ids(named[token]) for name, token in tokens.items()}
    config = {**GEMMA, **ids, "video_token_id": processor.video_token_id}
    return saved_by_transformers(folder, "EmbeddingGemma2Model", config, processor)


# Spec -> what puts its weights into a folder, and gives what --weights takes.
MAKERS: dict[str, Callable[[Path], Path]] = {
    "beit": lambda folder: timm_folder(
        folder, "beit_base_patch16_224", 32, img_size=32, patch_size=16, embed_dim=24, depth=2, num_heads=2
    ),
    "blip": lambda folder: hugging_face_folder(folder, "BlipForImageTextRetrieval", BLIP),
    "blip2": lambda folder: hugging_face_folder(folder, "Blip2ForImageTextRetrieval", BLIP2),
    "clip": lambda folder: open_clip_folder(folder, OPENAI),
    "dfn": lambda folder: open_clip_folder(folder, OPENAI),
    "embeddinggemma2:frames=3": once(embeddinggemma2_folder),
    "dinov3": lambda folder: timm_folder(
        folder, "vit_small_patch16_dinov3", 32, img_size=32, embed_dim=32, depth=2, num_heads=2
    ),
    "ircsn": lambda folder: saved(folder / "vmz.safetensors", csn("vmz")),
    "metaclip2": lambda folder: open_clip_folder(folder, SIGLIP),
    "mobileclip2": lambda folder: open_clip_folder(folder, PERCEPTION),
    "open-clip": lambda folder: open_clip_folder(folder, OPENAI),
    "pe-av:frames=3": once(pe_av_folder),
    "pe-core": lambda folder: open_clip_folder(folder, PERCEPTION),
    "qwen3-vl-embedding:frames=3": once(qwen3_vl_embedding_folder),
    "siglip2": lambda folder: open_clip_folder(folder, SIGLIP),
    "timm:test_vit.r160_in1k": timm_file,
    "teachclip": student_file,
    "tipsv2": once(tipsv2_folder),
    "video-llama": video_llama_folder,
    "videoprism": once(videoprism_folder),
    "vjepa2:frames=4": lambda folder: hugging_face_folder(folder, "VJEPA2Model", VJEPA2),
    "wsl": lambda folder: saved(folder / "wsl.safetensors", resnext()),
    "microsoft-xclip": lambda folder: hugging_face_folder(folder, "XCLIPModel", XCLIP),
}
VARIANTS: dict[str, Callable[[Path], Path]] = {
    "blip2:reduce=none": MAKERS["blip2"],
    "blip2:reduce=first": MAKERS["blip2"],
    "clip:vit-l14-336": MAKERS["clip"],
    "ircsn:frames=8,crops=10": MAKERS["ircsn"],
    "ircsn:mmaction,frames=16": lambda folder: saved(folder / "mmaction.safetensors", csn("mmaction")),
    "video-llama:frames=4,reduce=first": MAKERS["video-llama"],
    "wsl:crops=10": MAKERS["wsl"],
}
