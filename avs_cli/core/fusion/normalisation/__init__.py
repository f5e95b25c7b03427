"""Normalisations: one module per way to make different runs' scores comparable, each with `normalise(scores, ...)`.

A normalisation sees one topic of one run and gives a number for every shot that the run returns. A shot that it does
not return has 0 everywhere: not the least of the run's scores, since not returning a shot says little about it.
"""

from avs_cli.core.registry import Registry

normalisations = Registry("normalisation", __name__, "normalise")
