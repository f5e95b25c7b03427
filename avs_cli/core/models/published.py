"""Conversion of heads trained with the authors' code of LAFF, W2VV++ and SEA, recognised by the names of weights.

The weights hold the transforms, the attention, word embeddings and recurrent networks. They do not hold the
vocabularies, pretrained word vectors and the models behind stored features, nor, for LAFF, whether `ave` and `mul` were
on. Omitted: the attention's bias, which has no effect, an unused LayerNorm, counters, and copies of CLIP and BERT,
whose vectors come from a store.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import torch

from avs_cli.core.models.described import Description, described_encoder, load_weights, rebuild
from avs_cli.core.models.heads import heads
from avs_cli.core.models.layers import Input
from avs_cli.core.models.settings import chosen_in, settings_of
from avs_cli.core.models.text.gru import SPECIAL
from avs_cli.core.models.text.words import STOP_WORDS, Corpus
from avs_cli.errors import MismatchError, SpecError, UnknownName
from avs_cli.types import WordVectors

Weights = Mapping[str, torch.Tensor]

# A weight that identifies each kind of head.
MARKS = {
    "laff": re.compile(r"(vis_net|txt_net)\.(vis_)?attention_layer\..*embedding_common\.0\.weight"),
    "w2vvpp": re.compile(r"1\.encoder\.rnn_encoder\.we\.weight"),
    "sea": re.compile(r"1\.txt_nets\.0\.transformer\.fc1\.weight"),
}
# Published names of the encoders that are part of a head -> ours; all other names are stored features.
ENCODERS = {"bow_encoder": "bow", "w2v_encoder": "word2vec", "rnn_encoder": "gru", "NetVLAD_encoder": "netvlad"}
# Names of single attention layers in the configuration -> their `ave` and `mul`.
ATTENTIONS = {
    "attention_noAverageMul_Ave": (True, False),
    "average_AverageMul_noAve": (False, True),
    "attention_noAveNoAverageMul": (False, False),
    "attention_averageMul": (True, True),
}
_TRANSFORM = re.compile(
    r"(?:(?P<video>vis_net\.(?:VisMutiTransformNet\.)?)|(?P<text>txt_net\.transform_layer\.))"
    r"(?P<name>[^.]+)\.(?P<part>fc1|bn1)\.(?P<what>\w+)"
)
_ATTENTION = re.compile(
    r"(?P<end>vis_net|txt_net)\.(?:vis_)?attention_layer\.(?:attention_layer\.(?P<head>\d+)\.)?"
    r"(?P<what>embedding_common\.0\.weight|global_emb_weight_net\.weight)"
)
_FRAMES = re.compile(r"vis_net\.frame_attention\.(?P<name>[^.]+)\.0\.embedding_common\.0\.weight")
_ENCODER = re.compile(r"txt_net\.encoder\.(?P<name>rnn_encoder|NetVLAD_encoder)\.(?P<what>.+)")
_UNUSED = re.compile(
    r".*(?:embedding_common\.0\.bias|layer_norm\.\w+|num_batches_tracked|frame_attention.*)"
    r"|txt_net\.encoder\.(?:CLIP|bert)_encoder\..*"
)
_NETVLAD = {"netvlad.centeroids": "centres", "netvlad.fc1.weight": "assign.weight"}


class Known(NamedTuple):
    """Information that the weights do not contain.

    words    vocabularies by encoder, "bow" and "gru"; the recurrent network's special words may come first
    vectors  pretrained word vectors
    names    published name of a feature -> its name in our stores; an encoder listed here is a stored feature
    called   name of the features that are not in `names`
    pooling  how a recurrent network's outputs become one: mean, last or mean_last
    """

    words: Mapping[str, Sequence[str]] = MappingProxyType({})
    vectors: WordVectors | None = None
    names: Mapping[str, str] = MappingProxyType({})
    called: Callable[[str], str] = str
    pooling: str = "mean"


class Text(NamedTuple):
    """A published text feature: its name, dimension, and the weights of its encoder."""

    name: str
    dim: int
    weights: Weights = MappingProxyType({})


class Published(NamedTuple):
    """The parts of a published head.

    names     published names of its features
    encoders  descriptions, in order
    settings  settings of the head that follow from its weights
    state     weights by our names
    """

    names: list[str]
    videos: list[Input]
    texts: list[Input]
    encoders: list[Description]
    settings: dict[str, Any]
    state: dict[str, torch.Tensor]


def kind_of(weights: Weights) -> str | None:
    """The kind of head that the weights belong to, or None."""
    return next((kind for kind, mark in MARKS.items() if any(mark.fullmatch(key) for key in weights)), None)


def adopt(
    weights: Weights, known: Known, spec: str = "", attentions: Sequence[str] = ()
) -> tuple[Description, dict[str, torch.Tensor]]:
    """The description of a published head, and its weights by our names.

    spec        settings that do not follow from the weights, as `laff:ave=true`
    attentions  published names of the attention layers, if the checkpoint has them
    Raises MismatchError for unknown weights, and for missing information, SpecError for a spec of another head,
    UnknownName for an unknown feature.
    """
    kind = kind_of(weights)
    if kind is None:
        raise MismatchError("the weights are those of no head that is known: LAFF, W2VV++ or SEA")
    if spec and spec.partition(":")[0] != kind:
        raise SpecError(f"the weights are those of a {kind} head, not of {spec.partition(':')[0]}")
    found = {"laff": laff, "w2vvpp": w2vvpp, "sea": sea}[kind](weights, known)
    if not found.videos or not (found.texts or found.encoders):
        raise MismatchError(
            f"the weights of the {kind} head take no feature of {'texts' if found.videos else 'videos'}"
        )
    for name in known.names.keys() - set(found.names):
        raise UnknownName("feature of the checkpoint", name, found.names)
    chosen = chosen_in(heads.load(spec or kind))
    for key, value in found.settings.items():
        if chosen.get(key, value) != value:
            raise MismatchError(f"the weights have {key} {value!r}, not {chosen[key]!r}")
    description: Description = {
        "kind": kind,
        "settings": settings_of(heads.load(kind)) | _single(attentions) | chosen | found.settings,
        "videos": [{**video._asdict(), "provenance": {}} for video in found.videos],
        "texts": [{**text._asdict(), "provenance": {}} for text in found.texts],
        "encoders": found.encoders,
    }
    head = rebuild(description)
    counters = {key: value for key, value in head.state_dict().items() if key.endswith("num_batches_tracked")}
    state = counters | found.state
    load_weights(head, state, "the published checkpoint")
    return description, state


def laff(weights: Weights, known: Known) -> Published:
    """The parts of a published LAFF head. Raises MismatchError for an unexpected weight."""
    state: dict[str, torch.Tensor] = {}
    ends: dict[str, dict[str, dict[str, torch.Tensor]]] = {"vis_net": {}, "txt_net": {}}
    vectors: dict[str, dict[int, torch.Tensor]] = {"vis_net": {}, "txt_net": {}}
    pools: dict[str, torch.Tensor] = {}
    learned: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in weights.items():
        if found := _ATTENTION.fullmatch(key):
            if found["what"].startswith("embedding"):
                vectors[found["end"]][int(found["head"] or 0)] = value
            else:
                state[f"{_ours(found['end'])}.fusion.r"] = value.reshape(())
        elif found := _FRAMES.fullmatch(key):
            pools[found["name"]] = value.reshape(-1)
        elif found := _ENCODER.fullmatch(key):
            learned.setdefault(found["name"], {})[found["what"]] = value
        elif _UNUSED.fullmatch(key):
            continue
        elif found := _TRANSFORM.fullmatch(key):
            name = found["name"].removesuffix("_transform") if found["text"] else found["name"]
            part = ends["vis_net" if found["video"] else "txt_net"].setdefault(name, {})
            part[f"{found['part'].removesuffix('1')}.{found['what']}"] = value
        else:
            raise MismatchError(f"unexpected tensor {key} in the published weights of a laff head")
    count = max(map(len, vectors.values()))
    width = next((v.numel() for held in vectors.values() for v in held.values()), 0)
    dim = next((v.shape[0] for end in ends.values() for part in end.values() for v in part.values()), 0)
    sizes = {
        end: {
            name: part["fc.weight"].shape[1] if "fc.weight" in part else dim // max(count, 1)
            for name, part in parts.items()
        }
        for end, parts in ends.items()
    }
    videos = [Input(_named(name, known), size, name in pools) for name, size in sizes["vis_net"].items()]
    parts = [Text(name, size, learned.get(name, {})) for name, size in sizes["txt_net"].items()]
    texts, encoders, state_of_encoders, order = _text_end(parts, known)
    for end, names in (("vis_net", list(sizes["vis_net"])), ("txt_net", order)):
        for place, name in enumerate(names):
            for what, value in ends[end][name].items():
                state[f"{_ours(end)}.transforms.{place}.{what}"] = value
        if vectors[end]:
            state[f"{_ours(end)}.fusion.a"] = torch.cat([vectors[end][head] for head in sorted(vectors[end])])
    for place, name in enumerate(sizes["vis_net"]):
        if name in pools:
            state[f"frames.{place}.a"] = pools[name]
    raw = [name for parts in ends.values() for name, part in parts.items() if "fc.weight" not in part]
    settings = {
        "dim": dim,
        "heads": count,
        "split": count * width == dim,
        "raw": "+".join(dict.fromkeys(_named(name, known) for name in raw)),
        "norm": any("fc.weight" in part and "bn.weight" in part for end in ends.values() for part in end.values()),
        "raw_norm": all("bn.weight" in part for part in ends["txt_net"].values() if "fc.weight" not in part),
    }
    return Published([*sizes["vis_net"], *order], videos, texts, encoders, settings, state | state_of_encoders)


def w2vvpp(weights: Weights, known: Known) -> Published:
    """The parts of a published W2VV++ head: a recurrent network, mean word vectors, a bag of words, in this order."""
    learned = _under("1.encoder.rnn_encoder.", weights)
    total, dim = weights["1.transformer.fc1.weight"].shape[1], weights["1.transformer.fc1.weight"].shape[0]
    recurrent = _recurrent_size(learned, known)
    words = _word_vectors(known, "word vectors").vectors.shape[1]
    parts = [
        Text("rnn_encoder", recurrent, learned),
        Text("w2v_encoder", words),
        Text("bow_encoder", total - recurrent - words),
    ]
    _, encoders, state, _ = _text_end(parts, known._replace(names={}))
    state |= _transform("0.", "video.", weights) | _transform("1.transformer.", "text.", weights)
    settings = {"dim": dim, "norm": "0.bn1.weight" in weights}
    return Published(["video"], [_video("0.fc1.weight", weights, known)], [], encoders, settings, state)


def sea(weights: Weights, known: Known) -> Published:
    """The parts of a published SEA head, with a space per text feature (without weights: by dimension)."""
    sizes: dict[int, int] = {}
    while (key := f"1.txt_nets.{len(sizes)}.transformer.fc1.weight") in weights:
        sizes[len(sizes)] = weights[key].shape[1]
    parts = [_space(k, size, _under(f"1.txt_nets.{k}.encoder.", weights), known) for k, size in sizes.items()]
    texts, encoders, state, order = _text_end(parts, known)
    for place, name in enumerate(order):
        k = [part.name for part in parts].index(name)
        state |= _transform(f"0.vis_nets.{k}.transformer.", f"video.{place}.", weights)
        state |= _transform(f"1.txt_nets.{k}.transformer.", f"text.{place}.", weights)
    key = "0.vis_nets.0.transformer.fc1.weight"
    settings = {"dim": weights[key].shape[0], "norm": "0.vis_nets.0.transformer.bn1.weight" in weights}
    return Published(["video", *order], [_video(key, weights, known)], texts, encoders, settings, state)


def _space(k: int, size: int, learned: Weights, known: Known) -> Text:
    """The text feature of SEA's space `k`."""
    if "we.weight" in learned:
        return Text("rnn_encoder", size, learned)
    if "netvlad.centeroids" in learned:
        return Text("NetVLAD_encoder", size, learned)
    if size == len(known.words.get("bow", ())):
        return Text("bow_encoder", size)
    if known.vectors is not None and size == known.vectors.vectors.shape[1]:
        return Text("w2v_encoder", size)
    if f"text-{k}" in known.names:
        return Text(f"text-{k}", size)
    raise MismatchError(
        f"the weights take {size} numbers of a text in space {k} and do not tell which; give --vocabulary bow=FILE for "
        f"counts of words, --word-vectors PATH for their vectors, --feature text-{k}=NAME for a stored feature"
    )


