"""The device of a reader whose library is not torch."""

import re

from avs_cli.errors import SpecError, UnavailableError


def placed(device: str, gpus: int, reader: str, cure: str) -> tuple[str, int]:
    """ "cpu" or "cuda", and the number of the GPU.

    device  as users name it: auto, cpu, cuda, cuda:1
    gpus    how many GPUs the library sees
    cure    what makes it see one

    Raises SpecError for another device, UnavailableError for a GPU that is not there.
    """
    if device == "auto":
        return ("cuda" if gpus else "cpu"), 0
    match = re.fullmatch(r"(cpu|cuda)(?::(\d+))?", device)
    if not match:
        raise SpecError(f"{reader} runs on cpu, cuda or cuda:1, not on {device!r}; or use auto")
    number = int(match[2] or 0)
    if match[1] == "cuda" and number >= gpus:
        raise UnavailableError(f"{reader} sees {gpus or 'no'} GPU{'s' * (gpus > 1)} here; use --device cpu, or {cure}")
    return match[1], number
