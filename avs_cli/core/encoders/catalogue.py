"""Table of the published models behind the features: output, cost, licence and download.

Dimensions, parameters and multiply-adds were measured on the models' full-size code; sizes follow from the parameters.
What a feature stores is read from the loaded model, never from here.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from avs_cli.types import Source


class Model(NamedTuple):
    """One published model.

    feature     the registry's name, with the variant where there are several: as `--model` takes it
    builds      the name under which a library builds it
    dim         dimension of its vectors
    frames      number of frames per vector; 0 for a text encoder
    text        whether it encodes text into the same space
    parameters  millions, of what is loaded
    gmacs       billions of multiply-adds per frame or clip
    licence     of the weights
    source      where they are published
    """

    feature: str
    builds: str
    dim: int
    frames: int
    text: bool
    parameters: float
    gmacs: float
    licence: str
    source: Source


TIMM = ("config.json", "model.safetensors")
OPEN_CLIP = ("open_clip_config.json", "open_clip_model.safetensors")
TOKENIZER = ("tokenizer*", "special_tokens_map.json", "vocab*", "merges.txt", "sentencepiece*")

_WSL = "https://download.pytorch.org/models/ig_resnext101_"
_VMZ = "https://github.com/bjuncek/VMZ/releases/download/test_models/"
_MMACTION = "https://download.openmmlab.com/mmaction/"
_K400 = "ircsn_ig65m-pretrained-r152-bnfrozen_8xb12-32x2x1-58e_kinetics400-rgb"
_LAVIS = "https://storage.googleapis.com/sfr-vision-language-research/LAVIS/models/BLIP2/"
_DAMO = "https://huggingface.co/DAMO-NLP-SG/Video-LLaMA-Series/resolve/main/"

_NC, _APACHE, _MIT, _BSD = "CC-BY-NC-4.0", "Apache-2.0", "MIT", "BSD-3-Clause"
_DINO = "DINOv3 licence, must be accepted"


def _urls(gigabytes: float, *urls: str) -> Source:
    return Source(gigabytes, urls=urls)


def _hub(gigabytes: float, repo: str) -> Source:
    return Source(gigabytes, repo)


def _timm(gigabytes: float, repo: str) -> Source:
    return Source(gigabytes, repo, TIMM)


def _clip(gigabytes: float, repo: str) -> Source:
    return Source(gigabytes, repo, OPEN_CLIP)


def _spoken(gigabytes: float, repo: str) -> Source:
    """A model of open_clip's whose tokenizer is downloaded too."""
    return Source(gigabytes, repo, OPEN_CLIP + TOKENIZER)


