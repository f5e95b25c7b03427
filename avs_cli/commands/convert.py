"""avs convert: other tools' files into ours."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avs_cli import options
from avs_cli.commands._published import write_head
from avs_cli.errors import FormatError, MismatchError, SpecError
from avs_cli.outputs import BY_HAND, WRITES
from avs_cli.types import feature_name

if TYPE_CHECKING:
    from avs_cli.io.pickles import Pickled
    from avs_cli.types import Block

PART = 4096

CHECKPOINTS = (".bin", ".ckpt", ".pkl", ".pt", ".pth", ".tar")


def convert(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            metavar="IN",
            help="A submission's XML, RUC scores, a TREC run, captions, a checkpoint, a BigFile or a store; - is "
            "stdin.",
        ),
    ],
    target: Annotated[
        str,
        typer.Argument(metavar="OUT", help="A TREC run, captions, safetensors, a store or a BigFile; - is stdout."),
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
    word_vectors: Annotated[
        str, typer.Option(metavar="PATH", help="A head's word vectors: a BigFile folder or a text file.")
    ] = "",
) -> None:
    """Convert a file, by what is in it.

    A TRECVID submission (XML) or an id.sent.score.txt of RUC's tools becomes a TREC run; --topics selects a part of it,
    or of a TREC run. Captions of MSR-VTT and VATEX (JSON), TGIF (TSV) and Flickr (token files) become lines of
    <item>#enc#<n> and a sentence. A PyTorch checkpoint (.pth, .pt, .bin) becomes safetensors, which avs extract takes
    as --weights; one of LAFF, W2VV++ or SEA, which is known by its weights' names, becomes a head for avs search
    --head. RUC's BigFile folder becomes a feature store, and a feature store such a folder. For XML from a run, see avs
    submit.
    """
    if [source, topics].count("-") > 1:
        raise SpecError("- is stdin, which can be read once")
    told = bool(head or feature or vocabulary or word_vectors)
    if told and not _is_checkpoint(source):
        raise SpecError("--head, --feature, --vocabulary and --word-vectors are for a checkpoint of a head")
    if Path(source).is_dir() or _is_store(source) or _is_checkpoint(source):
        _no_topics(context)
    if Path(source).is_dir():
        _store_from_bigfile(source, target)
        return
    if _is_store(source):
        _bigfile_from_store(source, target)
        return
    if _is_checkpoint(source):
        held = _trusted(source, target, trust_pickle)
        from avs_cli.core.heads._published import kind_of
        from avs_cli.io.pickles import write_tensors

        if kind_of(held.tensors):
            write_head(source, held.tensors, held.beside, target, head, feature or [], vocabulary or [], word_vectors)
        elif told:
            raise MismatchError(f"{source}: not a head of LAFF, W2VV++ or SEA, so nothing is to be told about it")
        else:
            write_tensors(target, held.tensors)
        return
    from avs_cli.commands._inputs import selected
    from avs_cli.core.submission import as_run
    from avs_cli.io.captions import are_foreign, parse_captions, write_captions
    from avs_cli.io.pipe import read_text
    from avs_cli.io.score_files import are_scores, parse_scores
    from avs_cli.io.trec import is_run, parse_run, write_run
    from avs_cli.io.trecvid_xml import submission_in

    text = read_text(source)
    if target.endswith(".xml"):
        raise SpecError("XML for NIST is written by avs submit, which also checks it")
    if text.lstrip().startswith("<"):
        run = as_run(submission_in(source, text))
    elif are_foreign(text):
        _no_topics(context)
        write_captions(target, parse_captions(source, text))
        return
    elif are_scores(text):
        run = parse_scores(source, text)
    elif is_run(text):
        run = parse_run(source, text)
    else:
        raise FormatError(
            source,
            "neither a submission's XML, nor RUC scores, nor a TREC run, nor captions in JSON, TGIF or Flickr format",
        )
    write_run(target, selected([run], topics)[0], tag, depth)


def _no_topics(context: typer.Context) -> None:
    """Raises SpecError for a `--topics` that has nothing to select from."""
    if options.written(context, "topics"):
        raise SpecError("--topics selects topics of a run, and this is none")


def _is_store(source: str) -> bool:
    path = Path(source.partition("::")[0])
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == b"\x89HDF"


def _store_from_bigfile(source: str, target: str) -> None:
    """A store of one feature, called as in `target` (FILE::FEATURE) or as the folder."""
    from avs_cli.io.bigfile import BigFile, is_bigfile
    from avs_cli.io.store_writer import Item, StoreWriter

    if not is_bigfile(source):
        raise FormatError(source, "a folder without feature.bin, id.txt and shape.txt is no BigFile")
    big = BigFile(source)
    path, _, name = target.partition("::")
    feature = name or feature_name(Path(source).resolve().name)
    with StoreWriter(path, feature, big.vectors.shape[1], {"model": feature}, "float32") as writer:
        for low in range(0, len(big.ids), PART):
            ids = big.ids[low : low + PART]
            writer.add([Item(None, id, row) for id, row in zip(ids, big.vectors[low : low + PART], strict=True)])
        writer.finish(big.ids)


def _bigfile_from_store(source: str, target: str) -> None:
    """A folder; the vectors of an item that has several are called <id>_0, <id>_1 …, as RUC's tools call frames."""
    from avs_cli.errors import SpecError
    from avs_cli.io.bigfile import write_bigfile
    from avs_cli.io.store import open_store

    if target == "-" or Path(target).is_file():
        raise SpecError(f"{target}: a BigFile is a folder")
    with open_store(source) as store:
        write_bigfile(target, store.dim, ((_row_ids(block), block.vectors) for block in store.blocks()))


def _row_ids(block: "Block") -> list[str]:
    if block.offsets is None:
        return list(block.ids)
    ends = block.offsets.tolist()
    return [f"{id}_{k}" for id, low, high in zip(block.ids, ends, ends[1:], strict=False) for k in range(high - low)]


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
