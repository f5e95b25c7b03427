"""`python -m avs_cli.train_lite PHOTOS CAPTIONS... -o FILE`: train the weights of the offline default again."""

from typing import Annotated

import typer

from avs_cli.console import TERMINAL


def main(
    photos: Annotated[str, typer.Argument(help="Folder of pictures.")],
    captions: Annotated[list[str], typer.Argument(help="Captions of these pictures.")],
    output: Annotated[str, typer.Option("--output", "-o", help="The weights, a safetensors file.")],
    date: Annotated[str, typer.Option(help="Day of the training, for its provenance.")] = "",
    seed: Annotated[int, typer.Option(help="Seed of the training.")] = 0,
    threads: Annotated[int, typer.Option(help="CPU threads; 0: all cores.")] = 0,
) -> None:
    """Train lite: its two sides learn from captioned photos and from the names of ImageNet's classes."""
    from avs_cli.core.training.lite import LiteRecipe
    from avs_cli.stages.train_lite import train_lite

    done = train_lite(
        photos, captions, output, recipe=LiteRecipe(seed=seed), date=date, threads=threads, report=TERMINAL
    )
    TERMINAL.note(f"{output}: {done.photos} photos, {done.captions} captions, loss {done.loss:.3f}")


if __name__ == "__main__":
    typer.run(main)
