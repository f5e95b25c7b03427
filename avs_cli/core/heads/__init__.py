"""Heads: the trained part, one module each, with `build(video, text, encoders, ...) -> Head`.

`footprint(settings, texts)` gives what a pair costs with a head of these settings and so many text features: products,
gates, and numbers stored of a video, as `core.footprint` means them.
"""

from avs_cli.core.registry import Registry

heads = Registry("head", "avs_cli.core.heads", "build")