# The first model of a feature is its default. Models without a download come with avs.
# feature, builds, dim, frames, text, millions of parameters, GMACs, licence,
#     source: gigabytes, where
ROWS = (
    Model("conse", "", 384, 1, True, 27.4, 0.4, _APACHE,
          Source(0)),
    Model("minilm", "", 384, 0, True, 22.7, 0, _APACHE,
          Source(0)),
    Model("wsl:32x48d", "", 2048, 1, False, 826.4, 153.3, _NC,
          _urls(3.3, _WSL + "32x48-3e41cc8a.pth")),
    Model("wsl:32x32d", "", 2048, 1, False, 466.5, 87.1, _NC,
          _urls(1.9, _WSL + "32x32-e4b90b00.pth")),
    Model("wsl:32x16d", "", 2048, 1, False, 192.0, 36.2, _NC,
          _urls(0.78, _WSL + "32x16-c6f796b0.pth")),
    Model("wsl:32x8d", "", 2048, 1, False, 86.7, 16.4, _NC,
          _urls(0.36, _WSL + "32x8-c38310e5.pth")),
    Model("ircsn:vmz", "", 2048, 32, False, 28.9, 74.0, _APACHE,
          _urls(0.12, _VMZ + "irCSN_152_ig65m_from_scratch_f125286141.pth")),
    Model("ircsn:mmaction", "", 2048, 32, False, 28.9, 74.0, _APACHE,
          _urls(0.12, _MMACTION + "recognition/csn/ircsn_from_scratch_r152_ig65m_20200807-771c4135.pth")),
    Model("ircsn:mmaction-k400", "", 2048, 32, False, 28.9, 74.0, _APACHE,
          _urls(0.12, _MMACTION + f"v1.0/recognition/csn/{_K400}/{_K400}_20220811-7d1dacde.pth")),
    Model("beit:224", "beit_large_patch16_224.in22k_ft_in22k", 1024, 1, False, 303.4, 61.6, _APACHE,
          _timm(1.3, "timm/beit_large_patch16_224.in22k_ft_in22k")),
    Model("beit:512", "beit_large_patch16_512.in22k_ft_in22k_in1k", 1024, 1, False, 304.6, 362.0, _APACHE,
          _timm(1.2, "timm/beit_large_patch16_512.in22k_ft_in22k_in1k")),
    Model("clip:vit-b32", "ViT-B-32-quickgelu/openai", 512, 1, True, 151.3, 4.4, _MIT,
          _clip(0.61, "timm/vit_base_patch32_clip_224.openai")),
    Model("clip:vit-l14-336", "ViT-L-14-336-quickgelu/openai", 768, 1, True, 427.9, 191.0, _MIT,
          _clip(1.7, "timm/vit_large_patch14_clip_336.openai")),
    Model("blip:coco", "", 256, 1, True, 223.7, 55.5, _BSD,
          _hub(0.9, "Salesforce/blip-itm-base-coco")),
    Model("blip:flickr", "", 256, 1, True, 223.7, 55.5, _BSD,
          _hub(0.9, "Salesforce/blip-itm-base-flickr")),
    Model("blip2:pretrain", "", 256, 1, True, 1172.0, 266.7, _MIT,
          _hub(4.8, "Salesforce/blip2-itm-vit-g")),
    Model("blip2:coco", "", 256, 1, True, 1172.6, 729.0, _MIT,
          _hub(4.8, "Salesforce/blip2-itm-vit-g-coco")),
    Model("video-llama", "", 768, 8, False, 1110.1, 2135.0, "research, non-commercial",
          _urls(2.7, _LAVIS + "eva_vit_g.pth", _LAVIS + "blip2_pretrained_flant5xxl.pth",
                _DAMO + "finetune-vicuna7b-v2.pth")),
    Model("siglip2:so400m-384", "ViT-SO400M-16-SigLIP2-384/webli", 1152, 1, True, 1136.0, 259.5, _APACHE,
          _spoken(4.5, "timm/ViT-SO400M-16-SigLIP2-384")),
    Model("siglip2:so400m-512", "ViT-SO400M-16-SigLIP2-512/webli", 1152, 1, True, 1136.6, 489.8, _APACHE,
          _spoken(4.5, "timm/ViT-SO400M-16-SigLIP2-512")),
    Model("siglip2:so400m-14-378", "ViT-SO400M-14-SigLIP2-378/webli", 1152, 1, True, 1136.0, 335.2, _APACHE,
          _spoken(4.5, "timm/ViT-SO400M-14-SigLIP2-378")),
    Model("siglip2:gopt-384", "ViT-gopt-16-SigLIP2-384/webli", 1536, 1, True, 1871.9, 696.5, _APACHE,
          _spoken(7.5, "timm/ViT-gopt-16-SigLIP2-384")),
    Model("pe-core:l14-336", "PE-Core-L-14-336/meta", 1024, 1, True, 671.1, 192.2, _APACHE,
          _clip(2.7, "timm/PE-Core-L-14-336")),
    Model("pe-core:b16", "PE-Core-B-16/meta", 1024, 1, True, 447.7, 17.8, _APACHE,
          _clip(1.8, "timm/PE-Core-B-16")),
    Model("pe-core:bigg-448", "PE-Core-bigG-14-448/meta", 1280, 1, True, 2419.3, 2059.3, _APACHE,
          _clip(9.7, "timm/PE-Core-bigG-14-448")),
    Model("dfn:h14-378", "ViT-H-14-378-quickgelu/dfn5b", 1024, 1, True, 986.7, 503.5, "apple-ascl",
          _clip(3.9, "apple/DFN5B-CLIP-ViT-H-14-378")),
    Model("dfn:h14-224", "ViT-H-14-quickgelu/dfn5b", 1024, 1, True, 986.1, 167.3, "apple-ascl",
          _clip(3.9, "apple/DFN5B-CLIP-ViT-H-14")),
    Model("metaclip2:bigg-378", "ViT-bigG-14-worldwide-378/metaclip2_worldwide", 1280, 1, True, 3631.2, 1429.2, _NC,
          _spoken(14.5, "timm/vit_gigantic_patch14_clip_378.metaclip2_worldwide")),
    Model("metaclip2:h14", "ViT-H-14-worldwide-quickgelu/metaclip2_worldwide", 1024, 1, True, 1858.8, 167.3, _NC,
          _spoken(7.4, "timm/vit_huge_patch14_clip_224.metaclip2_worldwide")),
    Model("mobileclip2:s4", "MobileCLIP2-S4/dfndr2b", 768, 1, True, 445.4, 27.8, "apple-amlr",
          _clip(1.8, "timm/MobileCLIP2-S4-OpenCLIP")),
    Model("mobileclip2:l14", "MobileCLIP2-L-14/dfndr2b", 768, 1, True, 427.6, 81.0, "apple-amlr",
          _clip(1.7, "timm/MobileCLIP2-L-14-OpenCLIP")),
    Model("dinov3:l", "vit_large_patch16_dinov3.lvd1689m", 1024, 1, False, 303.1, 82.4, _DINO,
          _timm(1.2, "timm/vit_large_patch16_dinov3.lvd1689m")),
    Model("dinov3:b", "vit_base_patch16_dinov3.lvd1689m", 768, 1, False, 85.6, 23.6, _DINO,
          _timm(0.34, "timm/vit_base_patch16_dinov3.lvd1689m")),
    Model("dinov3:s", "vit_small_patch16_dinov3.lvd1689m", 384, 1, False, 21.6, 6.2, _DINO,
          _timm(0.086, "timm/vit_small_patch16_dinov3.lvd1689m")),
    Model("vjepa2", "", 1024, 16, False, 326.0, 827.9, _MIT,
          _hub(1.5, "facebook/vjepa2-vitl-fpc64-256")),
    Model("microsoft-xclip:large", "", 768, 8, True, 575.7, 650.2, _MIT,
          _hub(2.3, "microsoft/xclip-large-patch14")),
    Model("teachclip", "", 512, 12, True, 164.2, 53.1, "that of its CLIP model",
          Source(0, trained=True)),
    Model("microsoft-xclip:base", "", 512, 8, True, 196.6, 35.8, _MIT,
          _hub(0.79, "microsoft/xclip-base-patch32")),
)  # fmt: skip

