"""`avs serve`: search galleries in the browser, with marks that teach."""

import os
from typing import Annotated

import typer

from avs_cli import applies
from avs_cli.errors import SpecError
from avs_cli.options import AllowMismatch, Device, Threads, Videos, Weights
from avs_cli.outputs import BY_HAND, Writes

Galleries = Annotated[
    list[str],
    typer.Argument(
        metavar="GALLERY...",
        help="Feature stores: FILE with all its features, or FILE::FEATURE. Rankings of several features are fused.",
    ),
]
Marks = Annotated[
    str,
    typer.Option(
        "--qrels",
        metavar="OUT",
        help="Qrels to which marks are added; the text of their topics is in a file beside it, as marks.topics.jsonl.",
    ),
    Writes(),
]
Host = Annotated[
    str,
    typer.Option(
        metavar="ADDRESS",
        help="Address to listen on. Any but that of this machine alone needs the token in the printed URL.",
    ),
    BY_HAND,
]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 chooses a free one.")]

PASSWORD = "AVS_DRES_PASSWORD"


def serve(
    context: typer.Context,
    gallery: Galleries,
    marks: Marks = "marks.qrels",
    videos: Videos = None,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    dres: Annotated[
        str,
        typer.Option(metavar="URL", help="DRES server to submit shots to, as in the Video Browser Showdown."),
        # It gets the password, and a host of all networks their requests: not for an avs.toml from elsewhere.
        BY_HAND,
    ] = "",
    dres_user: Annotated[
        str,
        typer.Option(metavar="NAME", help="User of the DRES server; the password is AVS_DRES_PASSWORD, or asked for."),
    ] = "",
    dres_evaluation: Annotated[
        str, typer.Option(metavar="NAME", help="Evaluation to submit to, where several are active.")
    ] = "",
    weights: Weights = None,
    allow_mismatch: AllowMismatch = False,
    device: Device = "auto",
    threads: Threads = 0,
) -> None:
    """Search galleries in the browser: the page of avs view, live.

    Prints the page's URL and serves it until Ctrl-C. A question is a sentence, a picture, or both. A line may have the
    structure of avs search --query (avs-formats(7), QUERIES): "a dog on a beach -people" is without people, and "a dog
    > a ball < 20s" is followed by a ball within 20 seconds, for which the page also has a second line. Shots play in
    the page, as far as the browser decodes them; files and folders narrow the search down; ? lists the keys.

    Shots that are liked or disliked are added to --qrels at once, and re-rank the answer as avs rerank --method
    feedback. avs eval, avs fuse --ltr and avs rerank read this file, and its topics. The answer is exported as a run,
    clips or a cut list.

    With --dres, a button submits the moment that the player shows, or the whole shot, and shows the verdict.

    A gallery that avs index has changed is opened again by itself. The server reads what the gallery names and no other
    file. It answers this machine alone, unless --host is given; then everyone with the printed URL, and without
    encryption.

    \b
    Examples:
      avs serve videos.h5 --qrels holiday.qrels --open
      avs serve clip.h5 lite.h5 --videos ~/Videos
      avs serve videos.h5 --host 0.0.0.0 --port 8080
      avs serve v3c.h5 --dres https://vbs.example.org --dres-user team
    """
    if dres and not dres_user:
        raise SpecError(f"--dres {dres}: as which user? give --dres-user NAME")
    applies.refuse(context, (not dres, ("dres_user", "dres_evaluation"), "without --dres"))
    from avs_cli.console import TERMINAL, note
    from avs_cli.pages.server import serve as run
    from avs_cli.stages.live import Live

    def started(url: str) -> None:
        note(f"{len(live):,} shots; marks go to {marks}; Ctrl-C stops")
        print(url, flush=True)
        if open_browser:
            import webbrowser

            webbrowser.open(url)

    submit = None
    if dres:
        from avs_cli.stages.contest import submitting

        password = os.environ.get(PASSWORD) or typer.prompt(f"password of {dres_user}", hide_input=True, err=True)
        submit = submitting(dres, dres_user, password, dres_evaluation, report=TERMINAL)
    with Live(
        gallery,
        marks=marks,
        videos=videos or [],
        weights=weights,
        allow_mismatch=allow_mismatch,
        device=device,
        threads=threads,
        report=TERMINAL,
    ) as live:
        run(live, host, port, submit=submit, started=started)
    note("stopped")
