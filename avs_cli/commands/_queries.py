"""Queries of the commands that compare texts with shots: topics, and their vectors in the gallery's space."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from avs_cli.errors import MismatchError, SpecError
from avs_cli.types import Topic

if TYPE_CHECKING:
    import numpy as np

    from avs_cli.core.features import Feature
    from avs_cli.io.store import Gallery

# How to encode topics so that they fit a gallery.
CURE = "encode the topics with the gallery's model, with `avs extract --text`, and give them as --vectors"


def read(path: str, field: str = "query") -> list[Topic]:
    """The topics, each with the chosen text as its query."""
    from avs_cli.io.topics import read_topics

    return of_field(path, read_topics(path), field)


def of_field(path: str, topics: list[Topic], field: str) -> list[Topic]:
    """Topics of a file, each with the chosen text as its query; raises MismatchError where it has none."""
    if field == "query":
        return topics
    for topic in topics:
        if field == "narrative" and not topic.narrative:
            raise MismatchError(f"{path}: topic {topic.id} has no narrative; use --field query or both")
    first = "" if field == "narrative" else "{0.query} "
    return [Topic(topic.id, f"{first}{{0.narrative}}".format(topic)) if topic.narrative else topic for topic in topics]


def field_of(stores: Mapping[str, Mapping[str, Any]], asked: str | None) -> str:
    """The field of the topics that stores encode: "query", "narrative" or "both". Imported vectors may be of any.

    stores  name -> provenance
    asked   the field that the user wants; None: that of the stores
    Raises MismatchError where stores differ from each other or from it.
    """
    from avs_cli.io.compatibility import is_imported

    fields = {
        name: str(provenance.get("field", "query"))
        for name, provenance in stores.items()
        if not is_imported(provenance)
    }
    wanted = asked or next(iter(fields.values()), "query")
    for name, field in fields.items():
        if field == wanted:
            continue
        if asked:
            raise MismatchError(
                f"{name} encodes the topics' field {field!r}, not {asked!r}; search with --field {field}, or encode "
                f"the topics again with `avs extract --text FILE --field {asked}`"
            )
        first = next(iter(fields))
        raise MismatchError(
            f"{first} encodes the topics' field {wanted!r} and {name} {field!r}; encode one of them again with "
            "`avs extract --text FILE --field`"
        )
    return wanted


def vectors_of(
    store: str,
    topics: list[Topic] | None,
    shots: "Gallery",
    device: str = "cpu",
    threads: int = 1,
    weights: str | None = None,
    field: str | None = None,
) -> "tuple[list[str], np.ndarray]":
    """Ids and vectors of topics, none of which is zero: from a store, or, where that is "", encoded.

    topics  None: all of the store's
    field   what of the topics the store must encode; None: whatever it does
    """
    if store:
        named, queries = stored(store, topics, shots, field)
    else:
        asked = topics or []
        named, queries = [topic.id for topic in asked], encoded(asked, shots, device, threads, weights)
    check(named, queries)
    return named, queries


def stored(
    name: str, topics: list[Topic] | None, shots: "Gallery", field: str | None = None
) -> "tuple[list[str], np.ndarray]":
    """Ids and vectors of a store of topics: of those asked for, or of all of them."""
    from avs_cli.io.store import open_store

    with open_store(name) as store:
        if store.frame_level:
            raise MismatchError(f"{name}: several vectors per item; a topic has one")
        if store.dim != shots.dim:
            raise MismatchError(f"{name}: vectors of {store.dim} dimensions, and the gallery's have {shots.dim}")
        _compare(name, store.provenance, shots)
        field_of({name: store.provenance}, field)
        named = store.ids if topics is None else [topic.id for topic in topics]
        if not named:
            raise MismatchError(f"{name}: no topics in this store; make it with `avs extract --text`")
        return named, store.read(named).vectors


def encoded(
    topics: list[Topic], shots: "Gallery", device: str, threads: int, weights: str | None = None
) -> "np.ndarray":
    """(Q, D) the topics by the text tower that the gallery's provenance names, with local weights if they are given."""
    import numpy as np

    from avs_cli.core.features import Runtime, features
    from avs_cli.core.ranking import blend
    from avs_cli.io.cache import remembered

    spec = shots.provenance.get("spec")
    if not isinstance(spec, str):
        raise MismatchError(f"{shots.feature}: its provenance names no model to encode text with; give --vectors")
    feature: Feature = features.load(spec)(Runtime(device, threads, weights, remembered))
    if not feature.has_text or feature.word_level:
        what = "words one by one" if feature.has_text else "no text"
        raise SpecError(f"{spec} encodes {what}, so it cannot be searched by words without a head; or give --vectors")
    _fit(spec, feature.provenance, shots)
    wordings = list(dict.fromkeys(text for topic in topics for _, text in wordings_of(topic)))
    pictures = _pictures(feature, [text for text in wordings if is_picture(text)])
    texts = [text for text in wordings if text not in pictures]
    known = pictures | (dict(zip(texts, feature.encode_text(texts), strict=True)) if texts else {})
    return np.array(
        [
            blend(
                np.array([known[text] for _, text in wordings_of(topic)]), [weight for weight, _ in wordings_of(topic)]
            )
            for topic in topics
        ]
    )