MODELS = {row.feature: row for row in ROWS}

COLUMNS = ("model", "dim", "sees", "text", "M params", "GMACs", "licence", "downloads", "GB", "here")
ANY = {
    "open-clip": "the named model: open-clip:NAME/PRETRAINED, as listed by open_clip",
    "timm": "the named model: timm:NAME, as listed by timm",
}


def facts(names: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The facts on each model of the named features; for one not in the table, its name and a remark."""
    for name in names:
        rows = [row for row in ROWS if row.feature.partition(":")[0] == name]
        for row in rows:
            yield {
                "model": row.feature, "dim": row.dim, "frames": row.frames, "text": row.text,
                "parameters_millions": row.parameters, "gmacs": row.gmacs or None, "licence": row.licence,
                "downloads": [row.source.repo] if row.source.repo else list(row.source.urls),
                "gigabytes": row.source.gigabytes, "here": row.source.here(),
            }  # fmt: skip
        if not rows:
            yield {"model": name, "remark": ANY.get(name, "")}


def listing(names: Iterable[str]) -> Iterator[tuple[object, ...]]:
    """The same as rows of `COLUMNS`."""
    for known in facts(names):
        if "remark" in known:
            yield (known["model"], *[""] * 6, known["remark"], "", "")
            continue
        seen = {0: "", 1: "frame"}.get(known["frames"], f"{known['frames']} frames")
        told = " ".join(one.rpartition("/")[2] if "://" in one else one for one in known["downloads"]) or "nothing"
        yield (
            known["model"], known["dim"], seen, "yes" * known["text"], known["parameters_millions"],
            known["gmacs"] or "", known["licence"], told, known["gigabytes"] or "", "yes" * known["here"],
        )  # fmt: skip
