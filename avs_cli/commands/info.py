"""`avs info`: describe stores, heads, runs, qrels and shot tables."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from avs_cli.console import answer, visible_json
from avs_cli.errors import FormatError
from avs_cli.options import Json

COSTS = ("products", "gates", "stored")
HDF5 = b"\x89HDF\r\n\x1a\n"


def info(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Feature stores, heads, runs, qrels or shot tables.")
    ],
    json: Json = False,
) -> None:
    """Describe feature stores, heads, runs, qrels and shot tables.

    Of a feature store, its features, their provenance, shots and thumbnails; of a head, its parameters, features,
    training and cost; of a run or qrels, the number of topics, shots and judgments.

    \b
    Examples:
      avs info gallery.h5
      avs info laff.safetensors tv22.run tv22.qrels --json
    """
    from avs_cli.io.head_file import is_head
    from avs_cli.io.pipe import spooled

    told = []
    for name in files:
        path, _, feature = name.partition("::")
        with spooled(path) as real:
            with real.open("rb") as file:
                store = file.read(len(HDF5)) == HDF5
            if store or feature:
                facts = _store(path, real, feature)
            else:
                facts = _head(path, real) if is_head(real) else _text(path, real)
        told.append({"file": name, **facts})
        if not json:
            answer(_lines(told[-1]))
    if json:
        from json import dumps

        print(visible_json(dumps(told, indent=2, ensure_ascii=False)))


def _store(name: str, real: Path, feature: str) -> dict[str, Any]:
    """The facts of a store and its features, or of one feature."""
    from avs_cli.io.store.reader import Store, features

    told = []
    for held in [feature] if feature else features(real):
        with Store(real, held) as store:
            told.append(
                {
                    "name": held,
                    "items": len(store),
                    "vectors": store.rows,
                    "dim": store.dim,
                    "dtype": store.dtype.name,
                    "frame_level": store.frame_level,
                    "bytes": store.rows * store.dim * store.dtype.itemsize,
                    "provenance": store.provenance,
                }
            )
            shots, thumbnails = store.shots().values(), store.thumbnails
    if not told:
        raise FormatError(name, "a feature store without features")
    return {
        "kind": "feature store",
        "bytes": real.stat().st_size,
        "shots": len(shots),
        "videos": len({shot.video for shot in shots}),
        "seconds": sum(shot.end - shot.start for shot in shots),
        "thumbnails": thumbnails,
        "features": told,
    }


def _head(name: str, real: Path) -> dict[str, Any]:
    """The facts of a head: its features with their mean weights, its training and its cost."""
    from avs_cli.core.footprint import of_head, of_published
    from avs_cli.io.head_file import load_head, tensor_shapes, written_here

    shapes = tensor_shapes(real)
    kept = load_head(real) if written_here(real) else None
    # A teacher trained by avs distill has the tensor names of its authors' file.
    sizes = {key: value for key, value in kept.head["settings"].items() if type(value) is int} if kept else {}
    if found := of_published(shapes, sizes.get("frames", 12), sizes.get("words", 32)):
        numbers = {key: value for key, value in found._asdict().items() if key != "cost"}
        facts = {"kind": "weights", "bytes": real.stat().st_size, **numbers, "cost": found.cost._asdict()}
        return {**facts, "training": kept.head.get("training", {})} if kept else facts
    kept = kept or load_head(real)
    told = kept.head
    cost = of_head(told)
    weights = told.get("weights") or {}
    features = [
        {
            "of": end,
            "name": part["name"],
            "dim": part.get("dim") or len(part["words"]),
            "weight": weights.get(end, {}).get(part["name"]),
        }
        for end, parts in (("videos", told["videos"]), ("texts", [*told["texts"], *told["encoders"]]))
        for part in parts
    ]
    return {
        "kind": "head",
        "head": told["kind"],
        "bytes": real.stat().st_size,
        "parameters": sum(value.numel() for value in kept.weights.values()),
        "settings": told["settings"],
        "features": features,
        "cost": cost._asdict() if cost else None,
        "teachers": told.get("teachers", {}),
        "training": told.get("training", {}),
    }


def _text(name: str, real: Path) -> dict[str, Any]:
    """The facts of a run, qrels or a shot table, detected from the first line."""
    from avs_cli.io.pipe import read_text
    from avs_cli.io.text.shots import is_shot_table, read_shots
    from avs_cli.io.text.trec import read_qrels, read_run

    if is_shot_table(real):
        shots = read_shots(real)
        seconds = sum(shot.end - shot.start for shot in shots)
        return {"kind": "shots", "shots": len(shots), "videos": len({s.video for s in shots}), "seconds": seconds}
    columns = read_text(real).lstrip().partition("\n")[0].split()
    if len(columns) == 6 and _is_number(columns[4]):
        run = read_run(str(real))
        depths = [len(shots) for shots in run.values()]
        return {
            "kind": "run",
            "tag": columns[5],
            "topics": len(run),
            "rows": sum(depths),
            "least": min(depths),
            "most": max(depths),
        }
    if len(columns) in (4, 5) and _is_number(columns[-1]):
        qrels = read_qrels(str(real))
        judgments = [judgment for judged in qrels.values() for judgment in judged.values()]
        return {
            "kind": "qrels",
            "topics": len(qrels),
            "rows": len(judgments),
            "relevant": sum(judgment.relevance > 0 for judgment in judgments),
            "unjudged": sum(judgment.relevance < 0 for judgment in judgments),
            "strata": dict(sorted(Counter(judgment.stratum for judgment in judgments).items())),
        }
    raise FormatError(name, "not a feature store, head, run, qrels or shot table")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _head_lines(facts: Mapping[str, Any]) -> Iterator[str]:
    millions = f"{facts['parameters'] / 1e6:.2f} million parameters"
    # A model without stored features is a student trained on clips.
    what = f"{facts['head']} head" if facts["features"] else f"student for --model {facts['head']}"
    yield f"{facts['file']}: {what}, {millions}, {facts['bytes'] / 1e6:.1f} MB"
    yield from _settings_lines(facts["settings"])
    # In descending order of weight, to help choose among features.
    for feature in sorted(facts["features"], key=lambda one: (one["of"] != "videos", -(one["weight"] or 0))):
        counts = "" if feature["weight"] is None else f", weight {feature['weight']:.3f}"
        yield f"  {feature['of'][:-1]} feature {feature['name']}, {feature['dim']} dimensions{counts}"
    if facts["cost"]:
        yield f"  {_cost(facts['cost'])}"
    for name, cost in facts["teachers"].items():
        yield f"  teacher {name}: {_cost(cost) if len(cost) == len(COSTS) else 'unknown cost'}"
    yield from (f"  {key}: {_text_of(value)}" for key, value in facts["training"].items())


def _settings_lines(settings: Mapping[str, Any], of: str = "") -> Iterator[str]:
    """Plain settings on one line, and one line per group of settings."""
    groups = {key: value for key, value in settings.items() if isinstance(value, Mapping)}
    plain = (f"{key} {_text_of(value)}" for key, value in settings.items() if key not in groups and value != "")
    yield f"  {of}{', '.join(plain)}"
    for key, value in groups.items():
        yield from _settings_lines(value, f"{key}: ")


def _cost(cost: Mapping[str, int]) -> str:
    gates = f" and {cost['gates']:,} for gates" if cost["gates"] else ""
    return f"{cost['products']:,} multiply-adds per pair{gates}, {cost['stored']:,} bytes per video (float32)"


def _lines(facts: Mapping[str, Any]) -> Iterator[str]:
    """The facts as lines of text."""
    if facts["kind"] == "head":
        yield from _head_lines(facts)
        return
    if facts["kind"] == "weights":
        seen = f"{facts['dim']} dimensions, {facts['frames']} frames, {facts['words']} tokens"
        how = "trained on clips" if "training" in facts else "(published weights)"
        yield f"{facts['file']}: {facts['model']} {how}, {seen}, {facts['bytes'] / 1e6:.1f} MB"
        yield f"  {_cost(facts['cost'])}"
        yield from (f"  {key}: {_text_of(value)}" for key, value in facts.get("training", {}).items())
        return
    if facts["kind"] == "run":
        per_topic = f"{facts['least']}–{facts['most']} shots per topic"
        yield f"{facts['file']}: run {facts['tag']}, {facts['topics']} topics, {facts['rows']} rows, {per_topic}"
        return
    if facts["kind"] != "feature store":
        counts = {key: value for key, value in facts.items() if key not in ("file", "kind", "strata")}
        rest = ", ".join(f"{_text_of(value)} {key}" for key, value in counts.items())
        strata = ", ".join(f"{count} in stratum {stratum}" for stratum, count in facts.get("strata", {}).items())
        yield f"{facts['file']}: {facts['kind']}, {rest}{strata and f': {strata}'}"
        return
    yield f"{facts['file']}: feature store, {facts['bytes'] / 1e6:.1f} MB"
    if facts["shots"]:
        what = f"{facts['shots']} shots from {facts['videos']} videos, {facts['seconds']:.0f} seconds"
        yield f"  {what}, {facts['thumbnails']} thumbnails"
    for feature in facts["features"]:
        kind = f"{feature['dtype']}{', frame-level' * feature['frame_level']}"
        rows = f"{feature['items']} items, {feature['vectors']} vectors, {feature['dim']} dimensions ({kind})"
        yield f"  {feature['name']}  {rows}, {feature['bytes'] / 1e6:.1f} MB"
        for key, value in feature["provenance"].items():
            yield f"    {key}: {_text_of(value)}"


def _text_of(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text_of(inner)}" for key, inner in value.items())
    return f"{value:.0f}" if isinstance(value, float) and value > 100 else str(value)
