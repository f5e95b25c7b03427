"""Text encoders that are part of a head, one module each, with `build(corpus, ...) -> TextEncoder`."""

from avs_cli.core.registry import Registry

# Modules that are not entries.
SHARED = ("words",)
text_encoders = Registry("text encoder", "avs_cli.core.models.text", "build")
