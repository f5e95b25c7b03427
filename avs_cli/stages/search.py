"""Search: the best shots for each topic, in a feature's own space or by trained heads.

    run = search(["gallery.h5"], {"661": "a hang glider floating in the sky"})
    runs = search_heads(["clip.h5", "blip.h5"], "tv22.txt", ["laff.safetensors"])    # {"laff": run}

Scores are cosines, or what a head computes; ties are broken by descending shot id.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

from avs_cli.core.device import prepare
from avs_cli.core.search.exact import Cosine, top_shots
from avs_cli.errors import MismatchError, SpecError, few
from avs_cli.io.store.reader import Gallery, open_gallery
from avs_cli.reporting import LOGGED, Reporter
from avs_cli.stages.engine import Engine, check_readable
from avs_cli.stages.inputs import FilePath, Paths, comparison, path_names
from avs_cli.stages.search_heads import FeatureWeight, HeadSearch, search_heads, searching_heads
from avs_cli.stages.search_stores import StoreSearch, search_stores
from avs_cli.stages.topics import Field, Topics, check_images, encoded, file_of, read, stored
from avs_cli.types import Run

__all__ = [
    "FeatureWeight",
    "GallerySearch",
    "HeadSearch",
    "doubt",
    "search",
    "search_heads",
    "searching",
    "searching_heads",
]

# Below this cosine, the best shot of a query was wrong in every case checked.
DOUBTFUL = {"conse": 0.35}
NAMED = 5


def search(
    gallery: Paths,
    topics: Topics | None = None,
    *,
    vectors: FilePath = "",
    weights: FilePath | None = None,
    field: Field | None = None,
    depth: int = 1000,
    allow_mismatch: bool = False,
    device: str = "auto",
    threads: int = 0,
    engine: Engine | None = None,
    report: Reporter = LOGGED,
) -> Run:
    """The `depth` shots of the highest cosine for each topic; of a shot with several vectors, the best counts.

    gallery         feature stores of one feature, FILE or FILE::FEATURE
    topics          what to search for; with `vectors`, which topics of that store (None: all)
    vectors         a store of topics, encoded already
    weights         a local checkpoint of the gallery's model, to encode topics with
    field           the text of each topic; None: "query", or that of `vectors`
    allow_mismatch  note where vectors come from different models, instead of raising MismatchError
    device          auto (a GPU if there is one), cpu, cuda, cuda:1, mps …
    threads         CPU threads; 0: all cores
    engine          workers of a cluster that search instead of this process, one store each; the result is the same
    """
    with searching(
        gallery,
        topics,
        vectors=vectors,
        weights=weights,
        field=field,
        depth=depth,
        allow_mismatch=allow_mismatch,
        device=device,
        threads=threads,
        engine=engine,
        report=report,
    ) as found:
        return found.run


class GallerySearch(NamedTuple):
    """A search in a gallery that is open: the run, the seconds that its topics took together, and the gallery."""

    run: Run
    seconds: float
    gallery: Gallery


@contextmanager
def searching(
    gallery: Paths,
    topics: Topics | None = None,
    *,
    vectors: FilePath = "",
    weights: FilePath | None = None,
    field: Field | None = None,
    depth: int = 1000,
    allow_mismatch: bool = False,
    device: str = "auto",
    threads: int = 0,
    engine: Engine | None = None,
    report: Reporter = LOGGED,
) -> Iterator[GallerySearch]:
    """As `search`, with all that the search knows; its gallery is open as long as the context is."""
    if topics is None and not vectors:
        raise SpecError("a search needs topics or their vectors")
    stores = path_names(gallery)
    check_readable(engine, stores)
    with open_gallery(stores, comparison(allow_mismatch, report)) as shots:
        if not len(shots):
            raise MismatchError(f"{', '.join(stores)}: no shots to search")
        # A store's topics are encoded already: their texts only say which of them to search for.
        wanted = None if topics is None else read(topics, "query" if vectors else field or "query")
        if wanted is not None and not vectors:
            check_images(wanted, file_of(topics))
        machine = prepare(device, threads)
        begun = time.perf_counter()
        if vectors:
            queries = stored(str(vectors), shots, None if wanted is None else [topic.id for topic in wanted], field)
        else:
            queries = encoded(wanted or [], shots, machine.device, machine.threads, weights)
        if engine is None:
            (rankings,) = top_shots([queries.vectors], shots, depth, machine.threads)
        else:
            scorer = partial(Cosine, queries.vectors)
            rankings = search_stores(
                engine, [StoreSearch(name, scorer, depth, threads or engine.cores) for name in stores]
            )
        seconds = time.perf_counter() - begun
        run: Run = dict(zip(queries.ids, rankings, strict=True))
        doubt(run, shots.provenance, report)
        yield GallerySearch(run, seconds, shots)


def doubt(run: Run, provenance: Mapping[str, Any], report: Reporter = LOGGED) -> None:
    """Note the topics whose results are probably irrelevant, for models with a known threshold."""
    model = str(provenance.get("spec", "")).partition(":")[0]
    if model not in DOUBTFUL:
        return
    doubtful = [topic for topic, scores in run.items() if max(scores.values(), default=1.0) < DOUBTFUL[model]]
    if doubtful:
        which = "the best shot" if [*run] == ["query"] else f"the best shot of {_named(doubtful)}"
        report.note(
            f"{which} has a cosine below {DOUBTFUL[model]} ({model}): low similarity, results may be irrelevant"
        )


def _named(topics: Sequence[str]) -> str:
    return f"topic {few(topics, NAMED)}" if len(topics) <= NAMED else f"{len(topics)} topics ({few(topics, NAMED)})"
