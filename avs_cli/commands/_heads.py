"""The part of `avs search` that is for trained heads: a run per head from one pass over the gallery."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from avs_cli.commands import _queries
from avs_cli.errors import MismatchError, SpecError
from avs_cli.types import Block, Run, Topic

if TYPE_CHECKING:
    import torch

    from avs_cli.core.heads._blocks import Head, Vectors
    from avs_cli.io.galleries import Galleries, JoinedGallery

# Shots that a head sees at once; large enough for the products, small enough for the cache.
ROWS = 256
EXPLAINED = 10


class Loaded(NamedTuple):
    """A head, its file, and the description in it."""

    path: str
    head: "Head"
    told: dict[str, Any]

    @property
    def name(self) -> str:
        """What its run is called."""
        return Path(self.path).stem


class Asked(NamedTuple):
    """Topics with all their wordings.

    said    a topic per wording, whose query is the wording
    owner   of each wording, the place of its topic
    shares  of each wording, how much it counts; the sizes of a topic's shares add up to 1
    """

    topics: list[Topic]
    said: list[Topic]
    owner: list[int]
    shares: list[float]


def asked(topics: list[Topic]) -> Asked:
    """The wordings of topics; raises MismatchError for a picture among them and for weights of 0 alone."""
    said, owner, shares = [], [], []
    for place, topic in enumerate(topics):
        wordings = _queries.wordings_of(topic)
        total = sum(abs(weight) for weight, _ in wordings)
        if not total:
            raise MismatchError(f"topic {topic.id}: all its wordings have a weight of 0")
        for weight, text in wordings:
            if _queries.is_picture(text):
                raise MismatchError(f"topic {topic.id}: {text} is a picture, and a head takes words")
            said.append(Topic(topic.id, text))
            owner.append(place)
            shares.append(weight / total)
    return Asked(topics, said, owner, shares)


def load(paths: Sequence[str], device: str) -> list[Loaded]:
    """The heads of some files."""
    from avs_cli.core.heads._described import rebuilt
    from avs_cli.io.checkpoint import load_head

    loaded = []
    for path in paths:
        kept = load_head(path)
        if kept.head["kind"] == "teachclip":
            raise SpecError(
                f"{path} is a model of clips, not a head: extract with --model teachclip --weights {path}, and search "
                "what that gives with the same --weights"
            )
        head = rebuilt(kept.head, kept.weights, path)
        loaded.append(Loaded(path, head.eval().to(device), kept.head))
    names = [one.name for one in loaded]
    if twin := next((name for name in names if names.count(name) > 1), None):
        raise SpecError(f"two heads are called {twin!r}, and a run is called as its head")
    return loaded


def join(galleries: "Galleries", heads: Sequence[Loaded]) -> "JoinedGallery":
    """The gallery with the features that the heads need; raises MismatchError when it lacks one or has another."""
    from avs_cli.io.galleries import JoinedGallery

    for one in heads:
        galleries.check(one.path, one.told["videos"])
    features = dict.fromkeys(feature["name"] for one in heads for feature in one.told["videos"])
    return JoinedGallery(galleries, list(features), ROWS)


def texts_of(
    heads: Sequence[Loaded], asked: Asked, vectors: "Galleries", device: str, threads: int
) -> "list[list[Vectors]]":
    """Per head the wordings' vectors for each of its text features; every feature is encoded once for all heads.

    A feature comes from the stores of `vectors` if they hold it, else from the encoder that the head was trained with.
    """
    import torch

    from avs_cli.core.pairs import as_vectors, on

    known: dict[str, Block] = {}
    found = []
    for one in heads:
        mine = []
        for feature in one.told["texts"]:
            name = feature["name"]
            if name in vectors.features:
                vectors.check(one.path, [feature])
            key = name if name in vectors.features else f"{feature['provenance'].get('spec')} "
            if key not in known:
                known[key] = (
                    _stored(vectors, name, asked) if key == name else _encoded(feature, asked.said, device, threads)
                )
            dim = known[key].vectors.shape[1]
            if dim != feature["dim"]:
                raise MismatchError(f"{one.path} takes {name!r} of {feature['dim']} numbers, not {dim}")
            mine.append(on(as_vectors(known[key]), torch.device(device)))
        found.append(mine)
    return found


def _stored(vectors: "Galleries", name: str, asked: Asked) -> Block:
    topics = asked.said
    if len(topics) > len(asked.topics):
        many = next(topic.id for topic in asked.topics if len(topic.variants) > 1)
        raise MismatchError(f"{vectors.stores_of(name)} has one text of topic {many}, which has several wordings")
    places = vectors.places(name, [topic.id for topic in topics])
    if (places < 0).any():
        lost = topics[int((places < 0).argmax())].id
        raise MismatchError(f"{vectors.stores_of(name)} has no vector of topic {lost!r}")
    return vectors.features[name].take(places)


def _encoded(feature: Mapping[str, Any], topics: Sequence[Topic], device: str, threads: int) -> Block:
    import numpy as np

    from avs_cli.core.features import Runtime, features
    from avs_cli.io.cache import remembered

    spec = feature["provenance"].get("spec")
    if not isinstance(spec, str):
        raise MismatchError(f"the head's text feature {feature['name']!r} names no model; give the topics in --vectors")
    encoder = features.load(spec)(Runtime(device, threads, remember=remembered))
    for key, value in encoder.provenance.items():
        if feature["provenance"].get(key) != value:
            raise MismatchError(
                f"the head was trained with {feature['name']!r} of {key} {feature['provenance'].get(key)!r}, "
                f"and {spec} has {value!r} here; give the topics in --vectors"
            )
    encoded = encoder.encode_text([topic.query for topic in topics])
    ids = [topic.id for topic in topics]
    if not encoder.word_level:
        return Block(ids, encoded)
    return Block(ids, np.concatenate(encoded), np.cumsum([0, *map(len, encoded)]))


def search(
    heads: Sequence[Loaded],
    vectors: "Sequence[Sequence[Vectors]]",
    asked: Asked,
    gallery: "JoinedGallery",
    depth: int,
    threads: int,
) -> list[Run]:
    """A run per head, from one pass over the gallery; a topic's score is the weighted mean of its wordings'."""
    import torch

    from avs_cli.core.head_search import HeadScorer
    from avs_cli.core.ranking import best_shots

    sentences = [topic.query for topic in asked.said]
    with torch.inference_mode():
        scorers = [
            HeadScorer(one.head, one.head.embed_texts(mine, sentences), ROWS, partial(_mean, asked))
            for one, mine in zip(heads, vectors, strict=True)
        ]
    rankings = best_shots(scorers, gallery, depth, threads)
    return [dict(zip((topic.id for topic in asked.topics), mine, strict=True)) for mine in rankings]


def _mean(asked: Asked, said: "torch.Tensor", sizes: bool = False) -> "torch.Tensor":
    """(F, …) of the wordings to (T, …) of the topics, by the wordings' shares or by the shares' sizes."""
    import torch

    shares = torch.tensor(asked.shares, dtype=said.dtype, device=said.device)
    weighted = said * (shares.abs() if sizes else shares).view(-1, *[1] * (said.dim() - 1))
    owner = torch.tensor(asked.owner, device=said.device)
    return said.new_zeros(len(asked.topics), *said.shape[1:]).index_add(0, owner, weighted)


def explain(
    heads: Sequence[Loaded],
    vectors: "Sequence[Sequence[Vectors]]",
    asked: Asked,
    gallery: "JoinedGallery",
    runs: Sequence[Run],
) -> Iterator[tuple[str, str, str, str, float]]:
    """Head, topic, shot ("" for the topic's own features), feature, and how much it counts: the mean over spaces."""
    import numpy as np
    import torch

    from avs_cli.core.head_search import padded

    place = {id: position for position, id in enumerate(gallery.ids)}
    for one, mine, run in zip(heads, vectors, runs, strict=True):
        names = [part["name"] for part in (*one.told["texts"], *one.told["encoders"])]
        with torch.inference_mode():
            written = one.head.text_weights(mine, [topic.query for topic in asked.said])
            written = None if written is None else _mean(asked, written, sizes=True)
        for row, topic in enumerate(asked.topics):
            if written is not None:
                for name, weight in zip(names, written[row].mean(0).tolist(), strict=True):
                    yield one.name, topic.id, "", name, weight
            best = [*run[topic.id]][:EXPLAINED]
            block = gallery.take(np.array([place[shot] for shot in best], np.int64))
            with torch.inference_mode():
                seen = one.head.video_weights(padded(one.head, block, len(best)))
            if seen is not None:
                for shot, weights in zip(best, seen.mean(1).tolist(), strict=True):
                    for feature, weight in zip(one.head.videos, weights, strict=True):
                        yield one.name, topic.id, shot, feature.name, weight
