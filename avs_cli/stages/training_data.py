"""What a head learns from: captions, and the stores with the vectors of captions and videos."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from copy import copy
from typing import Any, Self

import numpy as np

from avs_cli.core.training.pairs import Column, NegatedCaption, Pairs
from avs_cli.errors import MismatchError, few
from avs_cli.io.resource import Resource
from avs_cli.io.store.compatibility import Comparison
from avs_cli.io.store.galleries import Galleries
from avs_cli.io.text.captions import Captions, item_of, pack_captions
from avs_cli.io.text.negated import read_negated
from avs_cli.io.texts import PackedTexts, distinct, renumbered
from avs_cli.reporting import LOGGED, Reporter
from avs_cli.types import Topic


class TrainingData(Resource):
    """Open stores of video and text features, and the captions with vectors in them."""

    def __init__(
        self,
        videos: Sequence[str],
        texts: Sequence[str],
        skip_missing: bool = False,
        comparison: Comparison | None = None,
        report: Reporter = LOGGED,
    ):
        """skip_missing  skip captions whose video or vector is missing, instead of raising MismatchError"""
        with ExitStack() as stack:
            self.videos: Galleries = stack.enter_context(Galleries(videos, comparison))
            self.texts: Galleries = stack.enter_context(Galleries(texts, comparison))
            self._resources = stack.pop_all()
        self.skip_missing, self.report = skip_missing, report

    def arrange(self, init: str, described: Mapping[str, Any]) -> None:
        """Order the features as in the description of the head in the file `init`; stores may be given in any order.

        Raises MismatchError unless the features are those of the head.
        """
        for galleries, end in ((self.videos, "videos"), (self.texts, "texts")):
            galleries.check(init, described[end])
            known = [feature["name"] for feature in described[end]]
            if extra := [name for name in galleries.features if name not in known]:
                raise MismatchError(f"{init} does not take {extra[0]!r}; it takes {', '.join(known)}")
            galleries.features = {name: galleries.features[name] for name in known}

    def only(self, videos: Sequence[str], texts: Sequence[str]) -> Self:
        """The same open stores with the features of these names, in this order."""
        part = copy(self)
        part.videos, part.texts = self.videos.only(videos), self.texts.only(texts)
        return part

    def pairs(self, files: Sequence[str], negated: str = "") -> Pairs:
        """The captions in `files`, with their videos and vectors.

        negated  file of negated captions, whose vectors are in the text stores; "": none
        """
        captions, where = pack_captions(files), ", ".join(files)
        owners = PackedTexts.of(map(item_of, captions.ids))
        first, item = distinct(owners)
        items, whole = owners.take(first), np.ones(len(captions.ids), bool)
        self._require(whole, self.videos, items, item, where)
        self._require(whole, self.texts, captions.ids, np.arange(len(whole)), where)
        if not whole.all():
            skipped = int((~whole).sum())
            self.report.note(f"{where}: {skipped} of {len(whole)} captions skipped: missing from a store")
            kept = np.flatnonzero(whole)
            captions = Captions(captions.ids.take(kept), captions.sentences.take(kept))
            first, item = renumbered(item[kept])
            items = owners.take(kept).take(first)
        if len(captions.ids) < 2:
            raise MismatchError(f"{where}: fewer than two captions with a video in the stores")
        return self.pairs_of(*captions, items, item, self._negated(negated))

    def pairs_of(
        self,
        texts: Sequence[str],
        sentences: Sequence[str],
        items: Sequence[str],
        item: np.ndarray,
        negated: Mapping[str, list[NegatedCaption]] | None = None,
    ) -> Pairs:
        """Pairs of texts and videos; `item` is the index of the video of each text."""
        return Pairs(
            texts,
            sentences,
            items,
            item,
            [Column(g, self.videos.places(feature, items)) for feature, g in self.videos.features.items()],
            [Column(g, self.texts.places(feature, texts)) for feature, g in self.texts.features.items()],
            {k: negated[caption] for k, caption in enumerate(texts) if caption in negated} if negated else {},
        )

    def same(self, pairs: Pairs) -> Pairs:
        """The captions and videos of other pairs, with vectors from these stores."""
        return self.pairs_of(pairs.captions, pairs.sentences, pairs.items, pairs.item)

    def complete_items(self, items: Sequence[str]) -> list[str]:
        """The items that have all video features."""
        there = [self.videos.places(feature, items) >= 0 for feature in self.videos.features]
        return [item for item, whole in zip(items, np.logical_and.reduce(there).tolist(), strict=True) if whole]

    def some_items(self, most: int) -> list[str]:
        """At most so many items that have all video features, spread evenly over the sorted ids of the first one."""
        ids = sorted(next(iter(self.videos.features.values())).ids)
        return self.complete_items(ids[:: max(1, -(-len(ids) // most))])

    def stored_topics(self, topics: Mapping[str, Topic], files: str) -> dict[str, Topic]:
        """The topics with vectors for all text features, by their ids in the judgments.

        files  where the topics come from, for messages
        Raises MismatchError for missing topics, unless they are skipped, and if no topic is left.
        """
        complete = dict(topics)
        for feature in self.texts.features:
            places = self.texts.places(feature, [topic.id for topic in topics.values()])
            lost = [id for id, place in zip(topics, places.tolist(), strict=True) if place < 0]
            if lost and not self.skip_missing:
                raise MismatchError(
                    f"{self.texts.stores_of(feature)} lacks {len(lost)} of the topics in {files}: {few(lost)}; encode "
                    "them with `avs extract --text` and add the store with --text, or use --skip-missing"
                )
            complete = {id: topic for id, topic in complete.items() if id not in lost}
        if not complete:
            raise MismatchError(f"{files}: no judged topic with a vector in the text stores")
        if len(complete) < len(topics):
            skipped = len(topics) - len(complete)
            self.report.note(f"{files}: {skipped} of {len(topics)} topics skipped: missing from a text store")
        return complete

    def _require(
        self, whole: np.ndarray, galleries: Galleries, ids: Sequence[str], which: np.ndarray, files: str
    ) -> None:
        """Clear `whole` where a store lacks what caption i needs, which is `ids[which[i]]`.

        Raises MismatchError for the first feature that lacks any, unless they are skipped.
        """
        for feature in galleries.features:
            there = galleries.places(feature, ids) >= 0
            if not there.all() and not self.skip_missing:
                lost = [ids[k] for k in np.flatnonzero(~there).tolist()]
                option = "--video" if galleries is self.videos else "--text"
                raise MismatchError(
                    f"{galleries.stores_of(feature)} lacks {len(lost)} of the items in {files}: {few(lost)}; "
                    f"add a store that has them with {option} STORE, or skip their captions with --skip-missing"
                )
            whole &= there[which]

    def _negated(self, path: str) -> dict[str, list[NegatedCaption]]:
        """The negated captions of each caption, with their rows in the text stores."""
        read = read_negated(path) if path else {}
        ids = [id for negated in read.values() for id, _ in negated]
        places = [self.texts.places(feature, ids) for feature in self.texts.features]
        for number, id in enumerate(ids):
            for feature, rows in zip(self.texts.features, places, strict=True):
                if rows[number] < 0:
                    raise MismatchError(f"{self.texts.stores_of(feature)} lacks the negated caption {id!r} of {path}")
        numbers = iter(range(len(ids)))
        return {
            caption: [
                NegatedCaption(sentence, tuple(int(rows[number]) for rows in places))
                for (_, sentence), number in zip(negated, numbers, strict=False)
            ]
            for caption, negated in read.items()
        }
