"""Topics and their vectors: from an encoder, or from a store of `avs extract --text`.

Without a head, a topic has one vector in the space of a gallery, in which its wordings and example images are blended.
A head reads its text features of every wording, since its scores need not be linear in them.
"""

import hashlib
import heapq
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from avs_cli.core.encoders import Encoder, encoders
from avs_cli.core.search.confidence import sentences
from avs_cli.core.search.exact import blend, shot_units
from avs_cli.core.search.negation import optimized
from avs_cli.errors import FEW, MismatchError, SpecError
from avs_cli.io.cache import remembered
from avs_cli.io.store.compatibility import Comparison, is_imported
from avs_cli.io.store.reader import Gallery, open_store
from avs_cli.provenance import HEAD
from avs_cli.stages.inputs import FilePath
from avs_cli.stages.runtime import runtime
from avs_cli.stages.topic_texts import Negation, is_image, wordings_of
from avs_cli.types import Block, Failure, Shot, Topic

if TYPE_CHECKING:
    from avs_cli.core.models.layers import Vectors
    from avs_cli.io.store.galleries import Galleries
    from avs_cli.stages.heads import TrainedHead

# How to encode topics that match a gallery.
CURE = (
    "encode the topics with the gallery's model (avs extract --text) and give them with --vectors, or the shots again "
    "(avs index --model)"
)
NO_WEIGHTS: Mapping[str, FilePath] = MappingProxyType({})


def field_of(stores: Mapping[str, Mapping[str, Any]], wanted: str | None) -> str:
    """The topic field that stores encode: "query", "narrative" or "both". Imported vectors match any field.

    stores  name -> provenance
    wanted  the requested field; None: that of the stores
    Raises MismatchError where stores differ from each other or from it.
    """
    fields = {
        name: str(provenance.get("field", "query"))
        for name, provenance in stores.items()
        if not is_imported(provenance)
    }
    chosen = wanted or next(iter(fields.values()), "query")
    for name, field in fields.items():
        if field == chosen:
            continue
        if wanted:
            raise MismatchError(
                f"{name} encodes the topics' field {field!r}, not {wanted!r}; search with --field {field}, or encode "
                f"the topics again with `avs extract --text FILE --field {wanted}`"
            )
        first = next(iter(fields))
        raise MismatchError(
            f"{first} encodes the topics' field {chosen!r} and {name} {field!r}; encode one of them again with "
            "`avs extract --text FILE --field`"
        )
    return chosen


# Wordings and example images


class Wordings(NamedTuple):
    """Topics with all their wordings.

    topics   N topics
    texts    W wordings, those of a topic one after the other
    owner    (W) the index of each wording's topic
    weights  (W) the weight of each wording; the absolute weights of a topic sum to 1
    """

    topics: list[Topic]
    texts: list[str]
    owner: list[int]
    weights: list[float]

    @property
    def ids(self) -> list[str]:
        """(W) the id of each wording's topic."""
        return [self.topics[index].id for index in self.owner]


def all_wordings(topics: Sequence[Topic]) -> Wordings:
    """The wordings of topics; raises MismatchError for images and for topics with zero weights only."""
    texts, owner, weights = [], [], []
    for index, topic in enumerate(topics):
        wordings = wordings_of(topic)
        total = sum(abs(weight) for weight, _ in wordings)
        if not total:
            raise MismatchError(f"topic {topic.id}: all wordings have weight 0")
        for weight, text in wordings:
            if is_image(text):
                raise MismatchError(f"topic {topic.id}: {text} is an image, and heads take text only")
            texts.append(text)
            owner.append(index)
            weights.append(weight / total)
    return Wordings(list(topics), texts, owner, weights)


# What looks at images imports PyAV, which takes longer than a search by stored vectors.


