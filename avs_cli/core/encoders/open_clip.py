"""Any model of open_clip, as `open-clip:NAME/PRETRAINED` from its list of pretrained models."""

from typing import Literal

from avs_cli.core.encoders import Runtime
from avs_cli.core.encoders.open_clip_models import FILES, TOKENIZER, OpenClip, encoder
from avs_cli.errors import SpecError, UnknownName
from avs_cli.types import Source

REMARK = "the named model: open-clip:NAME/PRETRAINED, as listed by open_clip"


def load(
    runtime: Runtime,
    model: str = "ViT-B-32-quickgelu/openai",
    output: Literal["sentence", "words"] = "sentence",
    words: int = 32,
) -> OpenClip:
    """The model of this architecture with these published weights.

    output, words  as for clip
    """
    import open_clip

    name, _, tag = model.partition("/")
    if name not in open_clip.list_models():
        raise UnknownName("open_clip model", name, open_clip.list_models())
    tags = open_clip.list_pretrained_tags_by_model(name)
    if tag not in tags:
        raise UnknownName(f"pretrained {name}", tag, tags)
    published = open_clip.get_pretrained_cfg(name, tag)
    if bool(published.get("quick_gelu")) != bool(open_clip.get_model_config(name).get("quick_gelu")):
        other = name.removesuffix("-quickgelu") if name.endswith("-quickgelu") else f"{name}-quickgelu"
        raise SpecError(f"{model} was trained with the other GELU and would give wrong vectors; use {other}/{tag}")
    repo = published.get("hf_hub", "").rstrip("/")
    urls = (published["url"],) if not repo else ()
    return encoder(runtime, name, tag, Source(0.0, repo, FILES + TOKENIZER, urls), output, words)
