"""Teachers for distillation: accurate models that are too slow for search.

One module each, with `build(dim, frames, words, ...) -> Teacher` and `footprint(dim, frames, words)`, which gives
multiplications per text-video pair in dot products and in gates, and the numbers stored per video. `PUBLISHED` maps the
authors' names of its weights to ours; `SIGN` is a weight that no other checkpoint of CLIP4Clip's family has.
"""

from avs_cli.core.registry import Registry

# Modules that are not entries.
SHARED = ("base", "clip_teacher")
teachers = Registry("teacher", "avs_cli.core.models.teachers", "build")
