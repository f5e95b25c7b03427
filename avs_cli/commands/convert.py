"""avs convert: other tools' files into ours."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from avs_cli import options
from avs_cli.commands import _applies
from avs_cli.commands._published import write_head
from avs_cli.console import note
from avs_cli.errors import FormatError, MismatchError, SpecError
from avs_cli.outputs import BY_HAND, WRITES
from avs_cli.types import feature_name

if TYPE_CHECKING:
    from avs_cli.io.arrays import Imported
    from avs_cli.io.pickles import Pickled

# What has an effect on runs alone, and on checkpoints of heads alone.
OF_RUNS = ("tag", "topics", "depth")
OF_HEADS = ("head", "feature", "vocabulary", "word_vectors")
PART = 4096  # rows
STORES = (".h5", ".hdf5")
BINARY = (*STORES, ".npy", ".npz", ".parquet", ".safetensors")

CHECKPOINTS = (".bin", ".ckpt", ".pkl", ".pt", ".pth", ".tar")


def convert(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            metavar="IN",
            help="A submission's XML, RUC scores, a TREC run, captions, a checkpoint, vectors or a store; - is stdin.",
        ),
    ],
    target: Annotated[
        str,
        typer.Argument(metavar="OUT", help="A TREC run, captions, safetensors, a store or vectors; - is stdout."),
        WRITES,
    ],
    tag: options.Tag = "avs",
    topics: options.Topics = "",
    depth: options.Depth = 1000,
    trust_pickle: Annotated[
        bool,
        typer.Option("--trust-pickle", help="Read a checkpoint that can run any code; only from who you trust."),
        BY_HAND,
    ] = False,
    head: Annotated[
        str, typer.Option(metavar="SPEC", help="Settings that a head's weights do not tell, as laff:ave=true.")
    ] = "",
    feature: Annotated[
        list[str] | None,
        typer.Option(metavar="THEIRS=OURS", help="A head's feature, and what it is called in your stores; repeatable."),
    ] = None,
    vocabulary: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FILE", help="Words of a head's bow or gru, if its checkpoint lacks them."),
    ] = None,
    frames: Annotated[
        bool,
        typer.Option("--frames", help="Rows called <item>_<number> are frames: they become the vectors of one item."),
    ] = False,
    layout: Annotated[
        Literal["bigfile", "clip-retrieval"] | None,
        typer.Option(help="Of a folder that a store becomes.", show_default="bigfile"),
    ] = None,
    word_vectors: Annotated[
        str, typer.Option(metavar="PATH", help="A head's word vectors: a BigFile folder or a text file.")
    ] = "",
) -> None:
    """Convert files of other tools; what a file is shows in its content.

    Text: a TRECVID submission (XML) or RUC's id.sent.score.txt becomes a TREC run; --topics selects a part of it, or of
    a TREC run. Captions of MSR-VTT, VATEX and ChinaOpen (JSON), WebVid (CSV), TGIF (TSV), Flickr (token files) and RUC
    become lines of <item>#enc#<n> and a sentence; so do other JSON lines, CSV and TSV whose records have video_id (or
    shot_id, image …) and caption. For XML from a run, see avs submit.

    Vectors: RUC's BigFile folder, an .npy file with its ids beside it (x.npy and x.ids.txt, an id per line) and
    clip-retrieval's folder become a feature store, and a feature store becomes any of the three. The frames of a shot
    stay together: in a BigFile by its video2frames.txt, in x.ids.txt by the shot's id on each of its rows.

    Weights: a PyTorch checkpoint (.pth, .pt, .bin) becomes safetensors, which avs extract takes as --weights; one of
    LAFF, W2VV++ or SEA, which is known by its weights' names, becomes a head for avs search --head.
    """
    if [source, topics].count("-") > 1:
        raise SpecError("- is stdin, which can be read once")
    store, vectors = _is_store(source), Path(source).is_dir() or _is_array(source)
    checkpoint = not (store or vectors) and _is_checkpoint(source)
    _applies.refuse(
        context,
        (store or vectors or checkpoint, OF_RUNS, "without a run"),
        (not checkpoint, ("trust_pickle", *OF_HEADS), "without a checkpoint"),
        (not vectors, ["frames"], "without a BigFile or an .npy"),
        (not store or target.endswith(".npy"), ["layout"], "without a store that becomes a folder"),
    )
    if vectors:
        if Path(target.partition("::")[0]).suffix.lower() not in ("", *STORES):
            raise SpecError(f"{target}: vectors become a feature store, {' or '.join(STORES)}")
        _store_from(_imported(source, frames), source, target)
        return
    if store:
        _export(source, target, layout)
        return
    if checkpoint:
        held = _trusted(source, target, trust_pickle)
        from avs_cli.core.heads._published import kind_of
        from avs_cli.io.pickles import write_tensors

        if kind_of(held.tensors):
            write_head(source, held.tensors, held.beside, target, head, feature or [], vocabulary or [], word_vectors)
        else:
            _applies.refuse(context, (True, OF_HEADS, "without a head of LAFF, W2VV++ or SEA"))
            write_tensors(target, held.tensors)
        return
    from avs_cli.commands._inputs import selected
    from avs_cli.core.submission import as_run
    from avs_cli.io.captions import are_captions, are_foreign, parse_captions, write_captions
    from avs_cli.io.pipe import read_text
    from avs_cli.io.records import are_json
    from avs_cli.io.score_files import are_scores, parse_scores
    from avs_cli.io.trec import is_run, parse_run, write_run
    from avs_cli.io.trecvid_xml import submission_in

    text = read_text(source)
    if target.endswith(".xml"):
        raise SpecError("XML for NIST is written by avs submit, which also checks it")
    if Path(target).suffix.lower() in BINARY:
        raise SpecError(f"{target}: {source} holds runs or captions, which become text, and no {Path(target).suffix}")
    if text.lstrip().startswith("<"):
        run = as_run(submission_in(source, text))
    elif are_scores(text) and not are_foreign(text):
        run = parse_scores(source, text)
    elif is_run(text) and not are_foreign(text):
        run = parse_run(source, text)
    elif are_captions(text) or are_json(text):
        _applies.refuse(context, (True, OF_RUNS, "without a run"))
        write_captions(target, parse_captions(source, text))
        return
    else:
        raise FormatError(
            source,
            "neither a submission's XML, nor RUC scores, nor a TREC run, nor captions in a format that avs reads",
        )
    write_run(target, selected([run], topics)[0], tag, depth)


def _is_store(source: str) -> bool:
    path = Path(source.partition("::")[0])
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == b"\x89HDF"


def _imported(source: str, frames: bool) -> "Imported":
    """The vectors of another tool's files."""
    from avs_cli.io.arrays import is_clip_retrieval, read_clip_retrieval, read_npy
    from avs_cli.io.bigfile import is_bigfile, read_bigfile

    if not Path(source).is_dir():
        found = read_npy(source, frames)
    elif is_bigfile(source):
        found = read_bigfile(source, frames)
    elif not is_clip_retrieval(source):
        raise FormatError(
            source,
            "a folder without feature.bin, id.txt and shape.txt is no BigFile, without img_emb and metadata none "
            "of clip-retrieval",
        )
    elif frames:
        raise SpecError("--frames is for a BigFile or an .npy; clip-retrieval's rows are pictures")
    else:
        found = read_clip_retrieval(source)
    return found


