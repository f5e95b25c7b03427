"""Topics (queries), in the formats of organisers and users.

    661 a hang glider floating in the sky            an id, white space, the query
    661<TAB>a hang glider<TAB>Any kind of glider …   a narrative may follow as a second field
    661<TAB>0.5<TAB>paraglider                       wordings (or example pictures) of one topic, each with its weight
    <videoAdhocSearchTopic num="661">…               TRECVID's XML
    {"id": "661", "text": "a hang glider"}           JSON lines, or a JSON list of such objects
    id,text,narrative                                CSV or TSV with a header line

Records of JSON and tables have an id (`id`, `_id`, `topic`, `topic_id`, `query_id`, `qid` or `num`), a text (`text`,
`query` or `title`), and may have a `narrative` and a `weight`. Captions (see `captions.py`) are topics too: each
sentence is a query, and its caption's id the topic. So are negated captions (see `negated.py`).

Topic files have 661 where NIST's qrels have 1661; `align_topics` maps one to the other.
"""

import math
import os.path
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple, TypeVar

from avs_cli.errors import FormatError, MismatchError, SpecError, few
from avs_cli.io.pipe import read_text
from avs_cli.io.text.captions import are_captions, parse_captions
from avs_cli.io.text.negated import are_negated, parse_negated
from avs_cli.io.text.records import TOPIC_IDS, TOPIC_TEXTS, Record, are_records, checked, found, kind_of, records_in
from avs_cli.types import Topic, Variant

_Value = TypeVar("_Value")

# Maximum size of a range, against typing errors; no benchmark has as many topics.
_MOST = 100_000


# Signs of other formats in the text before the first white space, or before the first tab.
_NO_ID = re.compile(r"""[|,;{}\[\]"]|[:;.)]$""")
_NO_FIELD = re.compile(r"[|,:;.)]$")


class Texts(NamedTuple):
    """The texts of a file, and whether they are captions, which have no narratives."""

    topics: list[Topic]
    captions: bool


def read_topics(path: str) -> list[Topic]:
    """The topics (or captions) of a file, in its order.

    Raises FormatError, with the line, for an id without a query, a duplicate id, a line of another format, and a file
    without topics.
    """
    return read_texts(path).topics


def read_texts(path: str) -> Texts:
    """As `read_topics`, and whether the texts are captions."""
    return texts_in(path, read_text(path))


def texts_in(path: str, text: str) -> Texts:
    """As `read_texts`, of the content of a file."""
    if text.lstrip().startswith("<"):
        from avs_cli.io.text.trecvid_xml import topics_in

        topics = topics_in(path, text)
    elif are_negated(text):
        negated = (one for of_caption in parse_negated(path, text).values() for one in of_caption)
        return Texts(_joined(path, ((None, Topic(*one)) for one in negated)), True)
    elif are_captions(text):
        return Texts([Topic(caption, sentence) for caption, sentence in parse_captions(path, text).items()], True)
    elif are_records(text):
        topics = _joined(path, ((line, _of_record(path, line, record)) for line, record in records_in(path, text)))
    else:
        topics = _joined(path, _in_lines(path, text))
    if not topics:
        raise FormatError(path, "contains no topics")
    return Texts(topics, False)


def align_topics(by_topic: Mapping[str, _Value], names: Collection[str]) -> tuple[dict[str, _Value], str]:
    """The values under the topic ids of `names`, and a message about renamed topics ("" if there are none).

    Three digits, and the same three digits after a 1, are the same topic. An id is kept if `names` has it, or if its
    other form is also a key.
    """
    renamed = {
        topic: other
        for topic in by_topic
        if topic not in names and (other := _other_form(topic)) in names and other not in by_topic
    }
    note = ""
    if renamed:
        old, new = (
            f"{min(ids)}-{max(ids)}" if len(ids) > 1 else min(ids) for ids in (set(renamed), set(renamed.values()))
        )
        note = f"{len(renamed)} topic{'s' * (len(renamed) > 1)} renamed: {old} read as {new}"
    return {renamed.get(topic, topic): value for topic, value in by_topic.items()}, note


def is_topics_file(given: str) -> bool:
    """Whether the value of `--topics` is a file, rather than a list of ids."""
    return given == "-" or (os.path.exists(given) and not os.path.isdir(given))


def topic_ids(given: str) -> list[str]:
    """The ids of `--topics`: those of a topics file, or a list of ids and ranges such as 731-750,761.

    Raises FormatError for other values, SpecError for a range that ends before it begins.
    """
    if is_topics_file(given):
        return [topic.id for topic in read_topics(given)]
    ids: dict[str, None] = {}
    for piece in map(str.strip, given.split(",")):
        if bounds := re.fullmatch(r"([0-9]{1,9})-([0-9]{1,9})", piece):
            low, high = map(int, bounds.groups())
            if not low <= high < low + _MOST:
                raise SpecError(
                    f"--topics {piece}: expected a range from a lower to a higher id, with at most {_MOST} ids"
                )
            width = len(bounds[1])
            ids |= dict.fromkeys(str(number).zfill(width) for number in range(low, high + 1))
        elif re.fullmatch(r"[^\s./\\]*[0-9][^\s./\\]*", piece):
            ids[piece] = None
        else:
            raise FormatError(given, "no such file; --topics takes a topics file, or ids such as 731-750,761")
    return list(ids)


