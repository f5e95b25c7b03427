"""Which differences of provenance refuse a comparison, which are warned of, and which say nothing."""

from typing import Any

import pytest

from avs_cli.errors import MismatchError
from avs_cli.io.store.compatibility import Comparison, differences, is_imported

CLIP: dict[str, Any] = {
    "model": "ViT-B-32/openai",
    "weights": "ab12",
    "spec": "clip",
    "precision": "fp32",
    "dtype": "float16",
    "pooling": "mean",
    "frame_norm": "none",
    "mean": [0.5, 0.5, 0.5],
    "pixels": {"size": 224, "resize": 224, "interpolation": "bicubic", "crops": 1},
    "sampling": {"fps": 2.0, "count": None, "clip": 1, "interval": 1, "max_frames": None},
    "versions": {"avs": "1", "torch": "2.9"},
}
TEXT = {key: CLIP[key] for key in ("model", "weights", "precision", "dtype", "mean", "spec")} | {"pooling": "none"}


def changed(key: str, value: Any) -> dict[str, Any]:
    """The provenance with one value changed, `None` for an absent one; a dot leads into a group."""
    group, _, inner = key.partition(".")
    return {**CLIP, group: {**CLIP[group], inner: value}} if inner else {**CLIP, group: value}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model", "ViT-L-14/openai"),
        ("weights", "cd34"),
        ("pooling", "max"),
        ("pooling", None),
        ("frame_norm", "l2"),
        ("mean", [0.4, 0.5, 0.5]),
        ("pixels.size", 336),
        ("pixels.resize", None),
        ("pixels.crops", 10),
        ("sampling.fps", None),
        ("sampling.count", 12),
        ("sampling.clip", 16),
        ("sampling.interval", 2),
        ("field", "narrative"),
        ("anything", "new"),
    ],
)
def test_what_changes_the_meaning_of_vectors_is_refused_unless_it_is_forced(key: str, value: Any) -> None:
    other, heard = changed(key, value), []
    with pytest.raises(MismatchError, match=f"^a and b do not fit: {key} is .*; use --it$"):
        Comparison(heard.append, cure="use --it").alike("a", CLIP, "b", other, "a and b do not fit")
    assert heard == []
    forced = Comparison(heard.append, force=True)
    for _ in range(3):
        forced.alike("a", CLIP, "b", other, "a and b do not fit")
    assert len(heard) == 1 and heard[0].startswith(f"a and b do not fit: {key} is ")


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("dtype", "float32", 'dtype ("float16" and "float32")'),
        ("precision", "bf16", 'precision ("fp32" and "bf16")'),
        ("spec", "open-clip:ViT-B-32/openai", 'spec ("clip" and "open-clip:ViT-B-32/openai")'),
        ("sampling.fps", 1.0, "sampling.fps (2.0 and 1.0)"),
        ("sampling.max_frames", 8, "sampling.max_frames (null and 8)"),
        ("versions.torch", "2.10", 'versions.torch ("2.9" and "2.10")'),
    ],
)
def test_what_changes_digits_is_warned_of_once(key: str, value: Any, told: str) -> None:
    heard: list[str] = []
    comparison = Comparison(heard.append)
    for name in "bcd":
        comparison.alike("a", CLIP, name, changed(key, value), "a and it do not fit")
    assert heard == [f"a and b differ in {told}; scores may differ slightly"]


@pytest.mark.parametrize("other", [CLIP, changed("versions.av", "17")])
def test_what_says_nothing_about_the_vectors_is_passed_over(other: dict[str, Any]) -> None:
    heard: list[str] = []
    Comparison(heard.append).alike("a", CLIP, "b", other, "a and b do not fit")
    assert heard == [] and differences(CLIP, other) == []


def test_of_several_differences_one_of_meaning_is_named() -> None:
    found = differences(CLIP, {**changed("dtype", "float32"), "weights": "cd34"})
    assert [(one.key, one.meaning) for one in found] == [("weights", True), ("dtype", False)]


def test_imported_vectors_are_taken_to_fit_with_one_warning() -> None:
    imported = {"model": "clip_b32_v3c"}
    assert is_imported(imported) and not is_imported(CLIP)
    heard: list[str] = []
    comparison = Comparison(heard.append)
    comparison.alike("big", imported, "own", CLIP, "they do not fit")
    comparison.ends("own", CLIP, "big", imported, "they do not fit")
    assert heard == ["big has no provenance; assuming that its vectors match those of own"]
    with pytest.raises(MismatchError, match="model is"):
        comparison.alike("big", imported, "other", {"model": "blip2_v3c"}, "they do not fit")


def test_texts_and_shots_are_compared_in_what_they_share() -> None:
    heard: list[str] = []
    comparison = Comparison(heard.append)
    comparison.ends("t", {**TEXT, "field": "both"}, "g", {**CLIP, "dtype": "float32"}, "they do not fit")
    assert heard == []
    comparison.ends("t", {**TEXT, "precision": "bf16"}, "g", CLIP, "they do not fit")
    assert heard == ['t and g differ in precision ("bf16" and "fp32"); scores may differ slightly']
    nested = {"model": "ConSE", "spec": "conse", "text": {"weights": "ab", "precision": "fp32"}}
    comparison.ends("t", nested, "g", {**nested, "text": {"weights": "ab", "precision": "fp16"}}, "they do not fit")
    assert len(heard) == 2
    with pytest.raises(MismatchError, match=r"text\.weights is"):
        comparison.ends("t", nested, "g", {**nested, "text": {"weights": "cd"}}, "they do not fit")
