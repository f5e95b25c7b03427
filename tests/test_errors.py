"""Messages that say what is wrong, where, and the cure."""

import pytest

from avs_cli.errors import FormatError, UnknownName


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("rrff", ["borda", "rrf"], "did you mean 'rrf'?"),
        ("zzz", ["rrf", "borda"], "known: borda, rrf"),
        ("zzz", [], "known: none"),
    ],
)
def test_an_unknown_name_brings_the_nearest_or_all(name: str, known: list[str], hint: str) -> None:
    assert str(UnknownName("fusion method", name, known)) == f"unknown fusion method {name!r}; {hint}"


def test_a_format_error_reads_like_a_compilers_with_and_without_a_line() -> None:
    assert str(FormatError("tv21.run", "'high' is not a number", 17)) == "tv21.run:17: 'high' is not a number"
    assert str(FormatError("tv21.run", "empty")) == "tv21.run: empty"
