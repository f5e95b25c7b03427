"""`avs convert`: convert files of other tools."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from avs_cli import applies, options
from avs_cli.console import TERMINAL, note
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
            help="TRECVID XML, RUC scores, a TREC run, captions, a checkpoint, vectors or a store; - is stdin.",
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
        typer.Option("--trust-pickle", help="Load a pickled checkpoint. This may execute code: trusted files only."),
        BY_HAND,
    ] = False,
    head: Annotated[
        str,
        typer.Option(
            metavar="SPEC", help="Settings that cannot be inferred from a head's weights, such as laff:ave=true."
        ),
    ] = "",
    feature: Annotated[
        list[str] | None,
        typer.Option(metavar="THEIRS=OURS", help="Rename a head's feature to its name in your stores; repeatable."),
    ] = None,
    vocabulary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE",
            help="Vocabulary of a head's bow or gru encoder, if its checkpoint lacks it; repeatable.",
        ),
    ] = None,
    frames: Annotated[
        bool,
        typer.Option("--frames", help="Group rows named <item>_<number> as the frames of one item."),
    ] = False,
    layout: Annotated[
        Literal["bigfile", "clip-retrieval"] | None,
        typer.Option(help="Layout of an output folder.", show_default="bigfile"),
    ] = None,
    word_vectors: Annotated[
        str, typer.Option(metavar="PATH", help="Word vectors of a head: a BigFile folder or a text file.")
    ] = "",
) -> None:
    """Convert files of other tools (format detected from content).

    Runs and captions: a TRECVID submission (XML) or RUC's id.sent.score.txt is converted to a TREC run; --topics
    selects topics of it, or of a TREC run. Captions of MSR-VTT, VATEX and ChinaOpen (JSON), WebVid (CSV), TGIF (TSV),
    Flickr (token files) and RUC are converted to lines of <item>#enc#<n> and a sentence, as are other JSON lines, CSV
    and TSV files with fields video_id (or shot_id, image …) and caption. To write XML, see avs submit.

    Vectors: RUC's BigFile folder, an .npy file with one id per line in a second file (x.npy, x.ids.txt) and a
    clip-retrieval folder are converted to a feature store, and a feature store to any of the three. Frames of a shot
    are grouped by video2frames.txt in a BigFile, by repeated ids in x.ids.txt.

    Weights: a PyTorch checkpoint (.pth, .pt, .bin) is converted to safetensors for avs extract --weights; a checkpoint
    of LAFF, W2VV++ or SEA to a head for avs search --head.

    \b
    Examples:
      avs convert submission.xml tv22.run
      avs convert FeatureData/clip/ gallery.h5::clip
    """
    if [source, topics].count("-") > 1:
        raise SpecError("- is stdin, which can be read once")
    store, vectors = _is_store(source), Path(source).is_dir() or _is_array(source)
    checkpoint = not (store or vectors) and _is_checkpoint(source)
    applies.refuse(
        context,
        (store or vectors or checkpoint, OF_RUNS, "without a run"),
        (not checkpoint, ("trust_pickle", *OF_HEADS), "without a checkpoint"),
        (not vectors, ["frames"], "without a BigFile or an .npy"),
        (not store or target.endswith(".npy"), ["layout"], "without a store that becomes a folder"),
    )
    if vectors:
        if Path(target.partition("::")[0]).suffix.lower() not in ("", *STORES):
            raise SpecError(f"{target}: vectors are converted to a feature store ({' or '.join(STORES)})")
        _store_from(_imported(source, frames), source, target)
        return
    if store:
        _export(source, target, layout)
        return
    if checkpoint:
        held = _trusted(source, target, trust_pickle)
        from avs_cli.core.models.published import kind_of
        from avs_cli.io.pickles import write_tensors

        if kind_of(held.tensors):
            from avs_cli.stages.published import convert_head

            features, vocabularies = _pairs("--feature", feature), _pairs("--vocabulary", vocabulary)
            convert_head(
                source, held.tensors, held.beside, target, head, features, vocabularies, word_vectors, TERMINAL
            )
        else:
            applies.refuse(context, (True, OF_HEADS, "without a head of LAFF, W2VV++ or SEA"))
            write_tensors(target, held.tensors)
        return
    from avs_cli.core.submission import as_run
    from avs_cli.io.pipe import read_text
    from avs_cli.io.text.captions import are_captions, are_foreign, parse_captions, write_captions
    from avs_cli.io.text.records import are_json
    from avs_cli.io.text.scores import are_scores, parse_scores
    from avs_cli.io.text.trec import is_run, parse_run, write_run
    from avs_cli.io.text.trecvid_xml import submission_in
    from avs_cli.stages.inputs import selected

    text = read_text(source)
    if target.endswith(".xml"):
        raise SpecError("use avs submit to write and check XML for NIST")
    if Path(target).suffix.lower() in BINARY:
        raise SpecError(
            f"{target}: {source} contains a run or captions, which are written as text, not as {Path(target).suffix}"
        )
    if text.lstrip().startswith("<"):
        run = as_run(submission_in(source, text))
    elif are_scores(text) and not are_foreign(text):
        run = parse_scores(source, text)
    elif is_run(text) and not are_foreign(text):
        run = parse_run(source, text)
    elif are_captions(text) or are_json(text):
        applies.refuse(context, (True, OF_RUNS, "without a run"))
        write_captions(target, parse_captions(source, text))
        return
    else:
        raise FormatError(
            source,
            "not TRECVID XML, RUC scores, a TREC run or captions in a supported format",
        )
    write_run(target, selected([run], topics, TERMINAL)[0], tag, depth)


def _pairs(option: str, given: list[str] | None) -> dict[str, str]:
    """NAME=VALUE options as a mapping."""
    pairs = dict[str, str]()
    for text in given or []:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise SpecError(f"{option} {text}: expected NAME=VALUE")
        pairs[name] = value
    return pairs


def _is_store(source: str) -> bool:
    path = Path(source.partition("::")[0])
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == b"\x89HDF"


def _imported(source: str, frames: bool) -> "Imported":
    """The vectors in the files of another tool."""
    from avs_cli.io.arrays import is_clip_retrieval, read_clip_retrieval, read_npy
    from avs_cli.io.bigfile import is_bigfile, read_bigfile

    if not Path(source).is_dir():
        found = read_npy(source, frames)
    elif is_bigfile(source):
        found = read_bigfile(source, frames)
    elif not is_clip_retrieval(source):
        raise FormatError(
            source,
            "neither a BigFile (feature.bin, id.txt, shape.txt) nor a clip-retrieval folder (img_emb/, metadata/)",
        )
    elif frames:
        raise SpecError("--frames applies only to a BigFile or an .npy file; rows of clip-retrieval are images")
    else:
        found = read_clip_retrieval(source)
    return found


def _store_from(found: "Imported", source: str, target: str) -> None:
    """Write a store with one feature, named by `target` (FILE::FEATURE) or the source; resumes an interrupted one."""
    from avs_cli.io.arrays import look_like_frames, rows_of
    from avs_cli.io.store.writer import Item, StoreWriter

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
                    f"{path}: contains {other[0]!r} with different vectors; write to another file or remove this one"
                )
            writer.add([item for item in items if item.id not in writer.done])
        writer.finish(found.ids)
    if found.offsets is None and look_like_frames(found.ids):
        note(f"{source}: ids look like frames (<item>_0 …); use --frames to group them by item")


def _export(source: str, target: str, layout: str | None) -> None:
    """Write a store as a folder or an .npy file."""
    from avs_cli.io.arrays import write_clip_retrieval, write_npy
    from avs_cli.io.bigfile import write_bigfile
    from avs_cli.io.store.reader import open_store

    suffix = "" if target.endswith("/") or Path(target).is_dir() else Path(target).suffix.lower()
    if suffix not in ("", ".npy") or target == "-" or (not suffix and Path(target).is_file()):
        raise SpecError(
            f"{target}: a store is converted to an .npy file or a folder (a BigFile, or --layout clip-retrieval); "
            "a folder name with a dot needs a final /"
        )
    with open_store(source) as store:
        shape = (int(store.offsets[-1]), store.dim)
        if suffix:
            write_npy(target, shape, store.dtype, store.blocks())
        elif layout == "clip-retrieval":
            if store.frame_level:
                raise SpecError(
                    f"{source}: clip-retrieval has one vector per item, and these are frame-level; write a BigFile"
                )
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
    # RUC's BigFiles have feature.bin and shape.txt.
    return path.suffix.lower() in CHECKPOINTS and not path.with_name("shape.txt").exists()


def _trusted(source: str, target: str, trusted: bool) -> "Pickled":
    """The content of a checkpoint; raises SpecError unless the user trusts the file."""
    if Path(target).suffix != ".safetensors":
        raise SpecError(f"{target}: a checkpoint is converted to a .safetensors file")
    if not trusted:
        raise SpecError(f"{source}: a pickle, which may execute code; add --trust-pickle if you trust its source")
    from avs_cli.io.pickles import read_pickle

    return read_pickle(source)
