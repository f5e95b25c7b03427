"""Training objectives (losses), one module each, with `build(...) -> Objective`."""

from avs_cli.core.registry import Registry

# Modules that are not entries.
SHARED = ("base",)
objectives = Registry("objective", "avs_cli.core.training.objectives", "build")
