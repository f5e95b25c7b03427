"""Queries: topics, and their vectors in the space of a gallery."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from avs_cli.errors import MismatchError, SpecError
from avs_cli.types import Topic

if TYPE_CHECKING:
    import numpy as np

    from avs_cli.core.encoders import Encoder
    from avs_cli.io.store.reader import Gallery

# How to encode topics that match a gallery.
CURE = "encode the topics with the gallery's model (avs extract --text) and give them with --vectors"


def read(path: str, field: str = "query") -> list[Topic]:
    """The topics (or captions) of a file, each with the chosen text as its query; SpecError for a field of captions."""
    from avs_cli.io.text.topics import read_texts

    topics, captions = read_texts(path)
    if captions and field != "query":
        raise SpecError(f"{path}: captions have no narratives; --field {field} applies to topics")
    return of_field(path, topics, field)


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
    """The topic field that stores encode: "query", "narrative" or "both". Imported vectors match any field.

    stores  name -> provenance
    asked   the requested field; None: that of the stores
    Raises MismatchError where stores differ from each other or from it.
    """
    from avs_cli.io.store.compatibility import is_imported

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
    """Ids and non-zero vectors of topics: from a store or, if it is "", encoded.

    topics  None: all of the store's
    field   the field that the store must encode; None: any
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
    """Ids and vectors of the topics in a store: of the given ones, or of all."""
    from avs_cli.io.store.reader import open_store

    with open_store(name) as store:
        if store.frame_level:
            raise MismatchError(f"{name}: several vectors per item; topics need one")
        if store.dim != shots.dim:
            raise MismatchError(f"{name}: vectors have {store.dim} dimensions, those of the gallery {shots.dim}")
        _compare(name, store.provenance, shots)
        field_of({name: store.provenance}, field)
        named = store.ids if topics is None else [topic.id for topic in topics]
        if not named:
            raise MismatchError(f"{name}: no topics in this store; create it with avs extract --text")
        return named, store.read(named).vectors


def encoded(
    topics: list[Topic], shots: "Gallery", device: str, threads: int, weights: str | None = None
) -> "np.ndarray":
    """(Q, D) topics, encoded with the text tower named in the gallery's provenance, with local weights if given."""
    import numpy as np

    from avs_cli.core.encoders import encoders
    from avs_cli.core.search.exact import blend
    from avs_cli.stages.runtime import runtime

    spec = shots.provenance.get("spec")
    if not isinstance(spec, str):
        raise MismatchError(f"{shots.feature}: no text model in its provenance; give --vectors")
    feature: Encoder = encoders.load(spec)(runtime(device, threads, weights))
    if not feature.has_text or feature.word_level:
        what = "words one by one" if feature.has_text else "no text"
        raise SpecError(f"{spec} encodes {what}, so text search needs --head or --vectors")
    _fit(spec, feature.provenance, shots)
    vectors = vectors_by(feature, spec, topics)
    # A single text goes through the same path: vectors are normalised.
    pairs = zip(topics, vectors, strict=True)
    return np.array([vector if topic.variants else blend(vector[None], [1.0]) for topic, vector in pairs])


def vectors_by(feature: "Encoder", spec: str, topics: Sequence[Topic]) -> "list[np.ndarray]":
    """Topic -> vector of its text, (D,), or (W, D) if word-level; several wordings are combined.

    spec  the name of the encoder in errors. Raises MismatchError for wordings that it cannot encode or combine
    """
    import numpy as np

    from avs_cli.core.search.exact import blend

    wordings = list(dict.fromkeys(text for topic in topics for _, text in wordings_of(topic)))
    pictures = [text for text in wordings if is_picture(text)]
    if pictures and feature.pixels is None:
        raise MismatchError(f"{pictures[0]} is an image, and {spec} encodes text only")
    if feature.word_level and (many := next((topic.id for topic in topics if len(topic.variants) > 1), "")):
        raise MismatchError(f"topic {many} has several wordings, which cannot be combined: {spec} is word-level")
    known: dict[str, np.ndarray] = dict(_pictures(feature, pictures))
    texts = [text for text in wordings if text not in known]
    known |= dict(zip(texts, feature.encode_text(texts), strict=True)) if texts else {}
    return [
        blend(np.array([known[text] for _, text in topic.variants]), [weight for weight, _ in topic.variants])
        if topic.variants and not feature.word_level
        else known[wordings_of(topic)[0][1]]
        for topic in topics
    ]


def wordings_of(topic: Topic) -> Sequence[tuple[float, str]]:
    return topic.variants or [(1.0, topic.query)]


def is_picture(text: str) -> bool:
    """Whether a wording is the path of an example image."""
    from pathlib import Path

    from avs_cli.io.video import frames

    return frames.is_picture(text) and Path(text).is_file()


def _pictures(feature: "Encoder", paths: list[str]) -> "dict[str, np.ndarray]":
    """The vectors of example images, by path."""
    from functools import partial

    from avs_cli.core.extraction.batches import encode
    from avs_cli.core.extraction.sampling import sample_times
    from avs_cli.io.video.frames import Job, decode
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
    """Raises MismatchError for a missing example image, and for a video, which is no example.

    path  the topics' file; "" for a query of the command line
    """
    from pathlib import Path

    from avs_cli.io.video import frames

    for topic in topics:
        where = f"{path}: topic {topic.id}: " if path else ""
        for _, text in wordings_of(topic):
            if frames.is_picture(text) and not Path(text).is_file():
                suffix = Path(text).suffix
                raise MismatchError(f"{where}{text}: no such image; text ending in {suffix} is read as a path")
            if frames.is_video(text) and " " not in text:
                raise MismatchError(
                    f"{where}{text}: a video cannot be an example; give an image, such as one frame of it"
                )


def _fit(spec: str, ours: Mapping[str, Any], shots: "Gallery") -> None:
    """Raises MismatchError when the encoder `spec` differs from that of the gallery."""
    # Every encoder has a provenance, so it is never taken for imported vectors, which have none.
    _compare(spec, {**ours, "spec": spec}, shots)


def _compare(name: str, ours: Mapping[str, Any], shots: "Gallery") -> None:
    gallery = f"{shots.stores[0].path}::{shots.feature}"
    shots.comparison.ends(name, ours, gallery, shots.provenance, f"{name} and {gallery} are incompatible", CURE)


def check(named: Sequence[str], queries: "np.ndarray") -> None:
    """Raises MismatchError for a topic with a zero, NaN or infinite vector."""
    import numpy as np

    for name, vector in zip(named, queries, strict=True):
        if not np.isfinite(vector).all():
            raise MismatchError(f"topic {name}: NaN or infinite vector: damaged weights")
        if not vector.any():
            raise MismatchError(f"topic {name}: zero vector: cosine undefined")