def check_images(topics: Sequence[Topic], path: str = "") -> None:
    """Raises MismatchError for a missing example image, and for a video, which is no example.

    path  the topics' file; "" for topics from elsewhere
    """
    from avs_cli.io.video.frames import is_picture, is_video

    for topic in topics:
        where = f"{path}: topic {topic.id}: " if path else f"topic {topic.id}: " if len(topics) > 1 else ""
        parts = [part for step in topic.steps for part in step.parts]
        for text in (
            [part.text for part in parts if not part.example] if parts else [two[1] for two in wordings_of(topic)]
        ):
            if is_picture(text) and not Path(text).is_file():
                suffix = Path(text).suffix
                raise MismatchError(f"{where}{text}: no such image; text ending in {suffix} is read as a path")
            if is_video(text) and " " not in text:
                raise MismatchError(
                    f"{where}{text}: a video cannot be an example; give an image, such as one frame of it"
                )


# Encoding


def load_encoder(spec: str, device: str = "cpu", threads: int = 1, weights: FilePath | None = None) -> Encoder:
    """The encoder of a spec, with a local checkpoint if one is given."""
    encoder: Encoder = encoders.load(spec)(runtime(device, threads, None if weights is None else str(weights)))
    return encoder


def encode_wordings(encoder: Encoder, spec: str, wordings: Sequence[str]) -> list[np.ndarray]:
    """The vector of each text or example image: (D,), or (W, D) of a text if the encoder is word-level.

    spec  the name of the encoder in errors
    Raises MismatchError for an image that the encoder cannot take.
    """
    images = [text for text in wordings if is_image(text)]
    if images and encoder.pixels is None:
        raise MismatchError(f"{images[0]} is an image, and {spec} encodes text only")
    of_images = _encode_images(encoder, list(dict.fromkeys(images)))
    texts = [text for text in wordings if text not in of_images]
    of_texts = iter(encoder.encode_text(texts) if texts else ())
    return [of_images[text] if text in of_images else next(of_texts) for text in wordings]


def encode_topics(
    encoder: Encoder, spec: str, topics: Sequence[Topic], negation: Negation = "subtract"
) -> list[np.ndarray]:
    """A vector of each topic, (D,), or (W, D) if the encoder is word-level; several wordings are blended.

    spec      the name of the encoder in errors
    negation  "deo" optimizes the vector of a topic that has wordings of negative weight
    Raises MismatchError for wordings that the encoder cannot take or blend.
    """
    if encoder.word_level and (many := next((topic.id for topic in topics if len(topic.variants) > 1), "")):
        raise MismatchError(f"topic {many} has several wordings, which cannot be combined: {spec} is word-level")
    wordings = list(dict.fromkeys(text for topic in topics for _, text in wordings_of(topic)))
    vectors = dict(zip(wordings, encode_wordings(encoder, spec, wordings), strict=True))
    blended = optimized if negation == "deo" else blend
    return [
        blended(np.array([vectors[text] for _, text in topic.variants]), [weight for weight, _ in topic.variants])
        if topic.variants and not encoder.word_level
        else vectors[wordings_of(topic)[0][1]]
        for topic in topics
    ]


def _encode_images(encoder: Encoder, paths: Sequence[str]) -> dict[str, np.ndarray]:
    """The vectors of example images, by path."""
    if not paths or encoder.pixels is None:
        return {}
    from avs_cli.core.extraction.batches import encode
    from avs_cli.core.extraction.sampling import sample_times
    from avs_cli.io.video.frames import Job, decode

    jobs = [Job(path, (Shot(path, path, 0.0, 0.0),)) for path in paths]
    times = partial(sample_times, sampling=encoder.sampling)
    pieces = decode(jobs, times, encoder.pixels, encoder.sampling.clip, 1, 60.0)
    vectors = {}
    for result in encode(encoder, pieces, "mean", 1, False):
        if isinstance(result, Failure):
            raise MismatchError(result.message)
        vectors[result.shot] = result.vectors
    return vectors


