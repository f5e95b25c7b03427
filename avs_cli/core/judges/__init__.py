"""Judges: models that look at the frames of a shot and give the log-odds that it shows what a topic asks for.

Each module is a family of vision-language models, with `load(runtime, seeing, ...) -> Judge` and `MODELS`, the
published weights by the variant in its spec. Adding a family is adding a file here.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from avs_cli.core.registry import Registry
from avs_cli.types import Sampling, Topic, Whole

if TYPE_CHECKING:
    import numpy as np

# Modules that are not entries.
SHARED = ("base",)
judges = Registry("judge", __name__, "load")


class ShotQuestion(NamedTuple):
    """One shot and one topic, of which a judge says how well they fit.

    frames   of the shot in order, each (H, W, 3) uint8, RGB; none for a judge without `sampling`
    seconds  duration of the shot
    """

    topic: Topic
    shot: str
    frames: "Sequence[np.ndarray]" = ()
    seconds: float = 0.0


class Judge(Protocol):
    """Gives the log-odds that shots show what topics ask for.

    name        what messages call it
    provenance  model, digest of its weights, prompt: everything that determines its verdicts, as JSON values
    sampling    the frames that it sees of a shot; None: it sees none
    pixels      how these are scaled
    """

    name: str
    sampling: Sampling | None
    pixels: Whole

    @property
    def provenance(self) -> Mapping[str, Any]: ...

    def log_odds(self, questions: Sequence[ShotQuestion]) -> "np.ndarray":
        """(N,) float64 log-odds of yes for N questions; an answer does not depend on the other questions."""
        ...