def _text_end(
    parts: Sequence[Text], known: Known
) -> tuple[list[Input], list[Description], dict[str, torch.Tensor], list[str]]:
    """Stored features, encoders with their weights, and the published names in our order (stored features first)."""
    inside = [part for part in parts if part.name in ENCODERS and part.name not in known.names]
    stored = [part for part in parts if part not in inside]
    state: dict[str, torch.Tensor] = {}
    encoders = []
    for place, part in enumerate(inside):
        described, held = _encoder(part, known)
        encoders.append(described)
        state |= {f"encoders.{place}.{what}": value for what, value in held.items()}
    texts = [Input(_named(part.name, known), part.dim) for part in stored]
    return texts, encoders, state, [part.name for part in (*stored, *inside)]


def _encoder(part: Text, known: Known) -> tuple[Description, Weights]:
    """The description of a published text encoder, and its weights by our names."""
    kind = ENCODERS[part.name]
    if kind == "bow":
        words = _vocabulary("bow", part.dim, known)
        kept = any(word in STOP_WORDS for word in words)
        return described_encoder(f"bow:stop_words={str(kept).lower()}", Corpus(words=words)), {}
    if kind == "gru":
        table = part.weights["we.weight"]
        both = "rnn.weight_ih_l0_reverse" in part.weights
        hidden = part.weights["rnn.weight_hh_l0"].shape[1]
        words = _vocabulary("gru", len(table) - len(SPECIAL), known)
        spec = f"{'bigru' if both else 'gru'}:hidden={hidden},pooling={known.pooling}"
        return described_encoder(spec, Corpus(words=words, dim=table.shape[1])), part.weights
    vectors = _word_vectors(known, part.name)
    corpus = Corpus(vectors=vectors, dim=vectors.vectors.shape[1])
    if kind == "word2vec":
        if corpus.dim != part.dim:
            raise MismatchError(f"the word vectors have {corpus.dim} numbers, and the weights take {part.dim}")
        return described_encoder("word2vec", corpus), {"table": corpus.table(list(vectors.rows))}
    held = {_NETVLAD[key]: value for key, value in part.weights.items() if key in _NETVLAD}
    spec = f"netvlad:clusters={len(held['centres'])}"
    return described_encoder(spec, corpus), held | {"table": corpus.table(list(vectors.rows))}


