"""Topics: what is searched for, in the formats that organisers and users write.

    661 a hang glider floating in the sky            an id, white space, the query
    661<TAB>a hang glider<TAB>Any kind of glider …   a narrative may follow as a second field
    661<TAB>0.5<TAB>paraglider                       wordings (or example pictures) of one topic, each with its weight
    <videoAdhocSearchTopic num="661">…               TRECVID's XML

Topic files call a topic 661 where NIST's judgments call it 1661; `align_topics` is the one place that settles it.
"""

import math
from collections.abc import Collection, Mapping
from typing import TypeVar

from avs_cli.errors import FormatError
from avs_cli.io.pipe import read_text
from avs_cli.types import Topic, Variant

_Value = TypeVar("_Value")


def read_topics(path: str) -> list[Topic]:
    """The topics of a file, in its order.

    Raises FormatError, with the line, for an id without a query, an id that comes twice, and a file without topics.
    """
    text = read_text(path)
    if text.lstrip().startswith("<"):
        from avs_cli.io.trecvid_xml import topics_in

        topics = topics_in(path, text)
    else:
        topics = _in_lines(path, text)
    if not topics:
        raise FormatError(path, "no topics in it")
    return topics


def align_topics(by_topic: Mapping[str, _Value], names: Collection[str]) -> tuple[dict[str, _Value], str]:
    """The same values under the topic ids that `names` uses, and a sentence that says what was renamed ("" if nothing).

    Three digits and the same three behind a 1 are one topic. Ids that `names` has stay, and
    so do ids whose other form is taken.
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


def _other_form(topic: str) -> str:
    """1661 for 661, 661 for 1661, "" for everything else."""
    if not (topic.isascii() and topic.isdigit()):
        return ""
    if len(topic) == 3:
        return f"1{topic}"
    return topic[1:] if len(topic) == 4 and topic.startswith("1") else ""


def _in_lines(path: str, text: str) -> list[Topic]:
    topics: dict[str, Topic] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        topic = _topic(path, number, line.strip())
        before = topics.get(topic.id)
        if before and not (before.variants and topic.variants):
            raise FormatError(path, f"topic {topic.id!r} is there twice; each line begins with its topic's id", number)
        topics[topic.id] = _joined(before, topic) if before else topic
    return list(topics.values())


def _topic(path: str, number: int, line: str) -> Topic:
    fields = [" ".join(field.split()) for field in line.split("\t")]
    if len(fields) < 2 or " " in fields[0]:
        identity, *words = line.split()
        fields = [identity, " ".join(words)]
    fields = [field for field in fields if field]
    if len(fields) < 2 or not any(map(str.isalnum, fields[1])):
        raise FormatError(path, f"topic {fields[0]!r} has no query", number)
    identity, query, *narrative = fields
    weight = _weight(query)
    if weight is None or not narrative:
        return Topic(identity, query, " ".join(narrative))
    return Topic(identity, narrative[0], variants=(Variant(weight, narrative[0]),))


def _weight(text: str) -> float | None:
    """`text` as a weight, or None when it is words."""
    if not set(text) <= set("0123456789.eE+-"):
        return None
    try:
        weight = float(text)
    except ValueError:
        return None
    return weight if math.isfinite(weight) else None


def _joined(before: Topic, more: Topic) -> Topic:
    """A topic with one more wording; its query is the one of greatest weight."""
    variants = before.variants + more.variants
    return Topic(before.id, max(variants, key=lambda variant: variant.weight).text, variants=variants)
