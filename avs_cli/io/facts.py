"""Facts on encoders, cached when a model is loaded, in the cache folder of the user.

With them a finished store is recognised without loading the model. They are valid while the size and modification time
of the weight files stay the same. If a store does not match them, the model is loaded.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from avs_cli.io.atomic import replacing
from avs_cli.io.cache import folder
from avs_cli.types import Facts, FittedPixels, Pixels, ProcessorSampling, Sampling


def recall(asked: Mapping[str, Any]) -> Facts | None:
    """The cached facts on an encoder with these settings; None if there are none or one of its files has changed."""
    try:
        kept = json.loads(_place(asked).read_bytes())
        if kept["files"] != _states([file[0] for file in kept["files"]]):
            return None
        facts = kept["facts"]
        pixels = _rebuilt(facts["pixels"], Pixels, FittedPixels) if facts["pixels"] else None
        return Facts(
            **{**facts, "pixels": pixels, "sampling": _rebuilt(facts["sampling"], Sampling, ProcessorSampling)}
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep(asked: Mapping[str, Any], facts: Facts, files: Iterable[Path]) -> None:
    """Cache the facts on an encoder that depends on these files; errors of the cache are ignored."""
    told = {**facts._asdict(), "sampling": asdict(facts.sampling), "pixels": facts.pixels and asdict(facts.pixels)}
    place = _place(asked)
    with contextlib.suppress(OSError):
        text = json.dumps({"asked": dict(asked), "files": _states(map(str, files)), "facts": told}, indent=1)
        place.parent.mkdir(parents=True, exist_ok=True)
        with replacing(place) as part:
            part.write_text(text, encoding="utf-8")


def _rebuilt(values: dict[str, Any], *kinds: type[Any]) -> Any:
    """The instance of that one of the dataclasses which has exactly these fields. Raises ValueError for none."""
    for kind in kinds:
        if {field.name for field in fields(kind)} == values.keys():
            return kind(**values)
    raise ValueError(f"no {kinds[0].__name__} has these fields")


def _place(asked: Mapping[str, Any]) -> Path:
    told = json.dumps(dict(asked), sort_keys=True)
    return folder() / f"encoder-{hashlib.sha256(told.encode()).hexdigest()[:16]}.json"


def _states(files: Iterable[str]) -> list[list[Any]]:
    """Name, size and modification time of each file."""
    return [[name, (status := Path(name).stat()).st_size, status.st_mtime_ns] for name in files]
