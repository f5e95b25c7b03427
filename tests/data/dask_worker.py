"""What a Dask worker of the tests loads first (`dask worker --preload`): the tests' own encoders."""

from pathlib import Path

from avs_cli.core import encoders

encoders.__path__ = [*encoders.__path__, str(Path(__file__).with_name("encoders"))]
