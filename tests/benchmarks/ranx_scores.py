"""Fuses runs with ranx, in an interpreter that has it: JSON on stdin, JSON on stdout.

in   {"runs": [topic -> shot -> score, ...], "qrels": topic -> shot -> relevance, "training": topics, "weights": [...],
      "leave": methods to leave out}
out  spec of avs -> topic -> shot -> score, for the topics that are not for training
"""

import json
import sys
from typing import Any

SEGMENTS, WINDOW = 10, 5


def main() -> None:
    from ranx import Qrels, Run, fuse
    from ranx.fusion import (
        bayesfuse_train,
        mapfuse_train,
        posfuse_train,
        probfuse_train,
        segfuse_train,
        slidefuse_train,
    )

    given = json.load(sys.stdin)
    training = set(given["training"])

    def some(run: dict[str, Any], trains: bool) -> Any:
        return Run({topic: scores for topic, scores in run.items() if (topic in training) == trains})

    known = [some(run, True) for run in given["runs"]]
    runs = [some(run, False) for run in given["runs"]]
    qrels = Qrels({topic: judged for topic, judged in given["qrels"].items() if topic in training})
    listed = "/".join(map(str, given["weights"]))
    weights = [float(weight) for weight in given["weights"]]
    ways: dict[str, tuple[str, str | None, dict[str, Any]]] = {
        "combsum": ("sum", "min-max", {}),
        "combmnz": ("mnz", "min-max", {}),
        "combanz": ("anz", "min-max", {}),
        "combmax": ("max", "min-max", {}),
        "combmin": ("min", "min-max", {}),
        "combmed": ("med", "min-max", {}),
        "combsum:norm=sum": ("sum", "sum", {}),
        "combgmnz:gamma=0.5": ("gmnz", "min-max", {"gamma": 0.5}),
        "rrf": ("rrf", None, {"k": 60}),
        "isr": ("isr", None, {}),
        "log-isr": ("log_isr", None, {}),
        "logn-isr": ("logn_isr", None, {"sigma": 0.01}),
        "rbc:phi=0.9": ("rbc", None, {"phi": 0.9}),
        "borda": ("bordafuse", None, {}),
        "condorcet": ("condorcet", None, {}),
        f"weighted:norm=minmax,weights={listed}": ("wsum", "min-max", {"weights": weights}),
        f"wmnz:weights={listed}": ("wmnz", "min-max", {"weights": weights}),
        f"mixed:weights={listed}": ("mixed", "min-max", {"weights": weights}),
        f"borda:weights={listed}": ("w_bordafuse", None, {"weights": weights}),
        f"condorcet:weights={listed}": ("w_condorcet", None, {"weights": weights}),
        "mapfuse": ("mapfuse", None, {"map_scores": mapfuse_train(qrels, known)}),
        "posfuse": ("posfuse", None, {"probs": posfuse_train(qrels, known)}),
        f"probfuse:segments={SEGMENTS}": ("probfuse", None, {"probs": probfuse_train(qrels, known, SEGMENTS)}),
        "segfuse": ("segfuse", "min-max", {"probs": segfuse_train(qrels, known)}),
        f"slidefuse:window={WINDOW}": ("slidefuse", None, {"probs": slidefuse_train(qrels, known), "w": WINDOW}),
        "bayesfuse": ("bayesfuse", None, {"log_odds": bayesfuse_train(qrels, known)}),
    }
    found = {}
    for spec, (method, norm, parameters) in ways.items():
        if spec.partition(":")[0] not in given.get("leave", ()):
            found[spec] = fuse(runs, norm=norm, method=method, params=parameters).to_dict()
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
