"""What transformers reads from a folder of weights. Whoever made the folder, none of its code runs."""

from pathlib import Path
from typing import Any

import torch

from avs_cli.errors import FormatError


def tokenizer(folder: Path) -> Any:
    """Its tokenizer; FormatError where there is none that transformers knows."""
    from transformers import AutoTokenizer

    return _read(AutoTokenizer, folder, "tokenizer")


def network(folder: Path) -> Any:
    """Its network in single precision, from safetensors; FormatError for what is none that transformers knows."""
    from transformers import AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    return _read(AutoModel, folder, "network", dtype=torch.float32, use_safetensors=True).eval()


def never_ask() -> None:
    """Have transformers refuse a folder's code where a library calls it without saying so, instead of asking stdin."""
    from transformers import dynamic_module_utils

    dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0


def _read(reader: Any, folder: Path, what: str, **settings: Any) -> Any:
    try:
        # The folder is local; transformers would still ask a hub about it.
        return reader.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **settings)
    except (AttributeError, ImportError, KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
        said = " ".join(str(error).split(". ")[0].split())
        raise FormatError(folder, f"no {what} that transformers can read ({said})") from None
