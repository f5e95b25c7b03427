"""Confidence: what a cosine means in its gallery, from the best cosines of other sentences there.

A cosine has no meaning of its own: it depends on the model, and the best one grows with the gallery, whether or not
anything there is relevant. So a bank of sentences that have nothing to do with the topic is searched for in the same
gallery. The median of their best cosines is the chance level; by how much a shot exceeds it is what counts. A few
sentences of the bank may well have relevant shots, which moves a median little.

For a model with a `Calibration`, the confidence is the estimated probability that the shot shows what the topic says,
or something close to it. For others it is a score against chance: the share of the bank's sentences for which the
gallery has nothing as close. Per-shot statistics of the bank (means and deviations of its cosines with each shot, as
for hubness) separated photos from their absence less well than the one number here, and so did those of the topic.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from avs_cli.errors import SpecError

# Sentences of the bank; with 1000, the area under the curve of best shots was the same.
SENTENCES = 256
# Below this confidence of its best shot, a topic has probably no relevant shot.
DOUBTFUL = 0.5


class Calibration(NamedTuple):
    """How a model's cosines above the chance level become probabilities, fitted on judged topics.

    slope   of the log-odds, per unit of cosine
    margin  the cosine above the chance level at which the probability is one half
    """

    slope: float
    margin: float


@dataclass(frozen=True)
class Confidence:
    """From cosines of one gallery to confidences.

    bank         (B,) the best cosine of each sentence of the bank in the gallery
    calibration  of the model; None: the confidence is a score against chance, and no probability
    """

    bank: np.ndarray
    calibration: Calibration | None = None

    @property
    def chance(self) -> float:
        """The chance level of the gallery: the median of the best cosines of other sentences."""
        return float(np.median(self.bank))

    def of(self, cosines: np.ndarray) -> np.ndarray:
        """(N,) confidences of N cosines, from 0 to 1; a higher cosine never has a lower confidence."""
        if self.calibration is None:
            return np.asarray(np.searchsorted(np.sort(self.bank), cosines, side="right") / len(self.bank))
        slope, margin = self.calibration
        # The logistic function, in a form that cannot overflow.
        above = np.asarray(cosines, np.float64) - self.chance - margin
        return np.asarray(0.5 + 0.5 * np.tanh(0.5 * slope * above))

    def of_run(self, run: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
        """The confidence of each shot of a run, in its order."""
        return {
            topic: dict(zip(scores, self.of(np.array([*scores.values()])).tolist(), strict=True))
            for topic, scores in run.items()
        }


def check_share(at_least: float) -> None:
    """Raises SpecError for a minimum confidence that is not from 0 to 1."""
    if not 0 <= at_least <= 1:
        raise SpecError(f"at least {at_least:g}: a confidence is from 0 to 1")


def sentences() -> list[str]:
    """The bank: a sentence for every fourth or so of ImageNet's classes."""
    # Where only confidences are read, torch is not.
    from avs_cli.core.models.efficientnet_lite0 import class_names

    names = class_names()
    return [f"a photo of a {names[index]}" for index in np.linspace(0, len(names) - 1, SENTENCES).astype(int)]
