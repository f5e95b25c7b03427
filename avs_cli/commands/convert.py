"""avs convert: other tools' files into ours."""

from pathlib import Path
from typing import Annotated

import typer

from avs_cli import options

CHECKPOINTS = (".bin", ".ckpt", ".pkl", ".pt", ".pth", ".tar")


def convert(
    source: Annotated[
        str, typer.Argument(metavar="IN", help="A submission's XML, RUC scores, captions, or a checkpoint; - is stdin.")
    ],
    target: Annotated[str, typer.Argument(metavar="OUT", help="A TREC run, captions, or safetensors; - is stdout.")],
    tag: options.Tag = "avs",
    depth: options.Depth = 1000,
    trust_pickle: Annotated[
        bool,
        typer.Option("--trust-pickle", help="Read a checkpoint that can run any code; only from who you trust."),
    ] = False,
) -> None:
    """Convert a file, by what is in it.

    A TRECVID submission (XML) or an id.sent.score.txt of RUC's tools becomes a TREC run. Captions of MSR-VTT and VATEX
    (JSON), TGIF (TSV) and Flickr (token files) become lines of <item>#enc#<n> and a sentence. A PyTorch checkpoint
    (.pth, .pt, .bin) becomes safetensors, which avs extract takes as --weights. For XML from a run, see avs submit.
    """
    if _is_checkpoint(source):
        _make_safe(source, target, trust_pickle)
        return
    from avs_cli.core.submission import as_run
    from avs_cli.errors import FormatError, SpecError
    from avs_cli.io.captions import are_foreign, parse_captions, write_captions
    from avs_cli.io.pipe import read_text
    from avs_cli.io.score_files import are_scores, parse_scores
    from avs_cli.io.trec import write_run
    from avs_cli.io.trecvid_xml import submission_in

    text = read_text(source)
    if target.endswith(".xml"):
        raise SpecError("XML for NIST is written by avs submit, which also checks it")
    if text.lstrip().startswith("<"):
        write_run(target, as_run(submission_in(source, text)), tag, depth)
    elif are_foreign(text):
        write_captions(target, parse_captions(source, text))
    elif are_scores(text):
        write_run(target, parse_scores(source, text), tag, depth)
    else:
        raise FormatError(
            source, "neither a submission's XML, nor RUC scores, nor captions in JSON, TGIF or Flickr format"
        )


def _is_checkpoint(source: str) -> bool:
    path = Path(source)
    # RUC's BigFiles are feature.bin with their shape beside them.
    return path.suffix.lower() in CHECKPOINTS and not path.with_name("shape.txt").exists()


def _make_safe(source: str, target: str, trusted: bool) -> None:
    """A checkpoint's tensors as safetensors; nothing is read unless the user trusts the file."""
    from avs_cli.errors import SpecError

    if Path(target).suffix != ".safetensors":
        raise SpecError(f"{target}: a checkpoint becomes a .safetensors file")
    if not trusted:
        raise SpecError(f"{source}: a pickle, which can run any code; if you trust who made it, add --trust-pickle")
    from avs_cli.io.pickles import read_pickle, write_tensors

    write_tensors(target, read_pickle(source))
