"""What encoders of transformers share: the version they need."""

import pytest

from avs_cli.core.encoders._transformers import require
from avs_cli.errors import UnavailableError


def test_an_older_transformers_is_refused_with_the_version_and_the_command() -> None:
    for installed in ("5.14.2", "4.57.1", "5.9"):
        with pytest.raises(UnavailableError) as raised:
            require("tipsv2", "5.15", installed)
        said = f"tipsv2 needs transformers 5.15 or newer, not {installed}: pip install 'transformers>=5.15'"
        assert str(raised.value) == said


@pytest.mark.parametrize("installed", ["5.15.0", "5.15.0.dev0", "5.24.0", "6.0"])
def test_the_needed_transformers_and_newer_ones_are_taken(installed: str) -> None:
    require("tipsv2", "5.15", installed)
