"""Damaged feature stores and head files: what a careless or hostile program could leave in their structure."""

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from avs_cli.io.store.writer import Item, StoreWriter
from avs_cli.types import Shot

MADE_BY = {"model": "tiny", "spec": "tiny", "pooling": "mean", "dtype": "float16", "versions": {"numpy": "2"}}
IDS = [f"video{i}" for i in range(6)]
DEEP = "[" * 100_000
TEXTS = h5py.string_dtype("utf-8")


def store(path: Path, ids: list[str], frames: bool = False, shots: bool = True, feature: str = "tiny") -> Path:
    """A sound store: item i has i % 3 + 1 vectors, or one, and every second one a thumbnail."""
    chance = np.random.default_rng(len(ids))
    with StoreWriter(path, feature, 4, MADE_BY, frame_level=frames) as writer:
        for i, id in enumerate(ids):
            shot = Shot(id, f"{i // 2}.mp4", float(i), i + 1.5) if shots else None
            vectors = chance.normal(size=(i % 3 + 1 if frames else 1, 4))
            writer.add([Item(shot, id, vectors, b"jpeg" * (i + 1) if shots and i % 2 else None)])
        writer.finish(ids)
    return path


# What may stand in the place of a column


def oddities(chance: random.Random) -> list[Callable[[Any, str], Any]]:
    """Ways to make a dataset of this name in this group, all of them wrong, or merely unusual."""
    rows = chance.choice([0, 1, 5, 6, 7, 12, 100])
    values: list[Any] = [
        np.arange(rows),
        np.arange(rows)[::-1],
        np.arange(rows, dtype=">i4"),
        np.arange(rows) - 3,
        np.arange(rows, dtype=np.uint64) + np.uint64(2**64 - 50),
        np.full(rows, np.nan),
        np.full(rows, np.inf),
        np.zeros((rows, 4)),
        np.zeros((rows, 4), np.float16),
        np.zeros((rows, 4), ">f4"),
        np.zeros((rows, 0), np.float16),
        np.zeros((rows, 4, 1), np.float32),
        np.full((rows, 4), np.nan, np.float16),
        np.zeros(rows, bool),
        np.zeros(rows, complex),
        np.zeros(rows, "V8"),
        np.zeros(rows, [("a", "i4"), ("b", "S3")]),
        np.zeros((rows, 2), "S5"),
        np.array([f"video{i}".encode() for i in range(rows)] or [b""])[:rows],
        np.array([b"same"] * rows or [b""])[:rows],
        np.array([bytes([0xFF, 65 + i % 26]) for i in range(rows)] or [b""])[:rows],
        np.array([f"a b{i}".encode() for i in range(rows)] or [b""])[:rows],
        np.array([f"a\n{i}".encode() for i in range(rows)] or [b""])[:rows],
        np.array([f"\u3000{i}".encode() for i in range(rows)] or [b""])[:rows],
        np.array([f"\x1b[3{i}m".encode() for i in range(rows)] or [b""])[:rows],
        np.array([b""] * rows or [b""])[:rows],
        np.array([b"x" * 300 + b"%d" % i for i in range(rows)] or [b""])[:rows],
        "text",
        7,
        h5py.Empty("f4"),
        np.zeros(rows, np.longdouble),
        np.zeros(3, "S1000000"),
    ]

    def of(value: Any) -> Callable[[Any, str], Any]:
        return lambda group, name: group.create_dataset(name, data=value)

    def long_texts(group: Any, name: str) -> None:
        length = chance.choice([256, 5000, 2_000_000])
        group.create_dataset(name, data=["x" * length, *(f"v{i}" for i in range(5))], dtype=TEXTS)

    def enum(group: Any, name: str) -> None:
        group.create_dataset(name, data=np.zeros(6, "i1"), dtype=h5py.enum_dtype({"a": 0, "b": 1}, "i1"))

    def packed(group: Any, name: str) -> None:
        kind = chance.choice(["i8", "f2", "S200", "u1"])
        shape = chance.choice([(60_000_000,), (6,), (60_000_000, 4)])
        group.create_dataset(name, shape, kind, chunks=True, compression="gzip")[:1] = 0

    def bomb(group: Any, name: str) -> None:
        kind = chance.choice(["i8", "S200", "u1"])
        size = 8_000_000 // np.dtype(kind).itemsize
        group.create_dataset(name, data=np.zeros(size, kind), chunks=(size,), compression="gzip")

    return [
        *map(of, values),
        lambda group, name: group.create_dataset(name, data=[f"video{i}" for i in range(6)], dtype=TEXTS),
        lambda group, name: group.create_dataset(name, data=[b"\xff\xfe", b"a"], dtype=TEXTS),
        lambda group, name: group.create_dataset(name, (6,), h5py.vlen_dtype("i4")),
        lambda group, name: group.create_dataset(name, (6,), h5py.ref_dtype),
        lambda group, name: group.create_dataset(name, (6,), np.dtype("(3,)i4")),
        lambda group, name: group.create_dataset(name, (10**12,), "i8", chunks=(1000,)),
        lambda group, name: group.create_dataset(name, (10**10, 4), "f2", chunks=(1000, 4)),
        lambda group, name: group.create_dataset(name, (10**9,), "i8"),
        lambda group, name: group.create_dataset(name, (10**11, 4), "f2"),
        lambda group, name: group.create_dataset(name, (0, 2**40), "f2"),
        lambda group, name: group.create_dataset(name, (6,), "i8", maxshape=(None,), chunks=(1 << 27,), compression=9),
        long_texts,
        enum,
        packed,
        bomb,
        lambda group, name: group.create_group(name),
        lambda group, name: group.__setitem__(name, np.dtype("f4")),
    ]


