"""Search among words: known items by what is seen and what is said, the cost to purely visual queries, and memory.

The words are synthetic: each of Flickr8k's 1,000 photos of dev "says" up to three captions of photos of train, at
random. A known item is asked for by a caption of its photo and some consecutive words of what it says, in quotes; by
these words alone; or by the caption alone, which what is said elsewhere may distract from: it is of the same kind.
"""

import random
import resource
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from avs_cli.io.store.texts import TextItem
from avs_cli.io.store.writer import TextWriter
from avs_cli.stages.extract import extract
from avs_cli.stages.fuse import fuse
from avs_cli.stages.search import search
from avs_cli.stages.search_words import search_words
from avs_cli.types import Piece, Run, ranked

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "flickr8k"
KNOWN, DEPTH = 300, 200
SHOTS, WORDS = 100_000, 30_000


def captions(path: Path) -> dict[str, list[str]]:
    """The captions of each photo."""
    found: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip():
            id, caption = line.split(maxsplit=1)
            found.setdefault(id.partition("#")[0], []).append(caption.rstrip(" ."))
    return found


def write(path: Path, said: Mapping[str, list[str]]) -> None:
    with TextWriter(path, "said", {"model": "said"}) as writer:
        ids = list(said)
        for low in range(0, len(ids), 10_000):
            some = ids[low : low + 10_000]
            writer.add([TextItem(None, id, [Piece(text, 0.0, 1.0) for text in said[id]]) for id in some])
        writer.finish(ids)


def ranks(run: Run, owner: Mapping[str, str]) -> np.ndarray:
    """The rank of the item of each topic; infinity where the run lacks it."""
    orders = ((ranked(run.get(topic, {})), item) for topic, item in owner.items())
    return np.array([order.index(item) + 1 if item in order else np.inf for order, item in orders])


def figures(found: np.ndarray) -> str:
    return f"MRR {np.mean(1 / found):.3f}  R@1 {np.mean(found == 1):.3f}"


def peak() -> float:
    """In MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def rows() -> Iterator[tuple[str, str, str]]:
    chance = random.Random(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yield from of_memory(folder, chance)
        seen = captions(DATA / "dev.caption.txt")
        elsewhere = [caption for of_photo in captions(DATA / "train.caption.txt").values() for caption in of_photo]
        extract(DATA / "dev", folder / "seen.h5", "lite")
        said = {photo: chance.choices(elsewhere, k=chance.choice([0, 0, 1, 1, 2, 3])) for photo in sorted(seen)}
        write(folder / "said.h5", said)
        known = chance.sample([photo for photo, texts in said.items() if texts], KNOWN)
        asked: dict[str, dict[str, str]] = {"both": {}, "words": {}, "visual": {}}
        for photo in known:
            words = chance.choice(said[photo]).replace('"', "").split()
            first = chance.randrange(max(1, len(words) - 3))
            quoted = " ".join(words[first : first + 4])
            asked["both"][photo] = f'{chance.choice(seen[photo])}, someone says "{quoted}"'
            asked["words"][photo] = quoted
        asked["visual"] = {f"{photo}#{k}": text for photo in seen for k, text in enumerate(seen[photo][:2])}
        for what, topics in asked.items():
            owner = {topic: topic.partition("#")[0] for topic in topics}
            pictures = search(folder / "seen.h5", topics, depth=DEPTH)
            words_alone = search_words(folder / "said.h5", topics, depth=DEPTH)
            fused = fuse({"pictures": pictures, "words": words_alone}, depth=DEPTH)
            found = {name: ranks(run, owner) for name, run in (("p", pictures), ("w", words_alone), ("f", fused))}
            label = {"both": "caption and quoted words", "words": "words alone", "visual": "caption alone"}[what]
            where = f"known items, synthetic words, {len(topics)} queries by {label}"
            yield f"{where}: pictures", figures(found["p"]), "-"
            yield f"{where}: words", figures(found["w"]), "-"
            yield f"{where}: fused (rrf)", figures(found["f"]), "MRR above both" if what == "both" else "-"
            if what == "visual":
                harm = np.mean(1 / found["p"]) - np.mean(1 / found["f"])
                hits = sum(map(bool, words_alone.values()))
                yield f"harm of words to {len(topics)} visual queries, {hits} with hits", f"{harm:.4f} mAP", "<= .005"


def of_memory(folder: Path, chance: random.Random) -> Iterator[tuple[str, str, str]]:
    """One search in a long gallery, and the same by an index of all its words."""
    vocabulary = [f"w{number}" for number in range(WORDS)]
    weights = np.cumsum(1 / np.arange(1, WORDS + 1)).tolist()

    def text() -> str:
        return " ".join(chance.choices(vocabulary, cum_weights=weights, k=12))

    said = {f"s{number:06d}": [text()] for number in range(SHOTS)}
    write(folder / "long.h5", said)
    topics = {str(number): " ".join(text().split()[:3]) for number in range(30)}
    del said
    search_words(folder / "long.h5", {"1": "w1"})
    before, began = peak(), time.process_time()
    run = search_words(folder / "long.h5", topics)
    seconds = time.process_time() - began
    yield (
        f"BM25 of 30 topics over {SHOTS:,} shots of 12 words",
        f"{seconds:.1f} s, {peak() - before:.0f} MB more",
        "<= 50 MB",
    )
    import bm25s

    from avs_cli.core.search.tokens import parse_query, terms
    from avs_cli.io.store.texts import TextStore

    began = time.process_time()
    with TextStore(folder / "long.h5") as store:
        tokens = [terms(pieces[0].text) for _, pieces in store.items()]
        ids = store.ids
    index = bm25s.BM25(k1=1.2, b=0.75, method="lucene", dtype="float64")
    index.index(tokens, show_progress=False)
    scores = {topic: index.get_scores(list(parse_query(text).terms)) for topic, text in topics.items()}
    seconds = time.process_time() - began
    yield "the same by bm25s", f"{seconds:.1f} s, {peak() - before:.0f} MB more", "-"
    place = {id: number for number, id in enumerate(ids)}
    wrong = max(abs(scores[t][place[id]] - score) for t, of_topic in run.items() for id, score in of_topic.items())
    yield "largest difference of a score from that of bm25s", f"{wrong:.1e}", "<= 1e-9"
