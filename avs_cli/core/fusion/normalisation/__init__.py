"""Score normalisations: one module per method, each with `normalise(scores, ...)`.

A normalisation maps the scores of one topic of one run. Shots that the run does not return have 0, rather than the
minimum of its scores, since their absence says little about them.
"""

from avs_cli.core.registry import Registry

normalisations = Registry("normalisation", __name__, "normalise")