def links(chance: random.Random, folder: Path) -> list[Callable[[Any, str], Any]]:
    """Ways to put something of this name elsewhere: other files, a pipe that nobody writes to, other places."""
    other = str(folder / "other.h5")
    pipe = folder / "pipe"
    if not pipe.exists():
        os.mkfifo(pipe)
    if not Path(other).exists():
        store(Path(other), IDS, frames=True)

    def virtual(group: Any, name: str) -> None:
        layout = h5py.VirtualLayout((6,), "i8", maxshape=(None,))
        source = h5py.VirtualSource(chance.choice([other, str(pipe)]), "x", (6,), "i8", maxshape=(None,))
        layout[: h5py.h5s.UNLIMITED] = source[: h5py.h5s.UNLIMITED]
        group.create_virtual_dataset(name, layout)

    def stored(group: Any, name: str) -> None:
        group.create_dataset(name, (6, 4), "f2", external=[(chance.choice([other, str(pipe)]), 0, 48)])

    def external(group: Any, name: str) -> None:
        where = chance.choice([other, str(pipe), "nowhere.h5", "."])
        group[name] = h5py.ExternalLink(where, chance.choice(["/tiny", "/tiny/ids", "/", "/shots"]))

    def soft(group: Any, name: str) -> None:
        group[name] = h5py.SoftLink(chance.choice(["/tiny", "/tiny/ids", "/tiny/vectors", "/", "/shots", f"/{name}"]))

    def hard(group: Any, name: str) -> None:
        places = [place for place in ("/tiny", "/tiny/ids", "/tiny/vectors", "/", "/shots") if place in group.file]
        group[name] = group.file[chance.choice(places)]

    return [virtual, stored, external, soft, hard]


def provenances() -> list[Any]:
    """What may stand where a provenance should."""
    wrong: list[Any] = [None, 7, 1.5, "", [], {}, True, "x" * 1000, "\x1b[31m", "\ud800", {"a": [{}]}, 10**30, -1]
    texts: list[Any] = [
        json.dumps({**MADE_BY, key: value}) for key in (*MADE_BY, "pixels", "sampling") for value in wrong
    ]
    texts += ["", "[]", "7", '"x"', "null", "{", DEEP, '{"a":' * 200 + "1" + "}" * 200, "{}", '{"a": NaN, "b": 1e999}']
    texts += [
        np.arange(3),
        7,
        1.5,
        h5py.Empty("f4"),
        h5py.Empty("S3"),
        np.bytes_(b"\xff"),
        np.bytes_(b"{}"),
        [b"{}", b"{}"],
    ]
    return [*texts, np.zeros(2, [("a", "i4")]), True, "9" * 5000]


