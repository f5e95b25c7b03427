"""Teachers: models too slow to search with that a student learns from, one module each, `build(...) -> Teacher`."""

from avs_cli.core.registry import Registry

teachers = Registry("teacher", "avs_cli.core.teachers", "build")
