"""A registry is a folder: names are files, specs bind keyword parameters."""

import sys
from pathlib import Path
from typing import Any

import pytest

from avs_cli.core.encoders import encoders
from avs_cli.core.registry import Registry
from avs_cli.errors import SpecError, UnknownName

METHOD = """
from typing import Literal

def fuse(runs, k: int = 60, norm: Literal["none", "minmax"] = "none", decay: float | None = None, deep: bool = False):
    return runs, k, norm, decay, deep
"""


@pytest.fixture
def methods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    folder = tmp_path / "fusing_methods"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "rrf.py").write_text(METHOD)
    (folder / "learned_weights.py").write_text("def fuse(runs):\n    return 'learned'\n")
    (folder / "broken.py").write_text("raise RuntimeError('imported')\n")
    (folder / "_helper.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == "fusing_methods"]:
        monkeypatch.delitem(sys.modules, name)
    return Registry("fusion method", "fusing_methods", "fuse")


def test_names_are_files_with_hyphens_and_none_is_imported(methods: Registry) -> None:
    assert methods.names() == ["broken", "learned-weights", "rrf"]


def test_a_spec_is_known_by_its_name_alone_and_its_module_is_not_imported(methods: Registry) -> None:
    assert [methods.knows(spec) for spec in ("rrf", "rrf:k=5", "broken:x", "learned_weights")] == [True] * 4
    assert [methods.knows(spec) for spec in ("", "rrf.h5", "rr", "k:rrf", "_helper")] == [False] * 5


@pytest.mark.parametrize(
    ("spec", "bound"),
    [
        ("rrf", ("runs", 60, "none", None, False)),
        ("rrf:k=5", ("runs", 5, "none", None, False)),
        ("rrf:5", ("runs", 5, "none", None, False)),
        ("rrf:k=5,norm=minmax", ("runs", 5, "minmax", None, False)),
        ("rrf:decay=0.5,deep=true", ("runs", 60, "none", 0.5, True)),
        ("rrf:decay=none", ("runs", 60, "none", None, False)),
    ],
)
def test_a_spec_binds_parameters_by_their_annotations(methods: Registry, spec: str, bound: tuple[Any, ...]) -> None:
    assert methods.load(spec)("runs") == bound


def test_a_name_with_a_hyphen_is_the_file_with_an_underscore(methods: Registry) -> None:
    assert methods.load("learned-weights")("runs") == "learned"
    assert methods.module("learned-weights").__name__ == "fusing_methods.learned_weights"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("rrf:k=x", "fusion method 'rrf:k=x': k: 'x' is not an int"),
        ("rrf:decay=x", "fusion method 'rrf:decay=x': decay: 'x' is not a float"),
        ("rrf:norm=zscore", "fusion method 'rrf:norm=zscore': norm: 'zscore' is not one of none, minmax"),
        ("rrf:deep=yes", "fusion method 'rrf:deep=yes': deep: 'yes' is not true or false"),
        ("rrf:z=1", "fusion method 'rrf' has no parameter 'z'; it has: k, norm, decay, deep"),
        ("rrf:runs=1", "fusion method 'rrf' has no parameter 'runs'; it has: k, norm, decay, deep"),
        ("rrf:k=1,minmax", "fusion method 'rrf:k=1,minmax': write rrf:key=value; keys: k, norm, decay, deep"),
        ("learned-weights:5", "fusion method 'learned-weights:5': write learned-weights:key=value; keys: none"),
    ],
)
def test_a_parameter_that_means_nothing_is_refused(methods: Registry, spec: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        methods.load(spec)
    assert str(caught.value) == message


@pytest.mark.parametrize("spec", ["rff", "_helper", "__init__", "", "fusing_methods"])
def test_a_name_without_a_file_is_unknown(methods: Registry, spec: str) -> None:
    with pytest.raises(UnknownName):
        methods.load(spec)
    with pytest.raises(UnknownName):
        methods.module(spec)


def test_a_former_name_says_the_new_one() -> None:
    for spec in ("x-clip", "x_clip:base"):
        with pytest.raises(SpecError, match="encoder 'x-clip' is now called 'microsoft-xclip'"):
            encoders.load(spec)
    assert "microsoft-xclip" in encoders.names() and "x-clip" not in encoders.names()
