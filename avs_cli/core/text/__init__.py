"""Text encoders that are part of a head, one module each, with `build(corpus, ...) -> Encoder`."""

from avs_cli.core.registry import Registry

encoders = Registry("text encoder", "avs_cli.core.text", "build")
