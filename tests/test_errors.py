"""Messages that say what is wrong, where, and the cure."""

import pickle

import pytest

from avs_cli.errors import AvsError, FormatError, UnknownName


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


@pytest.mark.parametrize("error", [FormatError("tv21.run", "empty", 17), UnknownName("head", "laf", ["laff"])])
def test_an_error_of_another_process_is_the_same(error: AvsError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