def damage(path: Path, chance: random.Random) -> str:
    """One accident to the structure of a store; says which."""
    with h5py.File(path, "r+") as file:
        groups = [
            name for name in ("tiny", "shots", "thumbnails") if name in file and isinstance(file[name], h5py.Group)
        ]
        group = file[chance.choice([*groups, *groups, "tiny"])] if "tiny" in groups else file
        names = [name for name in group if name not in groups and name[:5] != "extra"] or ["ids"]
        name = chance.choice(names)
        kind = chance.randrange(12)
        held = group[name] if isinstance(group.get(name, getlink=True), h5py.HardLink) else None
        if kind == 0:
            what = chance.choice(
                [None, 7, "other", b"avs-features", np.arange(3), h5py.Empty("i4"), "avs-features", 1.5]
            )
            key = chance.choice(["format", "format_version"])
            del file.attrs[key]
            if what is not None:
                file.attrs[key] = what
            return f"@{key} {what!r}"
        if kind in (1, 2) and "tiny" in groups:
            what = chance.choice(provenances())
            if "provenance" in file["tiny"].attrs:
                del file["tiny"].attrs["provenance"]
            file["tiny"].attrs["provenance"] = what
            return f"@provenance {what!r:.60}"
        if kind == 3:
            where = chance.choice([file, group])
            gone = chance.choice(list(where) or ["x"])
            if gone in where:
                del where[gone]
            return f"no {where.name} {gone}"
        if kind == 4 and "tiny" in groups:
            new = chance.choice(["\x1b[31mred", "日本", "a b", "-", "...", "::"])
            file.move("tiny", new) if chance.random() < 0.5 else file.copy("tiny", new)
            return f"named {new!r}"
        if kind == 5:
            chance.choice([*oddities(chance), *links(chance, path.parent)])(file, f"extra{chance.randrange(999)}")
            return "extra"
        if kind == 6 and isinstance(held, h5py.Dataset) and held.size and held.ndim:
            if held.size > 1000:
                return "nothing"
            old = held[...]
            new = chance.choice([old[:-1], old[::-1], np.concatenate([old, old[:1]]), old[:, None], old[:1], old[:0]])
            del group[name]
            group.create_dataset(name, data=new)
            return f"cut {group.name}/{name}"
        if kind == 7 and isinstance(held, h5py.Dataset) and held.size and held.ndim == 1:
            values = {"i": [-1, 99, 2**40, -(2**40)], "f": [np.nan, np.inf, -1.0, 1e300]}
            texts = ["", "a b", "\xa0", "x\ny", "\x1b[2J", IDS[0], b"\xff", "\u2028"]
            column = group[name]
            try:
                column[chance.randrange(len(column))] = chance.choice(values.get(column.dtype.kind, texts))
            except (ValueError, TypeError, OverflowError):
                return "nothing"
            return f"value in {group.name}/{name}"
        if name in list(group):
            del group[name]
        ways = oddities(chance) if kind < 10 else links(chance, path.parent)
        place = chance.randrange(len(ways))
        ways[place](group, name)
        return f"{group.name}/{name} way {place}{'' if kind < 10 else ' link'}"


# Heads


def heads(folder: Path) -> list[Path]:
    """Sound heads of every kind, over the features `tiny` (one vector), `framed` and `text`, and a student of clips."""
    import torch

    from avs_cli.core.models.clip.student import ClipStudent
    from avs_cli.core.models.described import describe, rebuild
    from avs_cli.core.models.layers import Input
    from avs_cli.core.models.text.words import Corpus
    from avs_cli.io.head_file import save_head

    corpus = Corpus(["a dog runs"] * 5)
    whole, framed, text, words = Input("tiny", 4), Input("framed", 4, True), Input("text", 4), Input("words", 4, True)
    kinds = {
        "laff:dim=8,heads=2": ([whole, framed], [text], ["bow"]),
        "sea:dim=8": ([whole], [text], ["gru:hidden=4"]),
        "w2vvpp:dim=8,norm=true": ([whole], [text], []),
        "afa:dim=8,header=seqtransf,layers=1": ([framed], [text], []),
        "xpool:dim=8": ([framed], [text], []),
        "xclip:dim=8,frames=3,words=3": ([framed], [words], []),
    }
    made = []
    torch.manual_seed(0)
    for spec, (videos, texts, encoders) in kinds.items():
        described = describe(spec, videos, texts, encoders, corpus, {})
        described |= {"weights": {"videos": {"tiny": 0.5}}, "training": {"epochs": 3, "captions": 12}}
        made.append(folder / f"{spec.partition(':')[0]}.safetensors")
        save_head(made[-1], described, rebuild(described).state_dict())
    vision = {"image_size": 32, "layers": 1, "width": 8, "head_width": 8, "patch_size": 16}
    language = {"width": 8, "heads": 1, "layers": 1, "context_length": 77, "vocab_size": 49408}
    config = {"embed_dim": 8, "quick_gelu": True, "vision_cfg": vision, "text_cfg": language}
    settings = {"config": config, "frames": 4, "words": 8, "aggregate": "attention", "layers": 1, "masked": False}
    settings |= {"temperature": 0.1, "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic"}
    student = {"kind": "teachclip", "settings": settings, "videos": [], "texts": [], "encoders": []}
    student["teachers"] = {"xclip": {"products": 8, "gates": 0, "stored": 32}}
    made.append(folder / "student.safetensors")
    save_head(
        made[-1], student, ClipStudent(**{k: v for k, v in settings.items() if k != "interpolation"}).state_dict()
    )
    return made