def select_topics(by_topic: Mapping[str, _Value], wanted: Collection[str]) -> dict[str, _Value]:
    """The entries of a run (or of other values by topic) for the `wanted` topics, in its order and with its ids.

    731 also selects 1731 if there is no 731, and 1731 selects 731; see `align_topics`.
    """
    chosen = _chosen(by_topic, wanted)
    return {topic: value for topic, value in by_topic.items() if topic in chosen}


def absent_topics(wanted: Collection[str], runs: Iterable[Collection[str]]) -> str:
    """A message that counts and names the `wanted` topics that are in no run ("" if there are none).

    Raises MismatchError if the runs have none of the topics.
    """
    runs = list(runs)
    found = {topic for run in runs for topic in _chosen(run, wanted).values()}
    absent = [topic for topic in wanted if topic not in found]
    if not found:
        have = few(dict.fromkeys(topic for run in runs for topic in run)) or "no topics"
        raise MismatchError(f"--topics selects {few(wanted)}, of which no run has any; the runs have {have}")
    return f"{len(absent)} of {len(wanted)} selected topics are in no run: {few(absent)}" if absent else ""


def _chosen(topics: Collection[str], wanted: Collection[str]) -> dict[str, str]:
    """Selected ids of `topics` -> the corresponding `wanted` ids."""
    aligned, _ = align_topics({topic: topic for topic in wanted}, topics)
    return {topic: name for topic, name in aligned.items() if topic in topics}


def _other_form(topic: str) -> str:
    """1661 for 661, 661 for 1661, "" for other ids."""
    if not (topic.isascii() and topic.isdigit()):
        return ""
    if len(topic) == 3:
        return f"1{topic}"
    return topic[1:] if len(topic) == 4 and topic.startswith("1") else ""


def _in_lines(path: str, text: str) -> Iterator[tuple[int, Topic]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, _of_line(path, number, line.strip())


def _of_line(path: str, number: int, line: str) -> Topic:
    fields = [" ".join(field.split()) for field in line.split("\t")]
    foreign = _NO_FIELD
    if len(fields) < 2 or " " in fields[0]:
        identity, *words = line.split()
        fields, foreign = [identity, " ".join(words)], _NO_ID
    fields = [field for field in fields if field]
    identity = fields[0]
    if foreign.search(identity):
        raise FormatError(
            path, f"{identity!r} is not a topic id; expected an id, a space or tab, and the query", number
        )
    if len(fields) < 2 or not any(map(str.isalnum, fields[1])):
        raise FormatError(path, f"topic {identity!r} has no query", number)
    if foreign is _NO_ID and identity.lower() in ("a", "an", "the", "topic", "query"):
        raise FormatError(path, f"each line must begin with a topic id, and {identity!r} is not one", number)
    query, *narrative = fields[1:]
    weight = _weight(query)
    if weight is None or not narrative:
        return Topic(identity, query, " ".join(narrative))
    return Topic(identity, narrative[0], variants=(Variant(weight, narrative[0]),))


def _of_record(path: str, line: int | None, record: Record) -> Topic:
    if kind_of(record) != "topics":
        what = f"{'JSON ' * (line is None)}record {str(dict(record))[:60]!r}"
        raise FormatError(path, f"{what} is not a topic with an id and a text (or query, or title)", line)
    fields = {}
    for field, names in (("id", TOPIC_IDS), ("query", TOPIC_TEXTS), ("narrative", ("narrative",))):
        value = record.get(found(record, names), "")
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise FormatError(
                path, f"{'JSON ' * (line is None)}record {str(dict(record))[:60]!r}: {field} is not a string", line
            )
        fields[field] = " ".join(checked(path, str(value), line).split())
    identity, query, narrative = fields.values()
    if not identity or " " in identity:
        raise FormatError(path, f"topic id {identity!r} is empty or has white space, which runs do not allow", line)
    if not any(map(str.isalnum, query)):
        raise FormatError(path, f"topic {identity!r} has no query", line)
    if not str(record.get("weight") or ""):
        return Topic(identity, query, narrative)
    weight = _weight(str(record["weight"]))
    if weight is None:
        raise FormatError(path, f"topic {identity!r} has weight {record['weight']!r}, which is not a number", line)
    if narrative:
        raise FormatError(
            path, f"topic {identity!r} has both a weight and a narrative, but wordings have no narratives", line
        )
    return Topic(identity, query, variants=(Variant(weight, query),))


def _joined(path: str, found: Iterable[tuple[int | None, Topic]]) -> list[Topic]:
    """The topics, each with all its wordings; the query is the wording of the largest weight."""
    topics: dict[str, Topic] = {}
    for line, topic in found:
        before = topics.get(topic.id)
        if before and not (before.variants and topic.variants):
            raise FormatError(path, f"duplicate topic {topic.id!r}; each line must begin with a topic id", line)
        variants = (before.variants if before else ()) + topic.variants
        if before:
            topic = Topic(topic.id, max(variants, key=lambda variant: variant.weight).text, variants=variants)
        topics[topic.id] = topic
    return list(topics.values())


def _weight(text: str) -> float | None:
    """A text as a weight; None if it is not a number."""
    if not set(text) <= set("0123456789.eE+-"):
        return None
    try:
        weight = float(text)
    except ValueError:
        return None
    return weight if math.isfinite(weight) else None
