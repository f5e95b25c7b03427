"""fuser.json: what `avs fuse --save` learned, in plain JSON with XGBoost's trees in it; nothing in it is ever run.

{"format": "avs-fuser", "format_version": 1, "measure": "AP", "input": "power", "runs": {"name": weight, …},
 "mix": 0.5, "topics": ["1661", …], "verdict": "…", "boosters": [XGBoost's JSON model, …]}
"""

import json
import math
from typing import Any

from avs_cli.errors import FormatError
from avs_cli.io.atomic import writing
from avs_cli.io.pipe import read_text
from avs_cli.types import Fuser

_FORMAT, _VERSION = "avs-fuser", 1
_KINDS = ("log", "power", "reciprocal", "minmax")


def write_fuser(path: str, fuser: Fuser) -> None:
    """Write a fuser; equal fusers give equal bytes."""
    document = {
        "format": _FORMAT,
        "format_version": _VERSION,
        "measure": fuser.measure,
        "input": fuser.kind,
        "runs": dict(zip(fuser.runs, fuser.weights, strict=True)),
        "mix": fuser.mix,
        "topics": fuser.topics,
        "verdict": fuser.verdict,
        "boosters": [json.loads(booster) for booster in fuser.boosters],
    }
    with writing(path) as out:
        json.dump(document, out, ensure_ascii=False)
        out.write("\n")


def read_fuser(path: str, features: int | None = None) -> Fuser:
    """A fuser as it was written.

    features  how many features its trees may look at, when the caller knows

    Raises FormatError for what is no fuser, for one of another format version, and for trees that are damaged.
    """
    try:
        document = json.loads(read_text(path))
    except (ValueError, RecursionError):
        raise FormatError(path, "not JSON; a fuser is what avs fuse --save writes") from None
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise FormatError(path, "not a fuser; avs fuse --save writes one")
    if document.get("format_version") != _VERSION:
        raise FormatError(path, f"fuser format {document.get('format_version')!r}; this avs reads {_VERSION}")
    runs, mix, boosters, topics = (document.get(key) for key in ("runs", "mix", "boosters", "topics"))
    if not isinstance(runs, dict) or not runs or not all(map(_is_share, runs.values())) or not any(runs.values()):
        raise FormatError(path, "runs are not names with weights")
    if mix is None or not _is_share(mix) or not isinstance(boosters, list) or bool(mix) != bool(boosters):
        raise FormatError(path, "mix and boosters do not fit each other")
    if topics is None or not _is_names(topics) or document.get("input") not in _KINDS:
        raise FormatError(path, "its topics or its input are none that avs fuse writes")
    for booster in boosters:
        _check_booster(path, booster, 2 * len(runs) + 10 if features is None else features)
    return Fuser(
        runs=tuple(runs),
        measure=str(document.get("measure")),
        kind=document["input"],
        weights=tuple(map(float, runs.values())),
        mix=float(mix),
        boosters=tuple(map(json.dumps, boosters)),
        topics=tuple(topics),
        verdict=str(document.get("verdict")),
    )


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and 0 <= value <= 1


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _check_booster(path: str, booster: Any, features: int) -> None:
    """Refuse trees that XGBoost would follow out of its arrays or in circles: it trusts what it loads."""
    try:
        learner = booster["learner"]
        model = learner["gradient_booster"]["model"]
        trees = model["trees"]
        counts = [int(tree["tree_param"]["num_nodes"]) for tree in trees]
        sound = (
            int(learner["learner_model_param"]["num_feature"]) == features
            and learner["gradient_booster"]["name"] == "gbtree"
            and int(model["gbtree_model_param"]["num_trees"]) == len(trees) == len(model["tree_info"]) > 0
            and model["iteration_indptr"] == list(range(len(trees) + 1))
            and set(model["tree_info"]) == {0}
            and all(_is_tree(tree, count, features) for tree, count in zip(trees, counts, strict=True))
        )
    except (KeyError, TypeError, ValueError, IndexError):
        sound = False
    if not sound:
        raise FormatError(path, f"its trees are damaged, or are not over the {features} features that its runs give")


def _is_tree(tree: dict[str, Any], count: int, features: int) -> bool:
    columns = ("left_children", "right_children", "parents", "split_indices", "split_conditions", "default_left")
    left, right, *_ = lists = [tree[column] for column in columns]
    whole = all(isinstance(column, list) and len(column) == count > 0 for column in lists)
    # Children come after their parents, so that no path is a circle; leaves have none.
    return (
        whole
        and all(
            (a == b == -1) or (type(a) is type(b) is int and node < a < count and node < b < count)
            for node, (a, b) in enumerate(zip(left, right, strict=True))
        )
        and all(type(split) is int and 0 <= split < features for split in tree["split_indices"])
        and not any(tree["split_type"])
        and not tree["categories"]
    )
