"""ResNeXt-101 32x48d WSL, pretrained on tagged images (Mahajan et al. 2018, arXiv:1805.00932): 2048 dimensions.

With `crops=10`, vectors are averaged over the four corners, the centre and their mirror images, as in RUC's tools.
Weights of any other ResNet or ResNeXt with torchvision's names are accepted too; the architecture follows from them.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import torch
from torch import nn

from avs_cli.core.encoders import Runtime
from avs_cli.core.encoders.base import IMAGENET_MEAN, IMAGENET_STD, PublishedEncoder, grouped
from avs_cli.core.encoders.catalogue import Model
from avs_cli.errors import FormatError
from avs_cli.types import Pixels, Source

URL = "https://download.pytorch.org/models/ig_resnext101_"
MODELS = {
    "32x48d": Model(
        dim=2048,
        parameters=826.4,
        gmacs=153.3,
        licence="CC-BY-NC-4.0",
        source=Source(3.3, urls=(URL + "32x48-3e41cc8a.pth",)),
    ),
    "32x32d": Model(
        dim=2048,
        parameters=466.5,
        gmacs=87.1,
        licence="CC-BY-NC-4.0",
        source=Source(1.9, urls=(URL + "32x32-e4b90b00.pth",)),
    ),
    "32x16d": Model(
        dim=2048,
        parameters=192.0,
        gmacs=36.2,
        licence="CC-BY-NC-4.0",
        source=Source(0.78, urls=(URL + "32x16-c6f796b0.pth",)),
    ),
    "32x8d": Model(
        dim=2048,
        parameters=86.7,
        gmacs=16.4,
        licence="CC-BY-NC-4.0",
        source=Source(0.36, urls=(URL + "32x8-c38310e5.pth",)),
    ),
}


class Wsl(PublishedEncoder):
    """Frames to the network's average-pooled last layer."""

    half = torch.float16
    mean, std = IMAGENET_MEAN, IMAGENET_STD

    def __init__(self, runtime: Runtime, model: str, source: Source, crops: int):
        super().__init__(runtime, model, source)
        self.pixels = Pixels(size=224, resize=256, interpolation="bilinear", crops=crops)

    @cached_property
    def weights(self) -> Mapping[str, torch.Tensor]:
        """All tensors but the classifier's."""
        return self.files.read(lambda key: not key.startswith("fc."))

    def tensors(self, part: tuple[str, ...]) -> Mapping[str, torch.Tensor]:
        """All tensors but the classifier's."""
        return self.weights

    def build(self) -> nn.Module:
        """The network that fits the weights' shapes."""
        if "layer1.0.conv3.weight" not in self.weights:
            raise FormatError(self.files.root, "not the weights of a ResNeXt under torchvision's names")
        return resnext(*shape({name: tensor.shape for name, tensor in self.weights.items()}))

    @cached_property
    def dim(self) -> int:  # type: ignore[override]
        """Length of the vectors."""
        return int(self.weights["layer4.0.conv3.weight"].shape[0])

    def embed(self, pictures: torch.Tensor) -> torch.Tensor:
        """(B * crops, 3, S, S) to (B, dim), the mean over the crops."""
        assert self.pixels is not None
        network: Any = self.image_tower
        crops = grouped(pictures, self.pixels.crops)
        with self.autocast():
            vectors = [
                network(crops[:, index].contiguous(memory_format=torch.channels_last)).float()
                for index in range(self.pixels.crops)
            ]
        return torch.stack(vectors).mean(0)


def resnext(blocks: Sequence[int], groups: int, width_per_group: int) -> nn.Module:
    """torchvision's ResNeXt up to the average pool."""
    from torchvision.models.resnet import Bottleneck, ResNet

    network: Any = ResNet(Bottleneck, list(blocks), groups=groups, width_per_group=width_per_group)
    network.fc = nn.Identity()
    return network  # type: ignore[no-any-return]


def shape(tensors: Mapping[str, Sequence[int]]) -> tuple[tuple[int, ...], int, int]:
    """Blocks per stage, groups and width of a group, from the tensors' shapes."""
    counts = [0, 0, 0, 0]
    for key in tensors:
        if found := re.match(r"layer([1-4])\.(\d+)\.", key):
            counts[int(found[1]) - 1] = max(counts[int(found[1]) - 1], int(found[2]) + 1)
    width, share = tensors["layer1.0.conv2.weight"][:2]
    return tuple(counts), width // share, share


def load(
    runtime: Runtime, size: Literal["32x48d", "32x8d", "32x16d", "32x32d"] = "32x48d", crops: Literal[1, 10] = 1
) -> Wsl:
    """The ResNeXt-101 of this size; 10 crops cost ten times as much, for a small gain."""
    return Wsl(runtime, f"ResNeXt-101 {size} WSL", MODELS[size].source, crops)
