"""Whether vectors of two origins are comparable, by their provenances.

meaning   model, weights, preprocessing, pooling, kind of sampling, text field, and every key that is not named below:
          vectors have different meanings, and the comparison is an error
digits    storage, arithmetic, density of frames, versions, the spelling of the model's spec: vectors are
          nearly equal, and the comparison gives a warning

A provenance without the keys that every extraction writes belongs to imported vectors and is not compared.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from avs_cli.errors import MismatchError

Provenance = Mapping[str, Any]

# Last parts of keys, also inside groups, as in `text.precision`.
DIGITS = frozenset({"dtype", "precision", "spec"})
# Groups and keys that differ between vectors of texts and vectors of shots.
OF_ONE_END = frozenset({"dtype", "field", "frame_norm", "pixels", "pooling", "sampling", "spec", "versions"})
# Keys that every extraction writes.
EXTRACTED = frozenset({"pooling", "spec", "weights"})


class Difference(NamedTuple):
    """A key with different values, and whether it changes the meaning of vectors."""

    key: str
    one: Any
    other: Any
    meaning: bool

    def __str__(self) -> str:
        return f"{self.key} is {json.dumps(self.one)} and {json.dumps(self.other)}"


def differences(one: Provenance, other: Provenance) -> list[Difference]:
    """The differences of two provenances of the same kind; those that change the meaning come first, then by key.

    Absent keys count as null. Of `versions`, only packages in both are compared.
    """
    ours, theirs = dict(_flat(one)), dict(_flat(other))
    found = [
        Difference(key, ours.get(key), theirs.get(key), _is_meaning(key, ours, theirs))
        for key in sorted(ours.keys() | theirs.keys())
        if ours.get(key) != theirs.get(key) and (not key.startswith("versions.") or (key in ours and key in theirs))
    ]
    return sorted(found, key=lambda difference: not difference.meaning)


def is_imported(provenance: Provenance) -> bool:
    """Whether vectors are imported, such as from a BigFile, and have no provenance of an extraction."""
    return not provenance.keys() & EXTRACTED


class Comparison:
    """Comparison of provenances: raises an error, warns once, or passes.

    warn   receives warnings; by default they are discarded
    force  whether different meanings give a warning instead of an error
    cure   end of error messages, such as the option for `force`
    """

    def __init__(self, warn: Callable[[str], None] = lambda message: None, force: bool = False, cure: str = ""):
        self.warn, self.force, self.cure = warn, force, cure
        self._given: set[str] = set()

    def alike(
        self, name: str, one: Provenance, others_name: str, other: Provenance, refusal: str, cure: str = ""
    ) -> None:
        """Compare vectors of the same kind. Raises MismatchError: `refusal`, what differs, and `cure`."""
        if is_imported(one) != is_imported(other):
            imported, known = (name, others_name) if is_imported(one) else (others_name, name)
            self._once(imported, f"{imported} has no provenance; assuming that its vectors match those of {known}")
            return
        self._judge(name, others_name, differences(one, other), refusal, cure)

    def ends(
        self, name: str, text: Provenance, others_name: str, shots: Provenance, refusal: str, cure: str = ""
    ) -> None:
        """Compare the text side and the shot side of one encoder by the keys that both have."""
        if is_imported(text) != is_imported(shots):
            self.alike(name, text, others_name, shots, refusal, cure)
            return
        shared = text.keys() & shots.keys() - OF_ONE_END
        ours, theirs = ({key: value for key, value in one.items() if key in shared} for one in (text, shots))
        self._judge(name, others_name, differences(ours, theirs), refusal, cure)

    def _judge(self, name: str, other: str, found: list[Difference], refusal: str, cure: str) -> None:
        if not found:
            return
        if not found[0].meaning:
            what = ", ".join(map(_compared, found))
            self._once(what, f"{name} and {other} differ in {what}; scores may differ slightly")
        elif self.force:
            self._once(f"{refusal}: {found[0]}", f"{refusal}: {found[0]}; continuing anyway")
        else:
            raise MismatchError("; ".join(filter(None, (f"{refusal}: {found[0]}", cure, self.cure))))

    def _once(self, key: str, message: str) -> None:
        if key not in self._given:
            self._given.add(key)
            self.warn(message)


def _flat(provenance: Provenance, above: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values, without nulls."""
    for key, value in provenance.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}.")
        elif value is not None:
            yield f"{above}{key}", value


def _is_meaning(key: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    if key == "sampling.fps":
        return not (key in ours and key in theirs)  # per second and per shot are different kinds of sampling
    group, _, last = key.rpartition(".")
    return not (group == "versions" or last in DIGITS or key == "sampling.max_frames")


def _compared(difference: Difference) -> str:
    return f"{difference.key} ({json.dumps(difference.one)} and {json.dumps(difference.other)})"