# Vectors in the space of a gallery


class SentenceEncoder(NamedTuple):
    """An encoder that reads sentences in the space of a gallery, and the spec that its provenance names."""

    spec: str
    encoder: Encoder


class TopicVectors(NamedTuple):
    """N topics, or other texts, in the space of a gallery: their ids and (N, D) vectors, none of them zero."""

    ids: list[str]
    vectors: np.ndarray


def encoded(
    topics: Sequence[Topic],
    gallery: Gallery,
    device: str = "cpu",
    threads: int = 1,
    weights: FilePath | None = None,
    negation: Negation = "subtract",
) -> TopicVectors:
    """Topics encoded with the text tower that the gallery's provenance names, and local weights if given.

    Raises MismatchError for a gallery without a text model and for weights that are not the gallery's, SpecError for a
    model that has no vector for a text.
    """
    return encoded_by(text_encoder(gallery, device, threads, weights), topics, negation)


def encoded_by(texts: SentenceEncoder, topics: Sequence[Topic], negation: Negation = "subtract") -> TopicVectors:
    """As `encoded`, with an encoder that is loaded."""
    vectors = encode_topics(texts.encoder, texts.spec, topics, negation)
    # A single text goes through the same path: vectors are normalised.
    pairs = zip(topics, vectors, strict=True)
    found = np.array([vector if topic.variants else blend(vector[None], [1.0]) for topic, vector in pairs])
    return checked(TopicVectors([topic.id for topic in topics], found))


def other_sentences(
    gallery: Gallery, device: str = "cpu", threads: int = 1, weights: FilePath | None = None
) -> np.ndarray:
    """(B, D) vectors of the sentences that say what chance finds in the gallery, from its text tower; see `Confidence`.

    They are kept in the user's cache. Raises as `encoded`.
    """
    return encoded_sentences(text_encoder(gallery, device, threads, weights, "a confidence needs one"))


def encoded_sentences(texts: SentenceEncoder) -> np.ndarray:
    """As `other_sentences`, with an encoder that is loaded."""
    bank = sentences()
    key = hashlib.sha256(repr((bank, _text_provenance(texts.encoder, texts.spec))).encode()).hexdigest()[:16]
    return remembered(f"sentences-{key}", lambda: np.asarray(texts.encoder.encode_text(bank)))


def text_encoder(
    gallery: Gallery,
    device: str = "cpu",
    threads: int = 1,
    weights: FilePath | None = None,
    cure: str = "give --vectors",
) -> SentenceEncoder:
    """The encoder that the gallery's provenance names; raises as `encoded`.

    cure  what to do where there is none
    """
    spec = gallery.provenance.get("spec")
    if HEAD in gallery.provenance:
        raise MismatchError(f"{gallery.stores[0].path} has the vectors of a head; search it with --head FILE")
    if not isinstance(spec, str):
        raise MismatchError(f"{gallery.feature}: no text model in its provenance; {cure}")
    encoder = load_encoder(spec, device, threads, weights)
    if not encoder.has_text or encoder.word_level:
        what = "words one by one" if encoder.has_text else "no text"
        raise SpecError(f"{spec} encodes {what}, so text search needs --head or --vectors")
    _compare_with_gallery(spec, _text_provenance(encoder, spec), gallery)
    return SentenceEncoder(spec, encoder)


def stored(name: str, gallery: Gallery, ids: Sequence[str] | None = None, field: str | None = None) -> TopicVectors:
    """The vectors of topics from a store.

    ids    the topics; None: all of the store
    field  the topic field that the store must encode; None: any
    Raises MismatchError for a store whose vectors are not of the gallery's space, or that lacks a topic.
    """
    with open_store(name) as store:
        if store.frame_level:
            raise MismatchError(f"{name}: several vectors per item; topics need one")
        if store.dim != gallery.dim:
            raise MismatchError(f"{name}: vectors have {store.dim} dimensions, those of the gallery {gallery.dim}")
        _compare_with_gallery(name, store.provenance, gallery)
        field_of({name: store.provenance}, field)
        ids = store.ids if ids is None else list(ids)
        if not ids:
            raise MismatchError(f"{name}: no topics in this store; create it with avs extract --text")
        return checked(TopicVectors(ids, store.read(ids).vectors))


