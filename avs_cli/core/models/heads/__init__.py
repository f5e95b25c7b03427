"""Heads: the trained part, one module each, with `build(video, text, encoders, ...) -> Head`.

`footprint(settings, videos, texts)` gives the cost of a pair for these settings and numbers of video and text features:
products, gates, and numbers stored per video (see `core.footprint`).
"""

from avs_cli.core.registry import Registry

# Modules that are not entries.
SHARED = ("framed",)
heads = Registry("head", "avs_cli.core.models.heads", "build")
