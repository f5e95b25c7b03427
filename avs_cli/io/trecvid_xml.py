"""TRECVID's XML: topics to search for, and runs as NIST wants them submitted.

Nothing in a file is followed: entities stay unresolved, and neither DTDs nor the network are read.
"""

from lxml import etree

from avs_cli.errors import FormatError
from avs_cli.types import Topic


def parse(path: str, text: str) -> etree._Element:
    """The root element. Raises FormatError, with the line, for what is not XML or defines entities."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(text.encode(), parser)
    except etree.XMLSyntaxError as error:
        message = (error.msg or "no content").splitlines()[0]
        raise FormatError(path, f"not XML: {message}", error.lineno or None) from None
    for entity in root.iter(etree.Entity):
        raise FormatError(path, f"the entity {entity.text} is not resolved; write its text", entity.sourceline)
    return root


def topics_in(path: str, text: str) -> list[Topic]:
    """The topics of an XML file: every element with a number, as attribute or child, and a text.

    Raises FormatError, with the line, for a topic without a text and a number that comes twice.
    """
    topics: dict[str, Topic] = {}
    for element in parse(path, text).iter(etree.Element):
        number = _field(element, "num", "tNum", "number", "id")
        if not number:
            continue
        query = _field(element, "text", "textDescription", "title", "query", "desc", "description")
        if not query:
            raise FormatError(path, f"topic {number!r} has no text", element.sourceline)
        if number in topics:
            raise FormatError(path, f"topic {number!r} is there twice", element.sourceline)
        topics[number] = Topic(number, query, _field(element, "narrative", "narr"))
    return list(topics.values())


def _field(element: etree._Element, *names: str) -> str:
    """The first of `names` that the element has as an attribute or as a child (its `text` attribute or its words)."""
    for name in names:
        child = element.find(name)
        found = element.get(name) or (child.get("text") or "".join(child.itertext()) if child is not None else "")
        if found.split():
            return " ".join(found.split())
    return ""