def wordings_of(topic: Topic) -> Sequence[tuple[float, str]]:
    return topic.variants or [(1.0, topic.query)]


def is_picture(text: str) -> bool:
    """Whether a wording is the path of an example picture."""
    from pathlib import Path

    from avs_cli.io import video

    return video.is_picture(text) and Path(text).is_file()


def _pictures(feature: "Feature", paths: list[str]) -> "dict[str, np.ndarray]":
    """The vectors of example pictures, by path."""
    from functools import partial

    from avs_cli.core.extraction import encode
    from avs_cli.core.sampling import sample_times
    from avs_cli.io.video import Job, decode
    from avs_cli.types import Failure, Shot

    if not paths or feature.pixels is None:
        return {}
    jobs = [Job(path, (Shot(path, path, 0.0, 0.0),)) for path in paths]
    times = partial(sample_times, sampling=feature.sampling)
    pieces = decode(jobs, times, feature.pixels, feature.sampling.clip, 1, 60.0)
    found = {}
    for result in encode(feature, pieces, "mean", 1, False):
        if isinstance(result, Failure):
            raise MismatchError(result.message)
        found[result.shot] = result.vectors
    return found


def check_pictures(topics: Sequence[Topic], path: str = "") -> None:
    """Raises MismatchError for an example picture that is not there.

    path  the topics' file; "" for a query of the command line
    """
    from pathlib import Path

    from avs_cli.io import video

    for topic in topics:
        where = f"{path}: topic {topic.id}: " if path else ""
        for _, text in wordings_of(topic):
            if video.is_picture(text) and not Path(text).is_file():
                suffix = Path(text).suffix
                raise MismatchError(f"{where}{text}: no such picture; a text ending in {suffix} is read as a path")


def _fit(spec: str, ours: Mapping[str, Any], shots: "Gallery") -> None:
    """Raises MismatchError when the encoder `spec` is not the gallery's."""
    # An encoder says what decides its vectors, and so is none that says nothing, as imported vectors do.
    _compare(spec, {**ours, "spec": spec}, shots)


def _compare(name: str, ours: Mapping[str, Any], shots: "Gallery") -> None:
    gallery = f"{shots.stores[0].path}::{shots.feature}"
    shots.comparison.ends(name, ours, gallery, shots.provenance, f"{name} and {gallery} do not fit together", CURE)


def check(named: Sequence[str], queries: "np.ndarray") -> None:
    """Raises MismatchError for a topic whose vector has no direction."""
    import numpy as np

    for name, vector in zip(named, queries, strict=True):
        if not np.isfinite(vector).all():
            raise MismatchError(f"topic {name}: its vector is NaN or infinite: damaged weights")
        if not vector.any():
            raise MismatchError(f"topic {name}: its vector is zero, which is like nothing")