def liked(ids: Sequence[str], gallery: Gallery) -> np.ndarray:
    """(L, D) unit vectors of shots of the gallery; of a shot with several vectors, that of their sum.

    Raises MismatchError for a shot that the gallery lacks, naming those with similar ids, and for one without a
    direction.
    """
    places = gallery.places(ids)
    if (places < 0).any():
        lost = ids[int((places < 0).argmax())]
        near = _nearest_ids(lost, gallery.ids)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise MismatchError(f"the gallery has no shot {lost!r}{hint}")
    found = shot_units(gallery.take(places))
    if not (any_value := found.any(axis=1)).all():
        raise MismatchError(f"shot {ids[int(any_value.argmin())]}: zero vector: cosine undefined")
    return found


def _nearest_ids(id: str, ids: Iterable[str]) -> list[str]:
    """A few ids that begin and end like this one for most of its length, in whatever case; the most similar first."""

    def alike(other: str) -> int:
        pair = id.casefold(), other.casefold()
        return _common(*pair) + _common(*(one[::-1] for one in pair))

    best = heapq.nlargest(FEW, ((alike(other), other) for other in ids))
    return [other for length, other in best if 2 * length > len(id)]


def _common(one: str, other: str) -> int:
    """Length of the common beginning of two texts."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


def _text_provenance(encoder: Encoder, spec: str) -> dict[str, Any]:
    """Never empty, so that it is not taken for that of imported vectors."""
    return {**encoder.provenance, "spec": spec}


def _compare_with_gallery(name: str, provenance: Mapping[str, Any], gallery: Gallery) -> None:
    """Raises MismatchError when texts are encoded by another model than the gallery."""
    shots = f"{gallery.stores[0].path}::{gallery.feature}"
    gallery.comparison.ends(name, provenance, shots, gallery.provenance, f"{name} and {shots} are incompatible", CURE)


def checked(topics: TopicVectors) -> TopicVectors:
    """Raises MismatchError for a topic with a zero, NaN or infinite vector."""
    for id, vector in zip(*topics, strict=True):
        if not np.isfinite(vector).all():
            raise MismatchError(f"topic {id}: NaN or infinite vector: damaged weights")
        if not vector.any():
            raise MismatchError(f"topic {id}: zero vector: cosine undefined")
    return topics


# Text features of heads


class TextFeatures(NamedTuple):
    """What a head reads of W wordings: the vectors of each of its text features, and the seconds that they took."""

    vectors: "list[Vectors]"
    seconds: float


class _Texts(NamedTuple):
    """One text feature of all wordings, the provenance of its encoder, and the seconds that it took."""

    block: Block
    provenance: Mapping[str, Any]
    seconds: float


def field_of_heads(heads: "Sequence[TrainedHead]", stores: "Galleries", wanted: str | None) -> str:
    """The topic field that the heads' text stores encode, as `field_of`; text encoders read the same field."""
    names = dict.fromkeys(feature["name"] for one in heads for feature in one.description["texts"])
    provenances = {
        stores.stores_of(name): stores.features[name].provenance for name in names if name in stores.features
    }
    return field_of(provenances, wanted)


