"""`avs info`: describe stores, heads, runs, qrels and shot tables."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from avs_cli.console import answer, visible_json
from avs_cli.options import Json

COSTS = ("products", "gates", "stored")


def info(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Feature stores, heads, runs, qrels or shot tables.")
    ],
    json: Json = False,
) -> None:
    """Describe feature stores, heads, runs, qrels and shot tables.

    Of a feature store, its features, their provenance, shots, thumbnails and, if avs index wrote it, its videos; of a
    head, its parameters, features, training and cost; of a run or qrels, the number of topics, shots and judgments.

    \b
    Examples:
      avs info gallery.h5
      avs info laff.safetensors tv22.run tv22.qrels --json
    """
    from avs_cli.stages.info import facts

    found = []
    for name in files:
        found.append(facts(name))
        if not json:
            answer(_lines(found[-1]))
    if json:
        from json import dumps

        print(visible_json(dumps(found, indent=2, ensure_ascii=False)))


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
    if index := facts["index"]:
        without = f", {len(index['without_shots'])} of them without shots" if index["without_shots"] else ""
        videos = f"{index['files']} video{'s' * (index['files'] != 1)}"
        yield f"  index of {videos} ({index['bytes'] / 1e6:.1f} MB{without}), shots by {index['detector']}"
    for feature in facts["features"]:
        yield f"  {feature['name']}  {feature['items']} items, {_rows(feature)}, {feature['bytes'] / 1e6:.1f} MB"
        for key, value in feature["provenance"].items():
            yield f"    {key}: {_text_of(value)}"


def _rows(feature: Mapping[str, Any]) -> str:
    """What the items of a feature are made of."""
    if "pieces" in feature:
        return f"{feature['with_text']} with text, {feature['pieces']} pieces of text"
    kind = f"{feature['dtype']}{', frame-level' * feature['frame_level']}"
    return f"{feature['vectors']} vectors, {feature['dim']} dimensions ({kind})"


def _text_of(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text_of(inner)}" for key, inner in value.items())
    return f"{value:.0f}" if isinstance(value, float) and value > 100 else str(value)
