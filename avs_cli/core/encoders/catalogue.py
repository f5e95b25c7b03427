"""The published models of the encoders: output, cost, licence and download.

An encoder's module lists its own as `MODELS`, by the variant of its spec ("" where there is but one); the first is the
default. A module for any model of a library has a `REMARK` instead. Dimensions, parameters and multiply-adds were
measured on the models' full-size code; sizes follow from the parameters. Stores use the values of the
loaded model, not these.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from avs_cli.core.encoders import encoders
from avs_cli.types import Source


class Model(NamedTuple):
    """One published model.

    dim         dimension of its vectors
    parameters  millions, of what is loaded
    gmacs       billions of multiply-adds per frame or clip
    licence     of the weights
    source      where they are published; nothing to download where they come with a package
    frames      number of frames per vector; 0 for a text encoder
    text        whether it encodes text into the same space
    builds      the name under which a library builds it
    """

    dim: int
    parameters: float
    gmacs: float
    licence: str
    source: Source
    frames: int = 1
    text: bool = False
    builds: str = ""


COLUMNS = ("model", "dim", "sees", "text", "M params", "GMACs", "licence", "downloads", "GB", "here")


def models(name: str) -> Mapping[str, Model]:
    """The published models of an encoder, by their specs."""
    listed: Mapping[str, Model] = getattr(encoders.module(name), "MODELS", {})
    return {f"{name}:{variant}" if variant else name: model for variant, model in listed.items()}


def facts(names: Iterable[str], here: Callable[[Source], bool]) -> Iterator[dict[str, Any]]:
    """The facts on each model of the named encoders; for an encoder that lists none, its name and a remark.

    here  whether a model's weights are on this machine
    """
    for name in names:
        listed = models(name)
        for spec, model in listed.items():
            yield {
                "model": spec, "dim": model.dim, "frames": model.frames, "text": model.text,
                "parameters_millions": model.parameters, "gmacs": model.gmacs or None, "licence": model.licence,
                "downloads": [model.source.repo] if model.source.repo else list(model.source.urls),
                "gigabytes": model.source.gigabytes, "here": here(model.source),
            }  # fmt: skip
        if not listed:
            yield {"model": name, "remark": getattr(encoders.module(name), "REMARK", "")}


def listing(names: Iterable[str], here: Callable[[Source], bool]) -> Iterator[tuple[object, ...]]:
    """The same as rows of `COLUMNS`."""
    for known in facts(names, here):
        if "remark" in known:
            yield (known["model"], *[""] * 6, known["remark"], "", "")
            continue
        seen = {0: "", 1: "frame"}.get(known["frames"], f"{known['frames']} frames")
        files = " ".join(one.rpartition("/")[2] if "://" in one else one for one in known["downloads"]) or "nothing"
        yield (
            known["model"], known["dim"], seen, "yes" * known["text"], known["parameters_millions"],
            known["gmacs"] or "", known["licence"], files, known["gigabytes"] or "", "yes" * known["here"],
        )  # fmt: skip
