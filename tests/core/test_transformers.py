"""What encoders of transformers share: the version that they need."""

import pytest

from avs_cli.core.encoders import Runtime, encoders
from avs_cli.core.encoders._transformers import require
from avs_cli.errors import UnavailableError
from avs_cli.io import weights as reader


def test_an_older_transformers_is_refused_with_the_version_and_the_command() -> None:
    for installed in ("5.14.2", "4.57.1", "5.9"):
        with pytest.raises(UnavailableError) as raised:
            require("tipsv2", "5.15", installed)
        said = f"tipsv2 needs transformers 5.15 or newer, not {installed}: pip install 'transformers>=5.15'"
        assert str(raised.value) == said


@pytest.mark.parametrize("installed", ["5.15.0", "5.15.0.dev0", "5.24.0", "6.0"])
def test_the_needed_transformers_and_newer_ones_are_taken(installed: str) -> None:
    require("tipsv2", "5.15", installed)


@pytest.mark.parametrize(
    ("spec", "needed"), [("videoprism", "5.13"), ("tipsv2:b14", "5.15"), ("embeddinggemma2", "5.21")]
)
def test_an_encoder_says_so_before_it_looks_for_its_weights(
    spec: str, needed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda package: "5.12.1")
    with pytest.raises(UnavailableError, match=f"needs transformers {needed} or newer, not 5.12.1"):
        encoders.load(spec)(Runtime(reader, weights="nowhere"))
