"""avs convert: other tools' files into ours."""

from typing import Annotated

import typer

from avs_cli import options


def convert(
    source: Annotated[
        str, typer.Argument(metavar="IN", help="A submission's XML, RUC scores, or captions; - is stdin.")
    ],
    target: Annotated[str, typer.Argument(metavar="OUT", help="A TREC run, or captions; - is stdout.")],
    tag: options.Tag = "avs",
    depth: options.Depth = 1000,
) -> None:
    """Convert a file, by what is in it.

    A TRECVID submission (XML) or an id.sent.score.txt of RUC's tools becomes a TREC run. Captions of MSR-VTT and VATEX
    (JSON), TGIF (TSV) and Flickr (token files) become lines of <item>#enc#<n> and a sentence. For XML from a run, see
    avs submit.
    """
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
