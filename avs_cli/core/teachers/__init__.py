"""Teachers: models too slow to search with, from which a student learns.

One module each, with `build(dim, frames, words, ...) -> Teacher` and `footprint(dim, frames, words)`, which gives
multiplications per text-video pair in dot products and in gates, and the numbers that are stored per video.
"""

from avs_cli.core.registry import Registry

teachers = Registry("teacher", "avs_cli.core.teachers", "build")
