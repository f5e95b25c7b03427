"""`avs expand`: other wordings of topics, by a language model."""

from typing import Annotated

import typer

from avs_cli.console import TERMINAL
from avs_cli.errors import SpecError
from avs_cli.options import Device, Output, Seed, Threads


def expand(
    topics: Annotated[str, typer.Argument(metavar="TOPICS", help="Topics file; - is stdin.")],
    model: Annotated[
        str,
        typer.Option(
            metavar="FOLDER|NAME",
            help="Language model: a folder that transformers reads, or OWNER/NAME on the Hugging Face hub.",
        ),
    ],
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=100, help="Variants per topic.")] = 5,
    prompt: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="Prompt, with {query} and, as needed, {count} and {narrative}.",
            show_default="a request for {count} paraphrases",
        ),
    ] = "",
    weight: Annotated[float, typer.Option(help="Weight of each variant; the topic's own text has weight 1.")] = 0.5,
    temperature: Annotated[
        float, typer.Option(min=0.0, help="Sampling temperature; 0 takes the likeliest words.")
    ] = 0.0,
    seed: Seed = 0,
    batch_size: Annotated[int, typer.Option(min=1, max=1024, help="Topics per forward pass.")] = 8,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Also expand the topics that the output file has already.")
    ] = False,
    output: Output = "-",
    device: Device = "auto",
    threads: Threads = 0,
) -> None:
    """Paraphrase topics with a local language model, as weighted query variants for avs search.

    The output is JSON lines, one wording each, which avs search --topics reads. Edit it by hand; a second run adds the
    topics that it lacks and leaves the others as they are. The lines of a topic may be removed to expand it again.
    Every variant names its model, the digests of the weights and of the prompt, and the seed, if there is one.

    \b
    Examples:
      avs expand tv22.txt --model Qwen/Qwen2.5-3B-Instruct -o tv22.jsonl
      avs expand tv22.txt --model models/llama --prompt prompt.txt --temperature 0.7 --seed 1 -o tv22.jsonl
    """
    if "-" in (prompt, topics) and prompt == topics:
        raise SpecError("- is stdin, which can be read once")
    from avs_cli.stages.expand import expand as stage

    stage(
        topics,
        output,
        model=model,
        count=count,
        prompt=prompt,
        weight=weight,
        temperature=temperature,
        seed=seed,
        batch_size=batch_size,
        overwrite=overwrite,
        device=device,
        threads=threads,
        report=TERMINAL,
    )
