"""BM25 over the texts of shots (Robertson et al., TREC-3, 1994; the variant of Lucene: Kamphuis et al., ECIR 2020).

    score(shot) = Σ over terms of the query  ln(1 + (N - n + ½) / (n + ½)) · f / (f + k₁ (1 - b + b L / L̄))

N shots have text, n of them the term; f is how often the shot has it, and L how many terms it has, L̄ on average.

The texts pass once, and only what concerns the queries is kept, so memory does not grow with the gallery. A library
that indexes all words, such as bm25s, keeps every token of the gallery: for one search that is most of the work.
"""

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from avs_cli.core.search.tokens import TextQuery, has_phrase, terms, units
from avs_cli.types import Piece

K1, B = 1.2, 0.75


class TextHits(NamedTuple):
    """The shots that have something of a query.

    shots     their ids
    scores    (H,) by BM25
    coverage  (H,) the share of the query's terms that each shot has, by their weights (ln …), or by their number where
              they are pieces of words; a shot that lacks a phrase of the query is no hit, and one with all has all
    """

    shots: list[str]
    scores: np.ndarray
    coverage: np.ndarray


def bm25(texts: Iterable[tuple[str, Sequence[Piece]]], queries: Sequence[TextQuery], ngrams: int = 0) -> list[TextHits]:
    """The hits of each query among the texts of shots; `ngrams` as those of the queries' terms."""
    wanted = {term: number for number, term in enumerate(dict.fromkeys(term for one in queries for term in one.terms))}
    phrases: dict[tuple[str, ...], list[int]] = {phrase: [] for one in queries for phrase in one.phrases}
    ids: list[str] = []
    lengths = array("q")
    owner, term_of, counts = array("q"), array("q"), array("q")
    count = total = 0
    for id, pieces in texts:
        text = "\n".join(piece.text for piece in pieces)
        found = terms(text, ngrams)
        count += bool(found)
        total += len(found)
        held = Counter(number for term in found if (number := wanted.get(term)) is not None)
        if not held:
            continue
        for number, times in held.items():
            owner.append(len(ids))
            term_of.append(number)
            counts.append(times)
        if phrases:
            inside = units(text)
            for phrase, having in phrases.items():
                if has_phrase(inside, phrase):
                    having.append(len(ids))
        ids.append(id)
        lengths.append(len(found))
    documents = np.bincount(np.asarray(term_of, np.int64), minlength=len(wanted))
    weights = np.array([math.log(1 + (count - n + 0.5) / (n + 0.5)) for n in documents.tolist()])
    # An error makes pieces of words that no text has, and whose weight would be the largest.
    shares = np.ones(len(wanted)) if ngrams else weights
    # By term, so that a query finds those of its own terms.
    order = np.argsort(np.asarray(term_of, np.int64), kind="stable")
    owners, frequencies = np.asarray(owner, np.int64)[order], np.asarray(counts, np.float64)[order]
    starts = np.concatenate([[0], np.cumsum(documents)])
    norms = K1 * (1 - B + B * np.asarray(lengths, np.float64) / (total / max(count, 1) or 1.0))
    hits = []
    for query in queries:
        scores, covered = np.zeros(len(ids)), np.zeros(len(ids))
        whole = 0.0
        for term in query.terms:
            number = wanted[term]
            some = slice(starts[number], starts[number + 1])
            shots, f = owners[some], frequencies[some]
            scores[shots] += weights[number] * f / (f + norms[shots])
            covered[shots] += shares[number]
            whole += shares[number]
        there = covered > 0
        for phrase in query.phrases:
            there &= np.isin(np.arange(len(ids)), phrases[phrase])
        kept = np.flatnonzero(there)
        coverage = np.ones(len(kept)) if query.phrases else covered[kept] / (whole or 1.0)
        hits.append(TextHits([ids[place] for place in kept.tolist()], scores[kept], coverage))
    return hits
