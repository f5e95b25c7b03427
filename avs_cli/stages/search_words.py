"""Search among the words of shots: runs of features of texts, ranked by BM25.

    run = search_words(["words.h5"], {"661": 'a mug with "not today"'})

A topic for which no shot has enough of its words has no shots.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from avs_cli.core.search.bm25 import TextHits, bm25
from avs_cli.core.search.confidence import check_share
from avs_cli.core.search.tokens import matched, parse_query
from avs_cli.errors import MismatchError, SpecError, few
from avs_cli.io.store.texts import TextGallery, kind_of_feature, open_texts
from avs_cli.reporting import LOGGED, Reporter
from avs_cli.stages.inputs import Paths, comparison, path_names
from avs_cli.stages.topic_texts import Field, Topics, is_image, read, wordings_of
from avs_cli.types import Piece, Run, Topic, ranked

# Default of the share of a query that a shot must have, of whole words and of pieces of words. With less, descriptions
# of what is seen find shots where something like it is said: of captions of photos, that costs fusion 0.01 mAP or more.
SHARE, SHARE_OF_NGRAMS = 0.8, 0.5
# Characters of an excerpt.
EXCERPT = 60
NAMED = 5


class TextSearch(NamedTuple):
    """A search among the texts of shots, in a gallery that is open.

    run      of all topics; one for which nothing was found has no shots
    seconds  that they took together
    gallery  that was searched
    """

    run: Run
    seconds: float
    gallery: TextGallery


def by_feature(gallery: Paths) -> tuple[dict[str, list[str]], list[str]]:
    """The stores of texts, as FILE::FEATURE, by their feature; and the other stores, as they are given."""
    texts: dict[str, list[str]] = {}
    others: list[str] = []
    for name in path_names(gallery):
        path, _, wanted = name.partition("::")
        feature, has_texts = kind_of_feature(path, wanted or None) if path != "-" else ("", False)
        if has_texts:
            texts.setdefault(feature, []).append(f"{path}::{feature}")
        else:
            others.append(name)
    return texts, others


def search_words(
    gallery: Paths,
    topics: Topics,
    *,
    field: Field | None = None,
    depth: int = 1000,
    at_least: float | None = None,
    ngrams: int = 0,
    allow_mismatch: bool = False,
    report: Reporter = LOGGED,
) -> Run:
    """The `depth` shots of each topic that BM25 scores highest.

    gallery         stores of one feature of texts, FILE or FILE::FEATURE
    topics          queries of words in any order; those in double quotes stand together in a shot's text
    field           the text of each topic; None: "query"
    at_least        the share of a query's words, weighted by how rare they are, that a shot must have, unless it has
                    all phrases of the query; None: 0.8, or 0.5 with `ngrams`
    ngrams          match pieces of words of this length, which tolerates errors; 0: whole words
    allow_mismatch  note where stores were made in different ways, instead of raising MismatchError

    Of a topic with several wordings, scores are added by their weights. Notes topics for which nothing is found. Raises
    MismatchError for a topic that is only an image.
    """
    with searching_words(
        gallery,
        topics,
        field=field,
        depth=depth,
        at_least=at_least,
        ngrams=ngrams,
        allow_mismatch=allow_mismatch,
        report=report,
    ) as found:
        return found.run


@contextmanager
def searching_words(
    gallery: Paths,
    topics: Topics,
    *,
    field: Field | None = None,
    depth: int = 1000,
    at_least: float | None = None,
    ngrams: int = 0,
    allow_mismatch: bool = False,
    report: Reporter = LOGGED,
) -> Iterator[TextSearch]:
    """As `search_words`, with all that the search knows; its gallery is open as long as the context is."""
    if at_least is None:
        at_least = SHARE_OF_NGRAMS if ngrams else SHARE
    check_share(at_least)
    if ngrams and ngrams < 2:
        raise SpecError(f"pieces of words of {ngrams} character: expected 2 or more, or 0 for whole words")
    wanted = read(topics, field or "query")
    asked = [_sentences(topic) for topic in wanted]
    with open_texts(path_names(gallery), comparison(allow_mismatch, report)) as shots:
        begun = time.perf_counter()
        queries = [parse_query(text, ngrams) for of_topic in asked for _, text in of_topic]
        hits = iter(bm25(shots.items(), queries, ngrams))
        run: Run = {}
        for topic, of_topic in zip(wanted, asked, strict=True):
            scores = _added([(weight, next(hits)) for weight, _ in of_topic], at_least)
            run[topic.id] = {shot: scores[shot] for shot in ranked(scores)[:depth]}
        seconds = time.perf_counter() - begun
        if nothing := [topic.id for topic in wanted if not run[topic.id]]:
            report.note(_without_hits(shots.feature, nothing, len(wanted)))
        yield TextSearch(run, seconds, shots)


def _sentences(topic: Topic) -> list[tuple[float, str]]:
    """The wordings of a topic that are text, and their weights."""
    found = [(weight, text) for weight, text in wordings_of(topic) if not is_image(text)]
    if not found:
        raise MismatchError(f"topic {topic.id} is an example image, and texts are searched for words")
    return found


def _added(hits: Sequence[tuple[float, TextHits]], at_least: float) -> dict[str, float]:
    """The weighted sum of the scores of a topic's wordings, of shots that have enough of one of positive weight."""
    scores: dict[str, float] = {}
    enough: set[str] = set()
    for weight, found in hits:
        for shot, score, coverage in zip(found.shots, found.scores.tolist(), found.coverage.tolist(), strict=True):
            scores[shot] = scores.get(shot, 0.0) + weight * score
            if weight > 0 and coverage >= at_least:
                enough.add(shot)
    return {shot: score for shot, score in scores.items() if shot in enough and score > 0}


def _without_hits(feature: str, nothing: Sequence[str], total: int) -> str:
    if nothing == ["query"]:
        return f"{feature}: no shot has these words"
    which = f"topic {nothing[0]}" if len(nothing) == 1 else f"{len(nothing)} of {total} topics"
    return f"{feature}: no shot has the words of {which}{f' ({few(nothing, NAMED)})' if len(nothing) > 1 else ''}"


def excerpt(pieces: Sequence[Piece], query: str, ngrams: int = 0) -> str:
    """The pieces that have a term of a query, on one short line."""
    text = " … ".join(" ".join(piece.text.split()) for piece in matched(pieces, query, ngrams))
    return text if len(text) <= EXCERPT else f"{text[: EXCERPT - 1]}…"
