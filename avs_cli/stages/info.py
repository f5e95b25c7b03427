"""Info: the facts of a file, whatever avs reads: a feature store, a head, a run, qrels or a shot table."""

from collections import Counter
from pathlib import Path
from typing import Any

from avs_cli.errors import FormatError
from avs_cli.io.head_file import is_head, load_head, tensor_shapes, written_here
from avs_cli.io.pipe import read_text, spooled
from avs_cli.io.text.shots import is_shot_table, read_shots
from avs_cli.io.text.trec import read_qrels, read_run

HDF5 = b"\x89HDF\r\n\x1a\n"


def facts(name: str) -> dict[str, Any]:
    """The facts of a file, or of one feature of a store, FILE::FEATURE; ready for JSON.

    All have `file` and `kind`: "feature store", "head", "weights" (of a published teacher), "run", "qrels" or "shots".
    Raises FormatError for any other file.
    """
    path, _, feature = name.partition("::")
    with spooled(path) as real:
        if feature or _is_hdf5(real):
            found = _store(path, real, feature)
        elif is_head(real):
            found = _head(real)
        else:
            found = _text(path, real)
    return {"file": name, **found}


def _is_hdf5(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(HDF5)) == HDF5


# Torch and h5py are imported for heads and stores alone: a run is described in an instant.


def _store(name: str, real: Path, feature: str) -> dict[str, Any]:
    """The facts of a store and its features, or of one feature."""
    from avs_cli.io.store.files import read_files
    from avs_cli.io.store.reader import features
    from avs_cli.io.store.texts import TextStore, open_feature

    found = []
    for held in [feature] if feature else features(real):
        with open_feature(real, held) as store:
            what: dict[str, Any]
            if isinstance(store, TextStore):
                worded = sum(bool(pieces) for _, pieces in store.items())
                what = {"with_text": worded, "pieces": store.pieces, "bytes": store.size}
            else:
                what = {
                    "vectors": store.rows,
                    "dim": store.dim,
                    "dtype": store.dtype.name,
                    "frame_level": store.frame_level,
                    "bytes": store.rows * store.dim * store.dtype.itemsize,
                }
            found.append({"name": held, "items": len(store), **what, "provenance": store.provenance})
            shots, thumbnails = store.shots().values(), store.thumbnails
    if not found:
        raise FormatError(name, "a feature store without features")
    table = read_files(real)
    index = None
    if table:
        index = {
            "files": len(table.files),
            "bytes": sum(one.size for one in table.files),
            "without_shots": [one.path for one in table.files if not one.spans],
            "detector": table.detector,
            "models": [*table.models],
        }
    return {
        "kind": "feature store",
        "bytes": real.stat().st_size,
        "shots": len(shots),
        "videos": len({shot.video for shot in shots}),
        "seconds": sum(shot.end - shot.start for shot in shots),
        "thumbnails": thumbnails,
        "index": index,
        "features": found,
    }


def _head(real: Path) -> dict[str, Any]:
    """The facts of a head: its features with their mean weights, its training and its cost."""
    from avs_cli.core.footprint import of_head, of_published

    shapes = tensor_shapes(real)
    kept = load_head(real) if written_here(real) else None
    # A teacher trained by avs distill has the tensor names of its authors' file.
    sizes = {key: value for key, value in kept.head["settings"].items() if type(value) is int} if kept else {}
    if published := of_published(shapes, sizes.get("frames", 12), sizes.get("words", 32)):
        numbers = {key: value for key, value in published._asdict().items() if key != "cost"}
        found = {"kind": "weights", "bytes": real.stat().st_size, **numbers, "cost": published.cost._asdict()}
        return {**found, "training": kept.head.get("training", {})} if kept else found
    kept = kept or load_head(real)
    description = kept.head
    cost = of_head(description)
    weights = description.get("weights") or {}
    features = [
        {
            "of": end,
            "name": part["name"],
            "dim": part.get("dim") or len(part["words"]),
            "weight": weights.get(end, {}).get(part["name"]),
        }
        for end, parts in (
            ("videos", description["videos"]),
            ("texts", [*description["texts"], *description["encoders"]]),
        )
        for part in parts
    ]
    return {
        "kind": "head",
        "head": description["kind"],
        "bytes": real.stat().st_size,
        "parameters": sum(value.numel() for value in kept.weights.values()),
        "settings": description["settings"],
        "features": features,
        "cost": cost._asdict() if cost else None,
        "teachers": description.get("teachers", {}),
        "training": description.get("training", {}),
    }


def _text(name: str, real: Path) -> dict[str, Any]:
    """The facts of a run, qrels or a shot table, detected from the first line."""
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