def _store_from(found: "Imported", source: str, target: str) -> None:
    """A store of one feature, called as in `target` (FILE::FEATURE) or as the source; a killed one is continued."""
    from avs_cli.io.arrays import look_like_frames, rows_of
    from avs_cli.io.store_writer import Item, StoreWriter

    path, _, name = target.partition("::")
    feature = name or feature_name(Path(source).resolve().name.removesuffix(".npy"))
    dtype = "float16" if found.vectors.dtype.itemsize == 2 else "float32"
    provenance = {"model": feature}
    with StoreWriter(path, feature, found.vectors.shape[1], provenance, dtype, found.offsets is not None) as writer:
        for block in found.blocks(PART):
            items = [Item(None, id, vectors) for id, vectors in rows_of(block)]
            done = [item for item in items if item.id in writer.done]
            if other := writer.differing(done):
                raise MismatchError(
                    f"{path}: {other[0]!r} is there already with other vectors; write to another file or remove it"
                )
            writer.add([item for item in items if item.id not in writer.done])
        writer.finish(found.ids)
    if found.offsets is None and look_like_frames(found.ids):
        note(f"{source}: ids look like frames, <item>_0 and so on; --frames makes them frames of one item each")


def _export(source: str, target: str, layout: str | None) -> None:
    """A folder or an .npy of a store."""
    from avs_cli.io.arrays import write_clip_retrieval, write_npy
    from avs_cli.io.bigfile import write_bigfile
    from avs_cli.io.store import open_store

    suffix = "" if target.endswith("/") or Path(target).is_dir() else Path(target).suffix.lower()
    if suffix not in ("", ".npy") or target == "-" or (not suffix and Path(target).is_file()):
        raise SpecError(
            f"{target}: a store becomes an .npy file or a folder (a BigFile, or --layout clip-retrieval); "
            "a / ends a folder's name that has a dot"
        )
    with open_store(source) as store:
        shape = (int(store.offsets[-1]), store.dim)
        if suffix:
            write_npy(target, shape, store.dtype, store.blocks())
        elif layout == "clip-retrieval":
            if store.frame_level:
                raise SpecError(f"{source}: several vectors per shot, and clip-retrieval has one; export a BigFile")
            write_clip_retrieval(target, shape, store.dtype, store.blocks())
        else:
            write_bigfile(target, store.dim, store.blocks())


def _is_array(source: str) -> bool:
    path = Path(source)
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(6) == b"\x93NUMPY"


def _is_checkpoint(source: str) -> bool:
    path = Path(source)
    # RUC's BigFiles are feature.bin with their shape beside them.
    return path.suffix.lower() in CHECKPOINTS and not path.with_name("shape.txt").exists()


def _trusted(source: str, target: str, trusted: bool) -> "Pickled":
    """What a checkpoint holds; nothing is read unless the user trusts the file."""
    if Path(target).suffix != ".safetensors":
        raise SpecError(f"{target}: a checkpoint becomes a .safetensors file")
    if not trusted:
        raise SpecError(f"{source}: a pickle, which can run any code; if you trust who made it, add --trust-pickle")
    from avs_cli.io.pickles import read_pickle

    return read_pickle(source)