ODD: list[Any] = [
    None,
    True,
    -1,
    0,
    1,
    7,
    10**7,
    10**12,
    2**70,
    0.5,
    1e300,
    "",
    "x",
    "laff:dim=3",
    "\x1b[31m",
    [],
    [1],
    ["a"],
]
ODD += [
    {},
    {"a": 1},
    [[]],
    [{}],
    {"a": {"b": [None]}},
    "bow",
    "mean",
    "seqtransf",
    3,
    5,
    "\ud800",
    float("nan"),
    float("inf"),
]


def places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The ways to everything in a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [way, *(place for key, one in inner for place in places(one, (*way, key)))]


def rewritten(value: Any, chance: random.Random) -> tuple[Any, str]:
    """A JSON value in which one thing is missing, added, or another."""
    value = json.loads(json.dumps(value))
    way = chance.choice([place for place in places(value) if place] or [()])
    if not way:
        return chance.choice(ODD), "all"
    holder = value
    for key in way[:-1]:
        holder = holder[key]
    kind = chance.randrange(8)
    if kind <= 1:
        del holder[way[-1]]
        return value, f"no {way}"
    if kind == 2 and isinstance(holder, dict):
        holder["split"] = chance.choice(ODD)
        return value, f"more in {way[:-1]}"
    if kind == 3 and isinstance(holder, list):
        holder += holder[:1] * chance.choice([1, 3])
        return value, f"longer {way[:-1]}"
    if kind == 4 and isinstance(holder[way[-1]], int):
        holder[way[-1]] = holder[way[-1]] * chance.choice([-1, 2, 10, 0, 1000]) + chance.choice([0, 1])
        return value, f"number {way}"
    if kind == 5:
        for _ in range(chance.choice([2, 40, 5000])):
            holder[way[-1]] = [holder[way[-1]]]
            if len(way) > 99:
                break
        return value, f"deep {way}"
    holder[way[-1]] = chance.choice(ODD)
    return value, f"{way} = {holder[way[-1]]!r:.30}"


def damaged_head(source: Path, target: Path, chance: random.Random) -> str:
    """One accident to a head file; says which."""
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    kind = chance.randrange(12)
    if kind == 0:
        data = bytearray(source.read_bytes())
        if chance.random() < 0.5:
            del data[chance.randrange(len(data)) :]
        else:
            data[chance.choice([chance.randrange(8), chance.randrange(min(2000, len(data)))])] = chance.randrange(256)
        target.write_bytes(data)
        return "bytes"
    with safe_open(source, "pt") as file:
        header = json.loads(file.metadata()["avs"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    text = None
    said = ""
    if kind <= 7:
        try:
            sys_header, said = rewritten(header, chance)
            if chance.random() < 0.8 and isinstance(header.get("head"), dict):
                head, said = rewritten(header["head"], chance)
                sys_header = {**header, "head": head}
            text = json.dumps(sys_header)
        except RecursionError:
            text, said = DEEP, "deep"
    elif kind == 8:
        text, said = chance.choice(["", "{", "[]", "null", DEEP, '"x"', "7", "{}", "9" * 5000]), "no header"
    name = chance.choice(sorted(tensors))
    value = tensors[name]
    if kind == 9:
        del tensors[name]
        if chance.random() < 0.7:
            tensors[chance.choice(["x", name + ".x", "training/0/x", ""])] = value
        said = f"renamed {name}"
    elif kind == 10:
        shapes = [value.reshape(-1), value.unsqueeze(0), value.flatten()[:1], value.flatten()[:0], value.reshape(-1, 1)]
        tensors[name] = chance.choice(shapes).clone()
        said = f"reshaped {name}"
    elif kind == 11:
        types = [torch.int64, torch.bool, torch.float16, torch.bfloat16, torch.float64, torch.complex64, torch.uint8]
        if value.is_floating_point() and chance.random() < 0.5:
            tensors[name] = torch.full_like(value, chance.choice([float("nan"), float("inf"), 1e38, 0.0]))
        else:
            tensors[name] = value.to(chance.choice([*types, torch.float8_e4m3fn]))
        said = f"retyped {name}"
    save_file(tensors, target, {"avs": text if text is not None else json.dumps(header)})
    return said
