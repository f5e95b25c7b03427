"""Trained heads, ready to search with or to teach."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from avs_cli.core.models.described import rebuilt
from avs_cli.core.models.layers import Head
from avs_cli.errors import MismatchError, SpecError
from avs_cli.io.head_file import load_head
from avs_cli.provenance import HEAD, digest

if TYPE_CHECKING:
    from avs_cli.io.store.galleries import Galleries


class TrainedHead(NamedTuple):
    """A head in evaluation mode, the file that it comes from, and the description in that file."""

    path: str
    head: Head
    description: dict[str, Any]

    @property
    def name(self) -> str:
        """The name of its run."""
        return Path(self.path).stem


def load_heads(paths: Sequence[str], device: str = "cpu") -> list[TrainedHead]:
    """Load heads onto a device.

    Raises SpecError for a file that holds a model of clips instead, and for two heads of one name.
    """
    heads = []
    for path in paths:
        kept = load_head(path)
        if kept.head["kind"] == "teachclip":
            raise SpecError(
                f"{path} is a student trained on clips, not a head: extract with --model teachclip --weights {path}, "
                "and search that store with the same --weights"
            )
        if kept.head["kind"] == "clip-teacher":
            name = kept.head["settings"]["teacher"]
            raise SpecError(
                f"{path} is a teacher trained on clips, not a head: give it to avs distill as --teacher {name}={path}"
            )
        head = rebuilt(kept.head, kept.weights, path)
        heads.append(TrainedHead(path, head.eval().to(device), kept.head))
    names = [one.name for one in heads]
    if twin := next((name for name in names if names.count(name) > 1), None):
        raise SpecError(f"two heads are named {twin!r}, and runs take the names of their heads; rename one")
    return heads


def stored_vectors(heads: Sequence[TrainedHead], galleries: "Galleries") -> dict[str, str]:
    """The path of each head whose vectors are among the galleries, and the name of that feature.

    Raises MismatchError for vectors of a head that is not given.
    """
    stored = {
        name: str(gallery.provenance[HEAD])
        for name, gallery in galleries.features.items()
        if HEAD in gallery.provenance
    }
    if not stored:
        return {}
    by_digest = {digest(one.path): one.path for one in heads}
    for name, held in stored.items():
        if held not in by_digest:
            given = ", ".join(f"{path} ({own[:12]}…)" for own, path in by_digest.items())
            raise MismatchError(
                f"{galleries.stores_of(name)} has the vectors of another head (SHA-256 {held[:12]}…) than {given}"
            )
    return {by_digest[held]: name for name, held in stored.items()}
