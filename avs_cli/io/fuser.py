"""fuser.json: the model of `avs fuse --save`, in plain JSON; it contains no code.

{"format": "avs-fuser", "format_version": 2, "measure": "AP", "input": "power", "runs": {"name": weight, …},
 "mix": 0.5, "topics": ["1661", …], "verdict": "…", "coefficients": [number, …], "reach": 53}

LambdaMART has "boosters" instead of the coefficients: models in XGBoost's JSON. Only the arrays that a prediction needs
are read, and each is checked: with damaged ones it may read out of bounds or loop forever. Version 1 always has
boosters, and no reach.
"""

import json
from dataclasses import replace
from typing import Any

from avs_cli.errors import FormatError
from avs_cli.io.atomic import writing
from avs_cli.io.pipe import read_text
from avs_cli.types import FUSER_INPUTS, Fuser, step_2_features

_FORMAT, _VERSION, _WITHOUT_REACH = "avs-fuser", 2, 1
# lambdamart grows trees of depth 4.
_DEEPEST, _LARGEST = 32, 3.4e38
_FARTHEST = 1000


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
    }
    if fuser.mix and fuser.boosters:
        document["boosters"] = [json.loads(booster) for booster in fuser.boosters]
    else:
        document["coefficients"] = fuser.coefficients if fuser.mix else ()
    document["reach"] = fuser.reach
    with writing(path) as out:
        json.dump(document, out, ensure_ascii=False)
        out.write("\n")


def read_fuser(path: str) -> Fuser:
    """Read a fuser.

    Raises FormatError for other files, for another format version, and for invalid trees.
    """
    try:
        document = json.loads(read_text(path))
    except (ValueError, RecursionError):
        raise FormatError(path, "not JSON; expected a model saved by avs fuse --save") from None
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise FormatError(path, "not a model saved by avs fuse --save")
    version = document.get("format_version")
    if type(version) is not int or version not in (_WITHOUT_REACH, _VERSION):
        found = version if type(version) is int else "unknown"
        raise FormatError(path, f"fuser format {found}; this version of avs reads {_WITHOUT_REACH} and {_VERSION}")
    runs, mix, topics = (document.get(key) for key in ("runs", "mix", "topics"))
    if not isinstance(runs, dict) or not runs or not all(map(_is_share, runs.values())) or not any(runs.values()):
        raise FormatError(path, "runs are not names with weights")
    key = "boosters" if version == _WITHOUT_REACH or "boosters" in document else "coefficients"
    model = document.get(key)
    if mix is None or not _is_share(mix) or not isinstance(model, list) or bool(mix) != bool(model):
        raise FormatError(path, f"mix and {key} are inconsistent")
    if topics is None or not _is_names(topics) or document.get("input") not in FUSER_INPUTS:
        raise FormatError(path, "its topics or input are invalid")
    features = step_2_features(len(runs))
    fuser = Fuser(
        runs=tuple(runs),
        measure=str(document.get("measure")),
        kind=document["input"],
        weights=tuple(map(float, runs.values())),
        mix=float(mix),
        topics=tuple(topics),
        verdict=str(document.get("verdict")),
    )
    reach = _FARTHEST if version == _WITHOUT_REACH else document.get("reach")
    if type(reach) is not int or not 0 < reach <= _FARTHEST:
        raise FormatError(path, f"its reach is not a number from 1 to {_FARTHEST}")
    if key == "boosters":
        return replace(fuser, boosters=tuple(_booster(path, booster, features) for booster in model), reach=reach)
    if model and (len(model) != features or not all(map(_is_number, model))):
        raise FormatError(path, f"its coefficients do not match the {features} features of its runs")
    return replace(fuser, coefficients=tuple(map(float, model)), reach=reach)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= _LARGEST


def _is_share(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _booster(path: str, booster: Any, features: int) -> str:
    """What a prediction needs of a model in XGBoost's JSON, in the same form. Raises FormatError for invalid trees."""
    try:
        learner = booster["learner"]
        count, name = int(learner["learner_model_param"]["num_feature"]), learner["gradient_booster"]["name"]
        trees = [_tree(tree, features) for tree in learner["gradient_booster"]["model"]["trees"]]
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError):
        count, name, trees = 0, "", []
    if count != features or name != "gbtree" or not trees:
        raise FormatError(path, f"its trees are damaged, or do not match the {features} features of its runs")
    return json.dumps(
        {
            "learner": {
                "gradient_booster": {"model": {"trees": trees}, "name": name},
                "learner_model_param": {"num_feature": str(features)},
            }
        }
    )


def _tree(tree: dict[str, Any], features: int) -> dict[str, Any]:
    """A tree's children, splits and leaves. Raises ValueError for an invalid tree."""
    names = ("left_children", "right_children", "split_indices", "split_conditions")
    left, right, splits, values = columns = [tree[name] for name in names]
    count = len(left)
    if not all(isinstance(column, list) and len(column) == count > 0 for column in columns):
        raise ValueError("columns of several lengths")
    if tree.get("split_type", [0] * count) != [0] * count or tree.get("categories"):
        raise ValueError("categories")
    if not all(type(split) is int and 0 <= split < features for split in splits):
        raise ValueError("features that are not there")
    if not all(map(_is_number, values)):
        raise ValueError("numbers that are none")
    depths = [0] * count
    for node, children in enumerate(zip(left, right, strict=True)):
        if children == (-1, -1):
            continue
        for child in children:
            # A child has one parent, with a lower index, so there are no cycles.
            if type(child) is not int or not node < child < count or depths[child] or depths[node] == _DEEPEST:
                raise ValueError("no tree")
            depths[child] = depths[node] + 1
    if 0 in depths[1:]:
        raise ValueError("nodes without a parent")
    return dict(zip(names, columns, strict=True))
