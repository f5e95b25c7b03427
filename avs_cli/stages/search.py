"""`avs search` with trained heads: one run per head, in a single pass over the gallery."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from avs_cli.console import note_each
from avs_cli.errors import MismatchError, SpecError
from avs_cli.stages import topics as _queries
from avs_cli.types import Block, Run, Topic

if TYPE_CHECKING:
    import torch

    from avs_cli.core.models.layers import Head, Vectors
    from avs_cli.io.store.compatibility import Comparison
    from avs_cli.io.store.galleries import Galleries, JoinedGallery

Missing = Literal["error", "skip", "zero"]
# Shots per block: large enough for matrix products, small enough for the cache.
ROWS = 256
EXPLAINED = 10


class Loaded(NamedTuple):
    """A head, its file, and the description in it."""

    path: str
    head: "Head"
    told: dict[str, Any]

    @property
    def name(self) -> str:
        """The name of its run."""
        return Path(self.path).stem


class Asked(NamedTuple):
    """Topics with all their wordings.

    said    a topic per wording, whose query is the wording
    owner   the index of the topic of each wording
    shares  the weight of each wording; the absolute weights of a topic sum to 1
    """

    topics: list[Topic]
    said: list[Topic]
    owner: list[int]
    shares: list[float]


def asked(topics: list[Topic]) -> Asked:
    """The wordings of topics; raises MismatchError for images and for topics with zero weights only."""
    said, owner, shares = [], [], []
    for place, topic in enumerate(topics):
        wordings = _queries.wordings_of(topic)
        total = sum(abs(weight) for weight, _ in wordings)
        if not total:
            raise MismatchError(f"topic {topic.id}: all wordings have weight 0")
        for weight, text in wordings:
            if _queries.is_picture(text):
                raise MismatchError(f"topic {topic.id}: {text} is an image, and heads take text only")
            said.append(Topic(topic.id, text))
            owner.append(place)
            shares.append(weight / total)
    return Asked(topics, said, owner, shares)


def load(paths: Sequence[str], device: str) -> list[Loaded]:
    """Load heads from files."""
    from avs_cli.core.models.described import rebuilt
    from avs_cli.io.head_file import load_head

    loaded = []
    for path in paths:
        kept = load_head(path)
        if kept.head["kind"] == "teachclip":
            raise SpecError(
                f"{path} is a student trained on clips, not a head: extract with --model teachclip --weights {path}, "
                "and search that store with the same --weights"
            )
        if kept.head["kind"] == "clip-teacher":
            name = kept.head["settings"]["teacher"]
            raise SpecError(
                f"{path} is a teacher trained on clips, not a head: give it to avs distill as --teacher {name}={path}"
            )
        head = rebuilt(kept.head, kept.weights, path)
        loaded.append(Loaded(path, head.eval().to(device), kept.head))
    names = [one.name for one in loaded]
    if twin := next((name for name in names if names.count(name) > 1), None):
        raise SpecError(f"two heads are named {twin!r}, and runs take the names of their heads; rename one")
    return loaded


def join(galleries: "Galleries", heads: Sequence[Loaded], missing: Missing = "error") -> "JoinedGallery":
    """The gallery with the features of the heads; raises MismatchError for missing or different features.

    missing  shots that lack features: reject ("error"), skip ("skip"), or use zero vectors ("zero")
    """
    from avs_cli.io.store.galleries import JoinedGallery

    for one in heads:
        galleries.check(one.path, one.told["videos"])
    features = dict.fromkeys(feature["name"] for one in heads for feature in one.told["videos"])
    joined = JoinedGallery(galleries, list(features), ROWS)
    said = []
    for one in heads:
        own = [feature["name"] for feature in one.told["videos"]]
        for feature, lost in joined.lacks(own).items():
            gap = joined.described_gap(feature, lost, own)
            if missing == "error":
                raise MismatchError(
                    f"{gap}; use --missing skip to skip these shots, or --missing zero to use zero vectors instead"
                )
            said.append(f"{gap}; {'these shots are skipped' if missing == 'skip' else 'zero vectors are used instead'}")
        if not joined.count(own, every=missing == "skip"):
            raise MismatchError(
                f"{one.path}: no shot to search has {'all' if missing == 'skip' else 'any'} of its features"
            )
    note_each(said)
    return joined


def field_of(heads: Sequence[Loaded], vectors: "Galleries", asked: str | None) -> str:
    """The topic field that the heads' text stores encode; text encoders read the same field."""
    names = dict.fromkeys(feature["name"] for one in heads for feature in one.told["texts"])
    stores = {vectors.stores_of(name): vectors.features[name].provenance for name in names if name in vectors.features}
    return _queries.field_of(stores, asked)


class Written(NamedTuple):
    """The wordings' vectors for each text feature of a head, and the seconds to compute them."""

    vectors: "list[Vectors]"
    seconds: float


