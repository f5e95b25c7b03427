"""The Python interface: one module per stage of the command line, which combines `core` and `io`.

from avs_cli import stages

run = stages.fuse.fuse(["clip.run", "blip.run"])

index                  folders of videos to a store of shots and features that follows them
extract, shots         videos, pictures or texts to stores of features; videos to shots
extract_heads          stores of a head's features to a store of its vectors
train                  stores to a head
distill_heads          teachers over stores to a head with one vector per shot
distill_clips          teachers over clips to a student
train_lite             photos and captions to weights of the offline default
search, rerank, fuse   stores, heads and runs to runs
judge                  runs to verdicts of a model that looks at their shots
evaluate, submit       runs to measures and tests of significance, and to submissions
clip                   runs to video files and cut lists
live                   galleries that stay open: search, marks that teach, exports
view, info, convert    what a page shows, facts of files, files of other tools
topics                 topics to vectors

The other modules are what these share. A stage takes paths and values, returns values, and raises the errors of
`avs_cli.errors`. It knows no terminal and no exit codes: notes and progress go to a `Reporter` (see
`avs_cli.reporting`), by default to the logger `avs_cli`.
"""

import importlib
import pkgutil
from types import ModuleType


def __getattr__(name: str) -> ModuleType:
    # Imported when first needed: `stages.fuse` does not wait for torch.
    if name in __dir__():
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [module.name for module in pkgutil.iter_modules(__path__)]
