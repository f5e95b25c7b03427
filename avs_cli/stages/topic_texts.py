"""The texts of topics: what to search for, before any model reads it.

A topic's text is a query of `core.search.queries`: a sentence, or one with structure. Wordings that have weights in
their file are sentences as they are, and so are captions.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

from avs_cli.core.search.queries import WITHIN, is_plain, line, parse
from avs_cli.errors import FormatError, MismatchError, SpecError
from avs_cli.io.text.topics import Texts, read_texts
from avs_cli.stages.inputs import FilePath
from avs_cli.types import QueryPart, QueryStep, Topic, Variant

Field = Literal["query", "narrative", "both"]
"""The text of a topic: the topic, its narrative, or one after the other."""
Negation = Literal["subtract", "deo", "sentence"]
"""What becomes of "X -Y": the score of Y is subtracted, the vector of X is optimized away from that of Y ("deo"), or
the sentence "X without Y" is searched for, which suits heads that were trained with negated captions."""
Topics = FilePath | Sequence[Topic] | Mapping[str, str]
"""What to search for: a topics file, topics, or the text of each topic by its id."""


def file_of(topics: Topics | None) -> str:
    """The topics' file, for a message; "" when they come from elsewhere."""
    return str(topics) if isinstance(topics, str | Path) else ""


class TopicStep(NamedTuple):
    """What one shot of a topic's answer is to show.

    topic   its sentences and pictures, under an id of its own; None without any
    shots   ids of shots of the gallery that are examples -> their weights
    within  seconds from the step before
    """

    topic: Topic | None
    shots: Mapping[str, float]
    within: float = WITHIN


def read(topics: Topics, field: str = "query", negation: Negation = "subtract") -> list[Topic]:
    """The topics (or captions), each with the chosen text as its query, and its structure as variants or steps.

    field  "query", "narrative" or "both"
    Raises SpecError for a field of captions, for two topics of one id, when there is no topic, and for a query that is
    not of the grammar, which is a FormatError in a file; MismatchError where a topic has no narrative.
    """
    path = file_of(topics)
    found, captions = _written(topics)
    if captions:
        if field != "query":
            raise SpecError(f"{topics}: captions have no narratives; --field {field} applies to topics")
        return found
    return of_field([structured(topic, path, negation) for topic in found], field, path)


def ids_of(topics: Topics) -> list[str]:
    """The ids of topics, whatever their texts are."""
    return [topic.id for topic in _written(topics).topics]


def _written(topics: Topics) -> Texts:
    """Topics or captions as they are written. Raises SpecError for two topics of one id, and when there is no topic."""
    if isinstance(topics, str | Path):
        return read_texts(str(topics))
    given = [Topic(*pair) for pair in topics.items()] if isinstance(topics, Mapping) else list(topics)
    counts = Counter(topic.id for topic in given)
    if twin := next((id for id, count in counts.items() if count > 1), None):
        raise SpecError(f"two topics have the id {twin!r}, and runs tell topics apart by their ids")
    if not given:
        raise SpecError("no topics to search for")
    return Texts(given, False)


def structured(topic: Topic, path: str = "", negation: Negation = "subtract") -> Topic:
    """A topic with the structure of its query: as variants where it has no steps and no shots as examples.

    path  the topics' file, for errors
    """
    if topic.variants or topic.steps:
        return topic
    steps = _steps(topic, path)
    return topic if is_plain(steps) else in_steps(topic, steps, negation)


def in_steps(topic: Topic, steps: Sequence[QueryStep], negation: Negation = "subtract") -> Topic:
    """A topic whose query has these steps. Raises MismatchError for a step without anything to look for."""
    if any(all(part.weight < 0 for part in step.parts) for step in steps):
        name = "the query" if topic.id == "query" else f"topic {topic.id}"
        raise MismatchError(f"{name} only says what is to be absent; say what to look for")
    steps = [_without(step) for step in steps] if negation == "sentence" else list(steps)
    if is_plain(steps):
        return replace(topic, query=steps[0].parts[0].text)
    if len(steps) == 1 and not any(_is_shot(part) for part in steps[0].parts):
        variants = tuple(Variant(part.weight, part.text) for part in steps[0].parts)
        # As in topics files: the wording of the largest weight is the topic's text.
        return replace(topic, query=max(variants, key=lambda one: one.weight).text, variants=variants)
    return replace(topic, steps=tuple(steps))


