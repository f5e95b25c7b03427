"""Files of other tools as ours, and ours as theirs. The format of a file is detected from its content.

    convert("submission.xml", "tv22.run")
    convert("FeatureData/clip/", "gallery.h5::clip")
    convert("laff.pth.tar", "laff.safetensors", trust_pickle=True)

Each kind of source needs other libraries, which are imported when a source of that kind is converted.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from avs_cli.errors import FormatError, MismatchError, SpecError
from avs_cli.io.pipe import read_text
from avs_cli.io.text.captions import are_captions, are_foreign, parse_captions, write_captions
from avs_cli.io.text.records import are_json
from avs_cli.io.text.scores import are_scores, parse_scores
from avs_cli.io.text.trec import is_run, parse_run, write_run
from avs_cli.io.text.words import are_word_lines
from avs_cli.reporting import LOGGED, Reporter
from avs_cli.stages.convert_words import export_words, import_words, is_subtitles
from avs_cli.stages.inputs import FilePath, selected
from avs_cli.types import Run, feature_name

if TYPE_CHECKING:
    from avs_cli.io.arrays import Imported
    from avs_cli.io.pickles import Pickled

Kind = Literal["store", "texts", "vectors", "words", "checkpoint", "text"]
Layout = Literal["bigfile", "clip-retrieval", "srt", "vtt"]

NONE: Mapping[str, str] = MappingProxyType({})
PART = 4096  # rows
STORES = (".h5", ".hdf5")
BINARY = (*STORES, ".npy", ".npz", ".parquet", ".safetensors")
CHECKPOINTS = (".bin", ".ckpt", ".pkl", ".pt", ".pth", ".tar")


def convert(
    source: FilePath,
    target: FilePath,
    *,
    tag: str = "avs",
    topics: str = "",
    depth: int = 1000,
    negate: bool = False,
    frames: bool = False,
    layout: Layout | None = None,
    shots: FilePath = "",
    trust_pickle: bool = False,
    head: str = "",
    features: Mapping[str, str] = NONE,
    vocabularies: Mapping[str, str] = NONE,
    word_vectors: str = "",
    report: Reporter = LOGGED,
) -> None:
    """Convert a file of any kind that `kind_of` knows; each parameter has an effect on one kind only.

    tag, topics, depth                            of runs
    negate                                        see `write_negated_captions`
    frames                                        see `import_vectors`
    layout                                        see `export_vectors` and `convert_words.export_words`
    shots                                         see `convert_words.import_words`
    trust_pickle                                  see `read_checkpoint`
    head, features, vocabularies, word_vectors    see `write_head`
    """
    source, target = str(source), str(target)
    kind = kind_of(source)
    if kind == "vectors":
        import_vectors(source, target, frames=frames, report=report)
    elif kind == "words":
        import_words(source, target, shots=shots, report=report)
    elif kind in ("store", "texts"):
        export(source, target, layout)
    elif kind == "checkpoint":
        checkpoint = read_checkpoint(source, target, trust_pickle=trust_pickle)
        if is_head(checkpoint):
            write_head(source, checkpoint, target, head, features, vocabularies, word_vectors, report)
        else:
            write_weights(checkpoint, target)
    else:
        run, captions = read_texts(source, target)
        if run is None and negate:
            write_negated_captions(target, captions, report)
        elif run is None:
            write_captions(target, captions)
        else:
            write_run(target, selected([run], topics, report)[0], tag, depth)


def kind_of(source: str) -> Kind:
    """What a file or folder holds.

    "store" (of vectors), "texts" (a store of these), "vectors" of another tool, "words" as JSON lines or subtitles,
    "checkpoint", or "text": a run or captions
    """
    path = Path(source)
    name, _, feature = source.partition("::")
    if _begins(Path(name), b"\x89HDF"):
        from avs_cli.io.store.texts import TextStore, open_feature

        with open_feature(name, feature or None) as store:
            return "texts" if isinstance(store, TextStore) else "store"
    if path.exists() and (is_subtitles(path) or (path.is_file() and are_word_lines(path))):
        return "words"
    if path.is_dir() or _begins(path, b"\x93NUMPY"):
        return "vectors"
    # RUC's BigFiles have feature.bin and shape.txt.
    if path.suffix.lower() in CHECKPOINTS and not path.with_name("shape.txt").exists():
        return "checkpoint"
    return "text"


def read_texts(source: str, target: str = "-") -> tuple[Run | None, dict[str, str]]:
    """A run, or None and captions by their ids.

    source  TRECVID XML, RUC's scores, a TREC run, or captions in a format of the field; "-" is stdin
    target  what will be written; raises SpecError for a file that cannot hold text
    """
    text = read_text(source)
    if target.endswith(".xml"):
        raise SpecError("use avs submit to write and check XML for NIST")
    if Path(target).suffix.lower() in BINARY:
        raise SpecError(
            f"{target}: {source} contains a run or captions, which are written as text, not as {Path(target).suffix}"
        )
    if text.lstrip().startswith("<"):
        from avs_cli.core.submission import as_run
        from avs_cli.io.text.trecvid_xml import submission_in

        return as_run(submission_in(source, text)), {}
    if are_scores(text) and not are_foreign(text):
        return parse_scores(source, text), {}
    if is_run(text) and not are_foreign(text):
        return parse_run(source, text), {}
    if are_captions(text) or are_json(text):
        return None, parse_captions(source, text)
    raise FormatError(source, "not TRECVID XML, RUC scores, a TREC run or captions in a supported format")


def write_negated_captions(target: str, captions: Mapping[str, str], report: Reporter = LOGGED) -> None:
    """Write the negated captions of captions, as JSON lines for the objective negation; `-` is stdout.

    Ids are that of the caption with Fn0, Fn1, …, or with Fp0 if the caption itself denies. Notes how many captions have
    none: the rules know verbs in the present and participles in -ing.
    """
    from avs_cli.core.training.negated_captions import negated_captions
    from avs_cli.io.text.negated import write_negated

    found = []
    for id, caption in captions.items():
        sentences, affirmed = negated_captions(caption)
        ids = [f"{id}F{'p' if affirmed else 'n'}{number}" for number in range(len(sentences))]
        found.append((id, caption, list(zip(ids, sentences, strict=True))))
    write_negated(target, found)
    without = sum(not negated for _, _, negated in found)
    report.note(f"{sum(len(negated) for *_, negated in found)} negated captions; {without} captions have none")


def import_vectors(source: str, target: str, *, frames: bool = False, report: Reporter = LOGGED) -> None:
    """Write a BigFile, a clip-retrieval folder or an .npy file as a store of one feature; resumes an interrupted one.

    target  FILE or FILE::FEATURE; the feature is named by the source if not by the target
    frames  whether rows named <item>_<number> are the frames of one item
    """
    from avs_cli.io.arrays import look_like_frames, rows_of
    from avs_cli.io.store.writer import Item, StoreWriter

    path, _, name = target.partition("::")
    if Path(path).suffix.lower() not in ("", *STORES):
        raise SpecError(f"{target}: vectors are converted to a feature store ({' or '.join(STORES)})")
    found = _imported(source, frames)
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
        report.note(f"{source}: ids look like frames (<item>_0 …); use --frames to group them by item")


def export(source: str, target: str, layout: Layout | None = None) -> None:
    """Write a feature of a store, whichever kind it is of, in a layout that its kind has."""
    texts = kind_of(source) == "texts"
    if layout and (layout in ("srt", "vtt")) != texts:
        raise SpecError(f"{source}: --layout {layout} is of {'vectors' if texts else 'texts'}")
    if texts:
        export_words(source, target, layout="vtt" if layout == "vtt" else "srt")
    else:
        export_vectors(source, target, layout="clip-retrieval" if layout == "clip-retrieval" else "bigfile")


def export_vectors(source: str, target: str, *, layout: Literal["bigfile", "clip-retrieval"] = "bigfile") -> None:
    """Write a store as an .npy file or a folder, which is a BigFile by default."""
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


def read_checkpoint(source: str, target: str, *, trust_pickle: bool = False) -> "Pickled":
    """The content of a PyTorch checkpoint that is to become the safetensors file `target`.

    A pickle may execute code: raises SpecError unless the user trusts the file.
    """
    if Path(target).suffix != ".safetensors":
        raise SpecError(f"{target}: a checkpoint is converted to a .safetensors file")
    if not trust_pickle:
        raise SpecError(f"{source}: a pickle, which may execute code; add --trust-pickle if you trust its source")
    from avs_cli.io.pickles import read_pickle

    return read_pickle(source)


def is_head(checkpoint: "Pickled") -> bool:
    """Whether a checkpoint is that of a head trained with the published code of LAFF, W2VV++ or SEA."""
    from avs_cli.core.models import published

    return published.kind_of(checkpoint.tensors) is not None


def write_weights(checkpoint: "Pickled", target: str) -> None:
    """Write the tensors of a checkpoint as safetensors, under their names."""
    from avs_cli.io.pickles import write_tensors

    write_tensors(target, checkpoint.tensors)


def write_head(
    source: str,
    checkpoint: "Pickled",
    target: str,
    head: str = "",
    features: Mapping[str, str] = NONE,
    vocabularies: Mapping[str, str] = NONE,
    word_vectors: str = "",
    report: Reporter = LOGGED,
) -> None:
    """Write a head file from a checkpoint of its published code; the parameters are those of `convert_head`."""
    from avs_cli.stages.published import convert_head

    weights, beside = checkpoint
    convert_head(source, weights, beside, target, head, features, vocabularies, word_vectors, report)


def _begins(path: Path, magic: bytes) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def _imported(source: str, frames: bool) -> "Imported":
    """The vectors in the files of another tool."""
    from avs_cli.io.arrays import is_clip_retrieval, read_clip_retrieval, read_npy
    from avs_cli.io.bigfile import is_bigfile, read_bigfile

    if not Path(source).is_dir():
        return read_npy(source, frames)
    if is_bigfile(source):
        return read_bigfile(source, frames)
    if not is_clip_retrieval(source):
        raise FormatError(
            source,
            "neither a BigFile (feature.bin, id.txt, shape.txt) nor a clip-retrieval folder (img_emb/, metadata/)",
        )
    if frames:
        raise SpecError("--frames applies only to a BigFile or an .npy file; rows of clip-retrieval are images")
    return read_clip_retrieval(source)
