"""ir-CSN-152 trained on IG-65M (Ghadiyaram et al. 2019, arXiv:1905.00561): motion features of clips, 2048 dimensions.

Takes VMZ's or mmaction2's weights, each with its own pixel normalisation, recognised by the names of the tensors.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal

import torch
from torch import nn

from avs_cli.core.encoders import Runtime, _csn
from avs_cli.core.encoders.base import IMAGENET_MEAN, IMAGENET_STD, PublishedEncoder, grouped
from avs_cli.core.encoders.catalogue import Model
from avs_cli.errors import FormatError, SpecError
from avs_cli.types import Pixels, Sampling, Source

VMZ = "https://github.com/bjuncek/VMZ/releases/download/test_models/"
MMACTION = "https://download.openmmlab.com/mmaction/"
K400 = "ircsn_ig65m-pretrained-r152-bnfrozen_8xb12-32x2x1-58e_kinetics400-rgb"
MODELS = {
    "vmz": Model(
        dim=2048,
        frames=32,
        parameters=28.9,
        gmacs=74.0,
        licence="Apache-2.0",
        source=Source(0.12, urls=(VMZ + "irCSN_152_ig65m_from_scratch_f125286141.pth",)),
    ),
    "mmaction": Model(
        dim=2048,
        frames=32,
        parameters=28.9,
        gmacs=74.0,
        licence="Apache-2.0",
        source=Source(0.12, urls=(MMACTION + "recognition/csn/ircsn_from_scratch_r152_ig65m_20200807-771c4135.pth",)),
    ),
    "mmaction-k400": Model(
        dim=2048,
        frames=32,
        parameters=28.9,
        gmacs=74.0,
        licence="Apache-2.0",
        source=Source(0.12, urls=(MMACTION + f"v1.0/recognition/csn/{K400}/{K400}_20220811-7d1dacde.pth",)),
    ),
}

VMZ_MEAN, VMZ_STD = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)
AT_ONCE = 4  # clips; the early layers of one take 100 MB each


class IrCsn(PublishedEncoder):
    """Clips of `frames` frames, `interval` apart, to the average of the network's last stage."""

    half = torch.float16  # bfloat16 costs this narrow network twice the error

    def __init__(self, runtime: Runtime, model: str, source: Source, frames: int, interval: int, crops: int):
        super().__init__(runtime, model, source)
        self.sampling = Sampling(fps=None, clip=frames, interval=interval)
        self.pixels = Pixels(size=224, resize=256, interpolation="bilinear", crops=crops)

    @cached_property
    def names(self) -> Mapping[str, str]:
        """VMZ's names of the tensors, and the file's."""
        return {_csn.from_mmaction(_csn.bare(key)): key for key in self.files.keys}

    @cached_property
    def from_vmz(self) -> bool:
        """Whether the file is VMZ's; else it is mmaction2's."""
        if "stem.0.weight" not in self.names:
            raise FormatError(self.files.root, "not the weights of a channel-separated network (no stem)")
        return _csn.bare(self.names["stem.0.weight"]).startswith("stem.")

    @property
    def mean(self) -> tuple[float, ...]:  # type: ignore[override]
        """Of the pixels, as the network was trained."""
        return VMZ_MEAN if self.from_vmz else IMAGENET_MEAN

    @property
    def std(self) -> tuple[float, ...]:  # type: ignore[override]
        """Of the pixels, as the network was trained."""
        return VMZ_STD if self.from_vmz else IMAGENET_STD

    @cached_property
    def dim(self) -> int:  # type: ignore[override]
        """Length of the vectors."""
        return int(self.network.dim)

    @cached_property
    def weights(self) -> dict[str, torch.Tensor]:
        """All tensors by VMZ's names."""
        named = self.files.read()
        return {name: named[key] for name, key in self.names.items()}

    def build(self) -> nn.Module:
        """The network that fits the weights' shapes."""
        assert self.from_vmz in (True, False)
        return _csn.Csn(*_csn.shape({name: tensor.shape for name, tensor in self.weights.items()}))

    def tensors(self, part: tuple[str, ...]) -> Mapping[str, torch.Tensor]:
        """The weights by VMZ's names."""
        return self.weights

    def embed(self, pictures: torch.Tensor) -> torch.Tensor:
        """(B * crops * clip, 3, S, S) to (B, dim), the mean over the crops."""
        clips = grouped(pictures, self.sampling.clip).transpose(1, 2)
        network: Any = self.image_tower
        with self.autocast():
            vectors = torch.cat([network(part) for part in torch.split(clips, AT_ONCE)])
        assert self.pixels is not None
        return grouped(vectors, self.pixels.crops).mean(1)


def load(
    runtime: Runtime,
    source: Literal["vmz", "mmaction", "mmaction-k400"] = "vmz",
    frames: int = 32,
    interval: int = 2,
    crops: Literal[1, 10] = 1,
) -> IrCsn:
    """ir-CSN over clips of `frames` frames (a multiple of 8), `interval` source frames apart."""
    if frames < 8 or frames % 8 or interval < 1:
        raise SpecError(
            f"ircsn: frames={frames}, interval={interval}: frames must be a multiple of 8, interval at least 1"
        )
    return IrCsn(runtime, f"ir-CSN-152 {source}", MODELS[source].source, frames, interval, crops)
