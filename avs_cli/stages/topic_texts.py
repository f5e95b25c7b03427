"""The texts of topics: what to search for, before any model reads it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from avs_cli.errors import MismatchError, SpecError
from avs_cli.io.text.topics import read_texts
from avs_cli.stages.inputs import FilePath
from avs_cli.types import Topic

Field = Literal["query", "narrative", "both"]
"""The text of a topic: the topic, its narrative, or one after the other."""
Topics = FilePath | Sequence[Topic] | Mapping[str, str]
"""What to search for: a topics file, topics, or the text of each topic by its id."""


def file_of(topics: Topics | None) -> str:
    """The topics' file, for a message; "" when they come from elsewhere."""
    return str(topics) if isinstance(topics, str | Path) else ""


def read(topics: Topics, field: str = "query") -> list[Topic]:
    """The topics (or captions), each with the chosen text as its query.

    field  "query", "narrative" or "both"
    Raises SpecError for a field of captions, for two topics of one id, and when there is no topic; MismatchError where
    a topic has no narrative.
    """
    if isinstance(topics, str | Path):
        found, captions = read_texts(str(topics))
        if captions and field != "query":
            raise SpecError(f"{topics}: captions have no narratives; --field {field} applies to topics")
        return of_field(found, field, str(topics))
    given = [Topic(*pair) for pair in topics.items()] if isinstance(topics, Mapping) else list(topics)
    counts = Counter(topic.id for topic in given)
    if twin := next((id for id, count in counts.items() if count > 1), None):
        raise SpecError(f"two topics have the id {twin!r}, and runs tell topics apart by their ids")
    if not given:
        raise SpecError("no topics to search for")
    return of_field(given, field)


def of_field(topics: Sequence[Topic], field: str, path: str = "") -> list[Topic]:
    """Topics, each with the chosen text as its query; raises MismatchError where one has none.

    path  their file, for that error
    """
    if field == "query":
        return list(topics)
    for topic in topics:
        if field == "narrative" and not topic.narrative:
            where = f"{path}: " if path else ""
            raise MismatchError(f"{where}topic {topic.id} has no narrative; use --field query or both")
    first = "" if field == "narrative" else "{0.query} "
    return [Topic(topic.id, f"{first}{{0.narrative}}".format(topic)) if topic.narrative else topic for topic in topics]


def wordings_of(topic: Topic) -> Sequence[tuple[float, str]]:
    """The weight and the text (or the path of the example image) of each wording of a topic."""
    return topic.variants or [(1.0, topic.query)]


def is_image(text: str) -> bool:
    """Whether a wording is the path of an example image."""
    # With PyAV, which takes longer than a search by stored vectors.
    from avs_cli.io.video.frames import is_picture

    return is_picture(text) and Path(text).is_file()
