"""Late fusion: one module per method, each with `fuse(runs, ...) -> Run`."""
