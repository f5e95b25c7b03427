"""Any image encoder of timm, as `timm:NAME` from its list of pretrained models."""

from avs_cli.core.encoders import Runtime
from avs_cli.core.encoders._timm import FILES, Timm
from avs_cli.errors import UnknownName
from avs_cli.types import Source

REMARK = "the named model: timm:NAME, as listed by timm"


def load(runtime: Runtime, model: str = "vit_base_patch16_224.augreg2_in21k_ft_in1k") -> Timm:
    """The network with these published weights, without its classifier."""
    import timm

    published = timm.get_pretrained_cfg(model) if model in timm.list_models(pretrained=True) else None
    if published is None:
        raise UnknownName("timm model", model, timm.list_models(pretrained=True))
    return Timm(runtime, model, Source(0.0, published.hf_hub_id, FILES))
