"""Training objectives (losses), one module each, with `build(...) -> Objective`."""

from avs_cli.core.registry import Registry

objectives = Registry("objective", "avs_cli.core.objectives", "build")
