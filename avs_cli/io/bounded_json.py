"""JSON from untrusted files, limited in size and depth, without lone surrogates."""

import json
from typing import Any

# Nesting levels; values are traversed recursively.
DEEPEST = 32


def parsed(text: str | bytes, most: int) -> Any:
    """The value of a JSON text. Raises ValueError for more than `most` characters, deep nesting and lone surrogates."""
    if len(text) > most:
        raise ValueError(f"JSON of {len(text)} characters; the maximum is {most}")
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("JSON is nested too deeply") from None
    if not _is_shallow(value, DEEPEST):
        raise ValueError(f"JSON is nested in more than {DEEPEST} levels")
    # "\ud800" is valid JSON, but cannot be encoded as UTF-8.
    json.dumps(value, ensure_ascii=False).encode()
    return value


def _is_shallow(value: Any, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels > 0 and all(_is_shallow(one, levels - 1) for one in inner)
