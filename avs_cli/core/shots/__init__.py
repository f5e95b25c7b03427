"""Shot boundary detectors: one module per method, each with `detect(frames, ...) -> list of cut times`."""
