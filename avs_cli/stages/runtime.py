"""How encoders run in every stage: where, on how many threads, with which weights and which cache."""

from avs_cli.core.encoders import Runtime
from avs_cli.io import weights as reader
from avs_cli.io.cache import remembered


def runtime(device: str = "cpu", threads: int = 1, weights: str | None = None, precision: str = "auto") -> Runtime:
    """The runtime of an encoder, which keeps what is slow to compute in the user's cache; see `Runtime`.

    device, threads  as `core.device.prepare` chose them
    """
    return Runtime(reader, device, threads, weights, remembered, precision)
