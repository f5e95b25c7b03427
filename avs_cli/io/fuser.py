"""fuser.json: the model of `avs fuse --save`, in plain JSON with XGBoost's trees; it contains no code.

{"format": "avs-fuser", "format_version": 1, "measure": "AP", "input": "power", "runs": {"name": weight, …},
 "mix": 0.5, "topics": ["1661", …], "verdict": "…", "boosters": [XGBoost's JSON model, …]}

XGBoost does not validate the models that it loads: a damaged one may read out of bounds or loop forever. Only the
arrays that a prediction needs are read here, each is checked, and a new model for XGBoost is built from them.
"""

import json
from typing import Any

from avs_cli.errors import FormatError
from avs_cli.io.atomic import writing
from avs_cli.io.pipe import read_text
from avs_cli.types import FUSER_INPUTS, Fuser, tree_features

_FORMAT, _VERSION = "avs-fuser", 1
# lambdamart grows trees of depth 4; XGBoost traverses trees recursively.
_DEEPEST, _LARGEST = 32, 3.4e38


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
    if (version := document.get("format_version")) != _VERSION:
        found = version if type(version) is int else "unknown"
        raise FormatError(path, f"fuser format {found}; this version of avs reads {_VERSION}")
    runs, mix, boosters, topics = (document.get(key) for key in ("runs", "mix", "boosters", "topics"))
    if not isinstance(runs, dict) or not runs or not all(map(_is_share, runs.values())) or not any(runs.values()):
        raise FormatError(path, "runs are not names with weights")
    if mix is None or not _is_share(mix) or not isinstance(boosters, list) or bool(mix) != bool(boosters):
        raise FormatError(path, "mix and boosters are inconsistent")
    if topics is None or not _is_names(topics) or document.get("input") not in FUSER_INPUTS:
        raise FormatError(path, "its topics or input are invalid")
    features = tree_features(len(runs))
    return Fuser(
        runs=tuple(runs),
        measure=str(document.get("measure")),
        kind=document["input"],
        weights=tuple(map(float, runs.values())),
        mix=float(mix),
        boosters=tuple(_booster(path, booster, features) for booster in boosters),
        topics=tuple(topics),
        verdict=str(document.get("verdict")),
    )


def _is_share(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _booster(path: str, booster: Any, features: int) -> str:
    """A new model in XGBoost's JSON with the trees of a given one. Raises FormatError for invalid trees."""
    try:
        learner = booster["learner"]
        base = learner["learner_model_param"]["base_score"]
        sound = (
            int(learner["learner_model_param"]["num_feature"]) == features
            and learner["gradient_booster"]["name"] == "gbtree"
            and abs(float(base.strip("[]"))) <= _LARGEST
        )
        trees = [_tree(n, tree, features) for n, tree in enumerate(learner["gradient_booster"]["model"]["trees"])]
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError):
        sound, trees = False, []
    if not sound or not trees:
        raise FormatError(path, f"its trees are damaged, or do not match the {features} features of its runs")
    model = {
        "gbtree_model_param": {"num_parallel_tree": "1", "num_trees": str(len(trees))},
        "iteration_indptr": list(range(len(trees) + 1)),
        "tree_info": [0] * len(trees),
        "trees": trees,
        "cats": {"enc": [], "feature_segments": [], "sorted_idx": []},
    }
    parameters = {"base_score": base, "boost_from_average": "1", "num_class": "0", "num_target": "1"}
    return json.dumps(
        {
            "learner": {
                "attributes": {},
                "feature_names": [],
                "feature_types": [],
                "gradient_booster": {"model": model, "name": "gbtree"},
                "learner_model_param": {**parameters, "num_feature": str(features)},
                # Predictions are sums over trees, as with ranking objectives.
                "objective": {"name": "reg:squarederror", "reg_loss_param": {"scale_pos_weight": "1"}},
            },
            "version": [3, 2, 0],
        }
    )


def _tree(number: int, tree: dict[str, Any], features: int) -> dict[str, Any]:
    """A tree in XGBoost's JSON with its children, splits and leaves. Raises ValueError for an invalid tree."""
    left, right, splits, values, defaults = columns = [
        tree[name] for name in ("left_children", "right_children", "split_indices", "split_conditions", "default_left")
    ]
    count = len(left)
    if not all(isinstance(column, list) and len(column) == count > 0 for column in columns):
        raise ValueError("columns of several lengths")
    if tree["split_type"] != [0] * count or tree["categories"]:
        raise ValueError("categories")
    if not all(type(split) is int and 0 <= split < features for split in splits):
        raise ValueError("features that are not there")
    if not all(type(value) in (int, float) and abs(value) <= _LARGEST for value in values):
        raise ValueError("numbers that are none")
    if not all(type(default) in (int, bool) and default in (0, 1) for default in defaults):
        raise ValueError("no directions")
    parents, depths = [2**31 - 1] * count, [0] * count
    for node, children in enumerate(zip(left, right, strict=True)):
        if children == (-1, -1):
            continue
        for child in children:
            # A child has one parent, with a lower index, so there are no cycles.
            if type(child) is not int or not node < child < count or depths[child] or depths[node] == _DEEPEST:
                raise ValueError("no tree")
            parents[child], depths[child] = node, depths[node] + 1
    if 0 in depths[1:]:
        raise ValueError("nodes without a parent")
    empty: dict[str, list[int]] = {
        name: [] for name in ("categories", "categories_nodes", "categories_segments", "categories_sizes")
    }
    zeros = {name: [0.0] * count for name in ("base_weights", "loss_changes", "sum_hessian")}
    sizes = {"num_deleted": "0", "num_feature": str(features), "num_nodes": str(count), "size_leaf_vector": "1"}
    return {
        **empty,
        **zeros,
        "id": number,
        "left_children": left,
        "right_children": right,
        "parents": parents,
        "split_indices": splits,
        "split_conditions": values,
        "split_type": [0] * count,
        "default_left": list(map(int, defaults)),
        "tree_param": sizes,
    }