def texts_of(
    heads: Sequence[Loaded],
    asked: Asked,
    vectors: "Galleries",
    device: str,
    threads: int,
    weights: Mapping[str, str] = MappingProxyType({}),
) -> list[Written]:
    """The text features of the wordings per head; each feature is encoded once for all heads.

    A feature comes from the stores of `vectors` if they hold it, else from the encoder that the head was trained with.

    weights  feature -> a local checkpoint of its encoder
    Raises SpecError for weights of a feature that no head has encoded.
    """
    import torch

    from avs_cli.core.training.pairs import as_vectors, on

    encoded = {feature["name"] for one in heads for feature in one.told["texts"]} - vectors.features.keys()
    if unused := sorted(weights.keys() - encoded):
        names = f"; --weights applies to: {', '.join(sorted(encoded))}" if encoded else ""
        raise SpecError(f"--weights {unused[0]}=…: no text feature {unused[0]!r} is encoded{names}")
    known: dict[tuple[str, str], Encoded] = {}
    found = []
    for one in heads:
        mine, seconds = [], 0.0
        for feature in one.told["texts"]:
            name, begun = feature["name"], time.perf_counter()
            if name in vectors.features:
                vectors.check(one.path, [feature])
                key = (name, "")
                known.setdefault(key, Encoded(_stored(vectors, name, asked), {}, time.perf_counter() - begun))
            else:
                spec, own = _spec_of(feature), weights.get(name)
                key = (spec, own or "published")
                if key not in known:
                    block, provenance = _encoded(spec, asked.said, device, threads, own)
                    known[key] = Encoded(block, provenance, time.perf_counter() - begun)
                _compare(one.path, feature, own or spec, known[key].provenance, vectors.comparison)
            block = known[key].block
            seconds += known[key].seconds
            dim = block.vectors.shape[1]
            if dim != feature["dim"]:
                raise MismatchError(f"{one.path} takes {name!r} of {feature['dim']} dimensions, not {dim}")
            mine.append(on(as_vectors(block), torch.device(device)))
        found.append(Written(mine, seconds))
    return found


class Encoded(NamedTuple):
    """A text feature of all wordings, the provenance of its encoder, and the seconds to compute it."""

    block: Block
    provenance: Mapping[str, Any]
    seconds: float


def _stored(vectors: "Galleries", name: str, asked: Asked) -> Block:
    topics = asked.said
    if len(topics) > len(asked.topics):
        many = next(topic.id for topic in asked.topics if len(topic.variants) > 1)
        raise MismatchError(
            f"{vectors.stores_of(name)} has a single vector for topic {many}, which has several wordings"
        )
    places = vectors.places(name, [topic.id for topic in topics])
    if (places < 0).any():
        lost = topics[int((places < 0).argmax())].id
        raise MismatchError(f"{vectors.stores_of(name)} has no vector for topic {lost!r}")
    return vectors.features[name].take(places)


def _spec_of(feature: Mapping[str, Any]) -> str:
    """The spec of the encoder of a text feature."""
    spec = feature["provenance"].get("spec")
    if not isinstance(spec, str):
        raise MismatchError(
            f"the head's text feature {feature['name']!r} has no model; give the topic vectors with --vectors"
        )
    return spec


def _encoded(
    spec: str, topics: Sequence[Topic], device: str, threads: int, weights: str | None
) -> tuple[Block, Mapping[str, Any]]:
    """The topics encoded, and the provenance of the encoder."""
    import numpy as np

    from avs_cli.core.encoders import encoders
    from avs_cli.stages.runtime import runtime

    encoder = encoders.load(spec)(runtime(device, threads, weights))
    provenance = {**encoder.provenance, "spec": spec}
    encoded = encoder.encode_text([topic.query for topic in topics])
    ids = [topic.id for topic in topics]
    if not encoder.word_level:
        return Block(ids, encoded), provenance
    return Block(ids, np.concatenate(encoded), np.cumsum([0, *map(len, encoded)])), provenance


def _compare(
    path: str, feature: Mapping[str, Any], encoder: str, provenance: Mapping[str, Any], comparison: "Comparison"
) -> None:
    """Raises MismatchError when a head was trained with a different encoder."""
    name = feature["name"]
    refusal = f"{path} was trained with a different {name!r} than that of {encoder}"
    cure = f"give the topic vectors with --vectors, or the weights of the model with --weights {name}=PATH"
    comparison.ends(f"the {name!r} of {path}", feature["provenance"], encoder, provenance, refusal, cure)


class Found(NamedTuple):
    """A head's run, and the seconds for embedding the topics and searching."""

    run: Run
    seconds: float


def search(
    heads: Sequence[Loaded],
    vectors: "Sequence[Sequence[Vectors]]",
    asked: Asked,
    gallery: "JoinedGallery",
    depth: int,
    threads: int,
    missing: Missing = "error",
) -> list[Found]:
    """One run per head in a single pass over the gallery; a topic's score is the weighted mean over its wordings.

    The seconds of a head are its share of the pass, in proportion to its scoring time.
    """
    import torch

    from avs_cli.core.search.exact import best_shots
    from avs_cli.core.search.heads import HeadScorer

    sentences = [topic.query for topic in asked.said]
    scorers, seconds = [], []
    with torch.inference_mode():
        for one, mine in zip(heads, vectors, strict=True):
            begun = time.perf_counter()
            texts = one.head.embed_texts(mine, sentences)
            scorers.append(HeadScorer(one.head, texts, ROWS, partial(_mean, asked), missing != "zero", one.path))
            seconds.append(time.perf_counter() - begun)
    begun = time.perf_counter()
    rankings = best_shots(scorers, gallery, depth, threads)
    whole = time.perf_counter() - begun
    spent = [sum(scorer.spent) for scorer in scorers]
    found = []
    for ranking, own, took in zip(rankings, spent, seconds, strict=True):
        ranked = ({shot: score for shot, score in scores.items() if score > -math.inf} for scores in ranking)
        run = dict(zip((topic.id for topic in asked.topics), ranked, strict=True))
        found.append(Found(run, took + whole * own / sum(spent)))
    return found


def _mean(asked: Asked, said: "torch.Tensor", sizes: bool = False) -> "torch.Tensor":
    """(F, …) of wordings to (T, …) of topics, weighted by the shares or their absolute values."""
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
    """Head, topic, shot ("" for the features of the topic), feature, and its weight: the mean over spaces."""
    import numpy as np
    import torch

    from avs_cli.core.search.heads import padded

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
