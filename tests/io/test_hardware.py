"""Decoding by hardware is refused in one line where there is none; no test decodes by any."""

import pytest
from av.codec.hwaccel import hwdevices_available

from avs_cli.errors import UnavailableError, UnknownName
from avs_cli.io.video import hardware
from avs_cli.stages.extraction import Extraction
from avs_cli.types import Facts, Pixels, Sampling


def test_unknown_hardware_is_named_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="unknown hardware decoder 'nvdec'"):
        hardware.check_hardware("nvdec")


@pytest.mark.parametrize("kind", hwdevices_available())
def test_hardware_that_is_not_there_is_refused_in_one_line(kind: str) -> None:
    try:
        hardware.check_hardware(kind)
    except UnavailableError as error:
        assert "\n" not in str(error)
        assert "leave out --hwaccel" in str(error)


def test_a_store_records_the_hardware_and_only_where_it_is_used(tmp_path: object) -> None:
    facts = Facts(4, Pixels(8, None), Sampling(), "mean", {"model": "colour"})
    provenances = [
        Extraction(
            "colour", f"{tmp_path}/a.h5", "colour", None, "cpu", "fp32", None, None, None, "none", "float16", hwaccel
        )
        .writer(facts)
        .provenance
        for hwaccel in ("", "cuda")
    ]
    assert ["hwaccel" in provenance for provenance in provenances] == [False, True]
