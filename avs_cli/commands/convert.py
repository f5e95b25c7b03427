"""`avs convert`: convert files of other tools."""

from typing import Annotated, Literal

import typer

from avs_cli import applies, options
from avs_cli.console import TERMINAL
from avs_cli.errors import SpecError
from avs_cli.outputs import BY_HAND, WRITES

# What has an effect on runs alone, and on checkpoints of heads alone.
OF_RUNS = ("tag", "topics", "depth")
OF_HEADS = ("head", "feature", "vocabulary", "word_vectors")


def convert(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            metavar="IN",
            help="TRECVID XML, RUC scores, a TREC run, captions, a checkpoint, vectors, subtitles, words as JSON lines "
            "or a store; - is stdin.",
        ),
    ],
    target: Annotated[
        str,
        typer.Argument(
            metavar="OUT",
            help="A TREC run, captions, safetensors, a store, vectors, JSON lines or subtitles; - is stdout.",
        ),
        WRITES,
    ],
    tag: options.Tag = "avs",
    topics: options.Topics = "",
    depth: options.Depth = 1000,
    negate: Annotated[
        bool,
        typer.Option("--negate", help="Write negated captions of captions, as JSON lines for avs train --negated."),
    ] = False,
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
        Literal["bigfile", "clip-retrieval", "srt", "vtt"] | None,
        typer.Option(help="Layout of an output folder.", show_default="bigfile; of texts, srt"),
    ] = None,
    shots: Annotated[
        str,
        typer.Option(
            metavar="FILE", help="Shot table that divides subtitles among its shots; without it a file is one shot."
        ),
    ] = "",
    word_vectors: Annotated[
        str, typer.Option(metavar="PATH", help="Word vectors of a head: a BigFile folder or a text file.")
    ] = "",
) -> None:
    """Convert files of other tools (format detected from content).

    Runs and captions: a TRECVID submission (XML) or RUC's id.sent.score.txt is converted to a TREC run; --topics
    selects topics of it, or of a TREC run. Captions of MSR-VTT, VATEX and ChinaOpen (JSON), WebVid (CSV), TGIF (TSV),
    Flickr (token files) and RUC are converted to lines of <item>#enc#<n> and a sentence, as are other JSON lines, CSV
    and TSV files with fields video_id (or shot_id, image …) and caption. To write XML, see avs submit.

    Negated captions: --negate inserts cues of negation into captions by rules, for verbs in the present, participles in
    -ing, is, are and with, and removes those of captions that deny. avs extract --text encodes the file for training.

    Vectors: RUC's BigFile folder, an .npy file with one id per line in a second file (x.npy, x.ids.txt) and a
    clip-retrieval folder are converted to a feature store, and a feature store to any of the three. Frames of a shot
    are grouped by video2frames.txt in a BigFile, by repeated ids in x.ids.txt.

    Words: subtitles (.srt, .vtt, .ass, .ssa, or a folder of them, named after their videos) and JSON lines of shots and
    their pieces of text are converted to a feature of texts, as avs extract --model subtitles writes it; such a feature
    to JSON lines, which are exact (.jsonl), to .srt or .vtt, or to a folder with a file per video.

    Weights: a PyTorch checkpoint (.pth, .pt, .bin) is converted to safetensors for avs extract --weights; a checkpoint
    of LAFF, W2VV++ or SEA to a head for avs search --head.

    \b
    Examples:
      avs convert submission.xml tv22.run
      avs convert FeatureData/clip/ gallery.h5::clip
      avs convert train.txt negated.jsonl --negate
      avs convert subtitles/ words.h5 --shots shots.tsv
    """
    if [source, topics].count("-") > 1:
        raise SpecError("- is stdin, which can be read once")
    from avs_cli.io.text.captions import write_captions
    from avs_cli.io.text.trec import write_run
    from avs_cli.stages import convert as stage
    from avs_cli.stages.convert_words import import_words
    from avs_cli.stages.inputs import selected

    kind = stage.kind_of(source)
    applies.refuse(
        context,
        (kind != "text", OF_RUNS, "without a run"),
        (kind != "text", ["negate"], "without captions"),
        (kind != "checkpoint", ("trust_pickle", *OF_HEADS), "without a checkpoint"),
        (kind != "vectors", ["frames"], "without a BigFile or an .npy"),
        (
            kind not in ("store", "texts") or target.endswith((".npy", ".jsonl", ".srt", ".vtt")),
            ["layout"],
            "without a store that becomes a folder",
        ),
        (kind != "words", ["shots"], "without subtitles"),
    )
    if kind == "vectors":
        stage.import_vectors(source, target, frames=frames, report=TERMINAL)
    elif kind == "words":
        import_words(source, target, shots=shots, report=TERMINAL)
    elif kind in ("store", "texts"):
        stage.export(source, target, layout)
    elif kind == "checkpoint":
        checkpoint = stage.read_checkpoint(source, target, trust_pickle=trust_pickle)
        if stage.is_head(checkpoint):
            features, vocabularies = _pairs("--feature", feature), _pairs("--vocabulary", vocabulary)
            stage.write_head(source, checkpoint, target, head, features, vocabularies, word_vectors, TERMINAL)
        else:
            applies.refuse(context, (True, OF_HEADS, "without a head of LAFF, W2VV++ or SEA"))
            stage.write_weights(checkpoint, target)
    else:
        run, captions = stage.read_texts(source, target)
        if run is None:
            applies.refuse(context, (True, OF_RUNS, "without a run"))
            if negate:
                stage.write_negated_captions(target, captions, TERMINAL)
            else:
                write_captions(target, captions)
        else:
            applies.refuse(context, (True, ["negate"], "without captions"))
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
