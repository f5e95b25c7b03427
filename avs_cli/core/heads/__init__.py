"""Heads: the trained part, one module each, with `build(video, text, encoders, ...) -> Head`."""

from avs_cli.core.registry import Registry

heads = Registry("head", "avs_cli.core.heads", "build")