def followed(query: str, then: Sequence[str], within: float = WITHIN, negation: Negation = "subtract") -> Topic:
    """The topic "query": a query, and the queries of what is to follow it, in this order, each within the seconds."""
    steps = list(_steps(Topic("query", query)))
    for number, text in enumerate(then, start=1):
        first, *others = _steps(Topic(f"then {number}", text))
        steps += [first._replace(within=within), *others]
    return in_steps(Topic("query", line(steps)), steps, negation)


def of_field(topics: Sequence[Topic], field: str, path: str = "") -> list[Topic]:
    """Topics, each with the chosen text as its query; raises MismatchError where one has none.

    path  their file, for that error
    """
    if field == "query":
        return list(topics)
    where = f"{path}: " if path else ""
    for topic in topics:
        if field == "narrative" and not topic.narrative:
            raise MismatchError(f"{where}topic {topic.id} has no narrative; use --field query or both")
        if field == "both" and topic.narrative and (topic.variants or topic.steps):
            raise MismatchError(f"{where}topic {topic.id} is no plain sentence; use --field query")
    first = "" if field == "narrative" else "{0.query} "
    return [Topic(topic.id, f"{first}{{0.narrative}}".format(topic)) if topic.narrative else topic for topic in topics]


def wordings_of(topic: Topic) -> Sequence[tuple[float, str]]:
    """The weight and the text (or the path of the example image) of each wording of a topic.

    Raises MismatchError for a topic that has steps, which only a search for shots takes.
    """
    if topic.steps:
        what = "a sequence" if len(topic.steps) > 1 else "a query with shots as examples"
        raise MismatchError(f"topic {topic.id} is {what}, which only avs search in a gallery of vectors takes")
    return topic.variants or [(1.0, topic.query)]


def steps_of(topic: Topic, like: Sequence[str] = ()) -> list[TopicStep]:
    """The steps of a topic; a single one for most.

    like  shots that are examples beside those of the first step
    """
    liked = dict.fromkeys(like, 1.0)
    if not topic.steps:
        return [TopicStep(topic, liked)]
    found = []
    for number, step in enumerate(topic.steps, start=1):
        shots = {part.text: part.weight for part in step.parts if _is_shot(part)}
        variants = tuple(Variant(part.weight, part.text) for part in step.parts if not _is_shot(part))
        own = Topic(topic.id if number == 1 else f"{topic.id}, step {number}", line([step]), variants=variants)
        found.append(TopicStep(own if variants else None, shots | liked if number == 1 else shots, step.within))
    return found


def is_image(text: str) -> bool:
    """Whether a wording is the path of an example image."""
    # With PyAV, which takes longer than a search by stored vectors.
    from avs_cli.io.video.frames import is_picture

    return is_picture(text) and Path(text).is_file()


def _steps(topic: Topic, path: str = "") -> tuple[QueryStep, ...]:
    """The steps of a topic's query; the path of an image is one sentence."""
    as_it_is = (QueryStep((QueryPart(1.0, topic.query),)),)
    try:
        steps = parse(topic.query, topic.id if topic.id.startswith(("query", "then")) else f"topic {topic.id}")
    except SpecError as error:
        if is_image(topic.query):
            return as_it_is
        raise FormatError(path, str(error)) if path else error from None
    return as_it_is if is_plain(steps) or is_image(topic.query) else steps


def _without(step: QueryStep) -> QueryStep:
    """A step whose sentences say what is to be absent, instead of parts of negative weight."""
    absent = [part.text for part in step.parts if part.weight < 0 and not part.example]
    others = [part for part in step.parts if part.weight > 0 or part.example]
    if absent:
        words = f" without {' or '.join(absent)}"
        others = [part if part.example else part._replace(text=part.text + words) for part in others]
    return step._replace(parts=tuple(others))


def _is_shot(part: QueryPart) -> bool:
    """Whether a part is an example that is no picture on the disk."""
    return part.example and not is_image(part.text)
