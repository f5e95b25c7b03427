"""Equal inputs are described by equal text, wherever they lie."""

import json
from importlib.metadata import version
from pathlib import Path

from avs_cli.provenance import describe, digest, versions
from avs_cli.types import Pixels, Sampling


def test_the_digest_of_a_file_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert digest(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_the_digest_of_a_folder_follows_names_and_contents_not_place_or_order(tmp_path: Path) -> None:
    def folder(name: str, *files: tuple[str, str]) -> str:
        for path, text in files:
            (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / path).write_text(text)
        return digest(tmp_path / name)

    one = folder("one", ("a", "1"), ("sub/b", "2"))
    assert folder("two", ("sub/b", "2"), ("a", "1")) == one
    assert folder("three", ("a", "1"), ("sub/c", "2")) != one
    assert folder("four", ("a", "1"), ("sub/b", "3")) != one
    assert folder("five", ("a", "1")) != one


def test_versions_are_the_installed_ones_and_absent_packages_are_left_out() -> None:
    assert versions("numpy", "no-such-package-anywhere") == {"numpy": version("numpy")}


def test_a_store_tells_all_that_decides_its_vectors(tmp_path: Path) -> None:
    feature = {"weights": {"model.pt": "00ff"}, "model": "tiny"}
    told = describe(feature, "tiny:b16", "mean", "float16", {"torch": "2"}, Pixels(224, 256), Sampling(fps=1.0))
    text = json.dumps(told)
    for wanted in ('"tiny"', "00ff", "tiny:b16", '"mean"', "float16", '"size": 224', '"fps": 1.0', '"torch": "2"'):
        assert wanted in text
    again = describe(
        dict(reversed(feature.items())),
        "tiny:b16",
        "mean",
        "float16",
        {"torch": "2"},
        Pixels(224, 256),
        Sampling(fps=1.0),
    )
    assert json.dumps(again) == text
    assert "sampling" not in describe(feature, "tiny", "mean", "float16", {})
