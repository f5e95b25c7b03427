"""Small random weights of every feature, on disk in the layout in which the full ones are published."""

import json
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


# Spec -> what puts its weights into a folder, and gives what --weights takes.
MAKERS: dict[str, Callable[[Path], Path]] = {
    "beit": lambda folder: timm_folder(
        folder, "beit_base_patch16_224", 32, img_size=32, patch_size=16, embed_dim=24, depth=2, num_heads=2
    ),
    "blip": lambda folder: hugging_face_folder(folder, "BlipForImageTextRetrieval", BLIP),
    "blip2": lambda folder: hugging_face_folder(folder, "Blip2ForImageTextRetrieval", BLIP2),
    "clip": lambda folder: open_clip_folder(folder, OPENAI),
    "dfn": lambda folder: open_clip_folder(folder, OPENAI),
    "dinov3": lambda folder: timm_folder(
        folder, "vit_small_patch16_dinov3", 32, img_size=32, embed_dim=32, depth=2, num_heads=2
    ),
    "ircsn": lambda folder: saved(folder / "vmz.safetensors", csn("vmz")),
    "metaclip2": lambda folder: open_clip_folder(folder, SIGLIP),
    "mobileclip2": lambda folder: open_clip_folder(folder, PERCEPTION),
    "open-clip": lambda folder: open_clip_folder(folder, OPENAI),
    "pe-core": lambda folder: open_clip_folder(folder, PERCEPTION),
    "siglip2": lambda folder: open_clip_folder(folder, SIGLIP),
    "timm:test_vit.r160_in1k": timm_file,
    "teachclip": student_file,
    "video-llama": video_llama_folder,
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