def text_features(
    heads: "Sequence[TrainedHead]",
    wordings: Wordings,
    stores: "Galleries",
    device: str = "cpu",
    threads: int = 1,
    weights: Mapping[str, FilePath] = NO_WEIGHTS,
) -> list[TextFeatures]:
    """The text features of the wordings for each head; a feature of several heads is read or encoded once.

    A feature comes from `stores` if they hold it, else from the encoder that the head was trained with.

    weights  feature -> a local checkpoint of its encoder
    Raises SpecError for weights of a feature that is not encoded, MismatchError for vectors that are not those which a
    head was trained with.
    """
    from avs_cli.core.training.pairs import as_vectors, on

    to_encode = {feature["name"] for one in heads for feature in one.description["texts"]} - stores.features.keys()
    if unused := sorted(weights.keys() - to_encode):
        names = f"; --weights applies to: {', '.join(sorted(to_encode))}" if to_encode else ""
        raise SpecError(f"--weights {unused[0]}=…: no text feature {unused[0]!r} is encoded{names}")
    made: dict[tuple[str, str], _Texts] = {}
    found = []
    for one in heads:
        vectors, seconds = [], 0.0
        for feature in one.description["texts"]:
            name, begun = feature["name"], time.perf_counter()
            if name in stores.features:
                stores.check(one.path, [feature])
                key = (name, "")
                if key not in made:
                    block = _stored_wordings(stores, name, wordings)
                    made[key] = _Texts(block, {}, time.perf_counter() - begun)
            else:
                spec, checkpoint = _spec_of(feature), weights.get(name)
                key = (spec, str(checkpoint or "published"))
                if key not in made:
                    encoder = load_encoder(spec, device, threads, checkpoint)
                    block = _block(wordings.ids, encode_wordings(encoder, spec, wordings.texts), encoder.word_level)
                    made[key] = _Texts(block, _text_provenance(encoder, spec), time.perf_counter() - begun)
                _compare_with_head(one.path, feature, str(checkpoint or spec), made[key].provenance, stores.comparison)
            block = made[key].block
            seconds += made[key].seconds
            dim = block.vectors.shape[1]
            if dim != feature["dim"]:
                raise MismatchError(f"{one.path} takes {name!r} of {feature['dim']} dimensions, not {dim}")
            vectors.append(on(as_vectors(block), torch.device(device)))
        found.append(TextFeatures(vectors, seconds))
    return found


def _stored_wordings(stores: "Galleries", feature: str, wordings: Wordings) -> Block:
    """A text feature of wordings from stores, which have one vector per topic."""
    if len(wordings.texts) > len(wordings.topics):
        many = next(topic.id for topic in wordings.topics if len(topic.variants) > 1)
        raise MismatchError(
            f"{stores.stores_of(feature)} has a single vector for topic {many}, which has several wordings"
        )
    places = stores.places(feature, wordings.ids)
    if (places < 0).any():
        lost = wordings.ids[int((places < 0).argmax())]
        raise MismatchError(f"{stores.stores_of(feature)} has no vector for topic {lost!r}")
    return stores.features[feature].take(places)


def _block(ids: Sequence[str], vectors: Sequence[np.ndarray], word_level: bool) -> Block:
    if not word_level:
        return Block(ids, np.array(vectors))
    return Block(ids, np.concatenate(vectors), np.cumsum([0, *map(len, vectors)]))


def _spec_of(feature: Mapping[str, Any]) -> str:
    """The spec of the encoder of a text feature."""
    spec = feature["provenance"].get("spec")
    if not isinstance(spec, str):
        raise MismatchError(
            f"the head's text feature {feature['name']!r} has no model; give the topic vectors with --vectors"
        )
    return spec


def _compare_with_head(
    path: str, feature: Mapping[str, Any], encoder: str, provenance: Mapping[str, Any], comparison: Comparison
) -> None:
    """Raises MismatchError when a head was trained with a different encoder."""
    name = feature["name"]
    refusal = f"{path} was trained with a different {name!r} than that of {encoder}"
    cure = f"give the topic vectors with --vectors, or the weights of the model with --weights {name}=PATH"
    comparison.ends(f"the {name!r} of {path}", feature["provenance"], encoder, provenance, refusal, cure)
