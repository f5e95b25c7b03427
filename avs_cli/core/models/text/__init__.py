"""Text encoders that are part of a head, one module each, with `build(corpus, ...) -> Encoder`."""

from avs_cli.core.registry import Registry

# Modules that the entries share.
SHARED = ("words",)
encoders = Registry("text encoder", "avs_cli.core.models.text", "build")
