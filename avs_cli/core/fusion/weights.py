"""Weights of runs: given in the spec of a method, or taken from judgments."""

import math
from collections.abc import Sequence

from avs_cli.errors import MismatchError, SpecError
from avs_cli.types import Run


class Weights(tuple[float, ...]):
    """One weight per run in the notation of specs, 2/1/0.5; or `measure`, each run's value on the judged topics."""

    def __new__(cls, text: str) -> "Weights":
        if text == "measure":
            return super().__new__(cls)
        try:
            return super().__new__(cls, map(float, text.split("/")))
        except ValueError:
            raise SpecError(f"weights: {text!r} is not a list of weights, such as 2/1/0.5, or measure") from None


MEASURE = Weights("measure")


def weights_of(method: str, runs: Sequence[Run], weights: Sequence[float] | None) -> list[float]:
    """The weight of each run, by default 1.

    Raises MismatchError for fewer or more weights than runs, SpecError for weights that judgments were to give.
    """
    if weights is None:
        return [1.0] * len(runs)
    if not weights:
        raise SpecError(f"{method}: weights=measure needs judgments")
    if len(weights) != len(runs):
        raise MismatchError(f"{method}: {len(weights)} weights for {len(runs)} runs")
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or not any(weights):
        raise SpecError(f"{method}: weights must be at least 0, and not all 0")
    return list(weights)
