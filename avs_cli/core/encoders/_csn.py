"""Channel-separated 3D residual networks (Tran et al. 2019, arXiv:1904.02811): ir-CSN and ip-CSN of any depth.

No maintained library has them. The names of the tensors are those of VMZ's files; `from_mmaction` gives them to
mmaction2's.
"""

import re
from collections.abc import Mapping, Sequence

import torch
from torch import nn

EPSILON = 1e-3  # of all batch normalisations; with the default 1e-5, features differ by a tenth


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution without bias, and its normalisation."""
    return [
        nn.Conv3d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm3d(outputs, EPSILON),
    ]


class Bottleneck(nn.Module):
    """1×1×1, depthwise 3×3×3, 1×1×1; "interaction-preserving" has one more 1×1×1 before the depthwise one."""

    def __init__(self, inputs: int, planes: int, stride: int, first: bool, preserving: bool):
        super().__init__()
        mixing = convolution(planes, planes, 1) if preserving else []
        self.conv1 = nn.Sequential(*convolution(inputs, planes, 1), nn.ReLU(inplace=True))
        self.conv2 = nn.Sequential(*mixing, *convolution(planes, planes, 3, stride, planes), nn.ReLU(inplace=True))
        self.conv3 = nn.Sequential(*convolution(planes, 4 * planes, 1))
        self.downsample = nn.Sequential(*convolution(inputs, 4 * planes, 1, stride)) if first else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (N, inputs, T, H, W)
        change: torch.Tensor = self.conv3(self.conv2(self.conv1(x)))
        return torch.relu(change + self.downsample(x))


class Csn(nn.Module):
    """Clips to vectors: (N, 3, T, H, W) to (N, 32 * width), the average over time and space of the last stage."""

    def __init__(self, blocks: Sequence[int] = (3, 8, 36, 3), width: int = 64, preserving: bool = False):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv3d(3, width, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False),
            nn.BatchNorm3d(width, EPSILON),
            nn.ReLU(inplace=True),
        )
        self.pool = nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))
        inputs = width
        for stage, count in enumerate(blocks):
            planes = width * 2**stage
            made = []
            for index in range(count):
                stride = 2 if stage and not index else 1
                made.append(Bottleneck(inputs, planes, stride, not index, preserving))
                inputs = 4 * planes
            setattr(self, f"layer{stage + 1}", nn.Sequential(*made))
        self.dim = inputs

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.stem(clips))
        for stage in range(1, 5):
            x = getattr(self, f"layer{stage}")(x)
        vectors: torch.Tensor = x.float().mean((2, 3, 4))
        return vectors


def shape(keys: Mapping[str, Sequence[int]]) -> tuple[tuple[int, ...], int, bool]:
    """Blocks per stage, width, and whether ip-CSN, from VMZ's names with the tensors' shapes."""
    counts = [0, 0, 0, 0]
    for key in keys:
        if found := re.match(r"layer([1-4])\.(\d+)\.", key):
            counts[int(found[1]) - 1] = max(counts[int(found[1]) - 1], int(found[2]) + 1)
    return tuple(counts), keys["stem.0.weight"][0], "layer1.0.conv2.2.weight" in keys


def bare(key: str) -> str:
    """A name without prefixes of training code."""
    return re.sub(r"^(module\.)?(backbone\.)?", "", key)


def from_mmaction(key: str) -> str:
    """VMZ's name for mmaction2's; other names as they are."""
    key = re.sub(r"^conv1\.(conv|bn)\.", lambda part: f"stem.{int(part[1] == 'bn')}.", key)
    key = re.sub(r"\.conv2\.(\d)\.(conv|bn)\.", lambda part: f".conv2.{2 * int(part[1]) + (part[2] == 'bn')}.", key)
    return re.sub(r"\.(conv1|conv3|downsample)\.(conv|bn)\.", lambda part: f".{part[1]}.{int(part[2] == 'bn')}.", key)