def _vocabulary(encoder: str, size: int, known: Known) -> list[str]:
    words = list(known.words.get(encoder, ()))
    if not words:
        raise MismatchError(
            f"the weights know {size} words by number and not by name; give --vocabulary {encoder}=FILE"
        )
    if words[: len(SPECIAL)] == list(SPECIAL):
        words = words[len(SPECIAL) :]
    if len(words) != size:
        raise MismatchError(f"the {encoder} vocabulary has {len(words)} words, and the weights know {size}")
    return words


def _word_vectors(known: Known, what: str) -> WordVectors:
    if known.vectors is None:
        raise MismatchError(f"the checkpoint lacks the word vectors of its {what}; give --word-vectors PATH")
    return known.vectors


def _recurrent_size(learned: Weights, known: Known) -> int:
    hidden = learned["rnn.weight_hh_l0"].shape[1]
    return hidden * (2 if "rnn.weight_ih_l0_reverse" in learned else 1) * (2 if known.pooling == "mean_last" else 1)


def _transform(theirs: str, ours: str, weights: Weights) -> dict[str, torch.Tensor]:
    """The weights of a transform by our names."""
    return {
        f"{ours}{key.replace('fc1.', 'fc.').replace('bn1.', 'bn.')}": value
        for key, value in _under(theirs, weights).items()
        if not key.endswith("num_batches_tracked")
    }


def _under(prefix: str, weights: Weights) -> dict[str, torch.Tensor]:
    return {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}


def _video(key: str, weights: Weights, known: Known) -> Input:
    """The only video feature of the older heads, which is unnamed."""
    return Input(_named("video", known), weights[key].shape[1])


def _named(name: str, known: Known) -> str:
    return known.names.get(name) or known.called(name)


def _single(attentions: Sequence[str]) -> dict[str, bool]:
    """The settings that follow from the names of the attention layers at both ends."""
    told = {ATTENTIONS[name] for name in attentions if name in ATTENTIONS}
    if len(told) > 1:
        raise MismatchError(f"the two ends differ in their attention ({', '.join(attentions)}); a laff head has one")
    return {key: value for pair in told for key, value in zip(("ave", "mul"), pair, strict=True)}


def _ours(end: str) -> str:
    return {"vis_net": "video", "txt_net": "text"}[end]
