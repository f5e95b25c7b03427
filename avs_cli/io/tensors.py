"""Writing of safetensors files."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from avs_cli.io.atomic import replacing


def save(path: str | Path, tensors: Mapping[str, torch.Tensor], header: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file atomically. Raises OSError, also if the disk is full."""
    with replacing(path) as part:
        try:
            save_file(dict(tensors), part, dict(header) if header is not None else None)
        except SafetensorError as error:
            code = re.search(r"os error (\d+)", str(error))
            if code is None:
                raise
            raise OSError(int(code[1]), os.strerror(int(code[1])), str(path)) from None
