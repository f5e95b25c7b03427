"""TRECVID's XML formats: topics, and submissions of runs.

Entities are not resolved, and DTDs and network resources are not loaded.
"""

import io
from xml.sax.saxutils import quoteattr

from lxml import etree

from avs_cli.errors import FormatError
from avs_cli.io.pipe import read_text
from avs_cli.types import Submission, Topic, TopicResult

_ROOT, _RUN, _RESULT = "videoAdhocSearchResults", "videoAdhocSearchRunResult", "videoAdhocSearchTopicResult"


def parse(path: str, text: str) -> etree._Element:
    """The root element. Raises FormatError, with the line, for invalid XML and for entities."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        # The text is decoded already, so a declared encoding does not apply.
        root = etree.fromstring(_without_declaration(text).encode(), parser)
    except etree.XMLSyntaxError as error:
        message = (error.msg or "no content").splitlines()[0]
        raise FormatError(path, f"not XML: {message}", error.lineno or None) from None
    inner = root.getroottree().docinfo.internalDTD
    if inner is not None and any(True for _ in inner.iterentities()):
        raise FormatError(path, "it defines entities, which are not resolved; write their text")
    for entity in root.iter(etree.Entity):
        raise FormatError(path, f"the entity {entity.text} is not resolved; write its text", entity.sourceline)
    return root


def read_submission(path: str) -> Submission:
    """The run in a submission file, unchecked. Raises FormatError, with the line, for other XML."""
    return submission_in(path, read_text(path))


def submission_in(path: str, text: str) -> Submission:
    """As `read_submission`, from the content of the file."""
    root = parse(path, text)
    runs = [root] if root.tag == _RUN else root.findall(_RUN)
    if root.tag not in (_ROOT, _RUN) or len(runs) != 1:
        raise FormatError(path, f"{len(runs)} runs in <{root.tag}> instead of one in <{_ROOT}>", root.sourceline)
    results = []
    for element in runs[0].iterchildren(etree.Element):
        if element.tag != _RESULT:
            raise FormatError(path, f"<{element.tag}> instead of <{_RESULT}>", element.sourceline)
        number, elapsed = (_attribute(path, element, name) for name in ("tNum", "elapsedTime"))
        items = []
        for item in element.iterchildren(etree.Element):
            if item.tag != "item":
                raise FormatError(path, f"<{item.tag}> instead of <item>", item.sourceline)
            items.append((_attribute(path, item, "seqNum"), _attribute(path, item, "shotId")))
        results.append(TopicResult(number, elapsed, items))
    return Submission({str(name): str(value) for name, value in runs[0].attrib.items()}, results)


def submission_text(answer: Submission, year: int) -> str:
    """A submission as XML."""
    out = io.StringIO()
    dtd = f"https://www-nlpir.nist.gov/projects/tv{year}/dtds/{_ROOT}.dtd"
    attributes = " ".join(f"{name}={quoteattr(value)}" for name, value in answer.attributes.items())
    out.write(f'<!DOCTYPE {_ROOT} SYSTEM "{dtd}">\n<{_ROOT}>\n  <{_RUN} {attributes}>\n')
    for number, elapsed, items in answer.results:
        out.write(f"    <{_RESULT} tNum={quoteattr(number)} elapsedTime={quoteattr(elapsed)}>\n")
        out.writelines(f"      <item seqNum={quoteattr(n)} shotId={quoteattr(shot)}/>\n" for n, shot in items)
        out.write(f"    </{_RESULT}>\n")
    out.write(f"  </{_RUN}>\n</{_ROOT}>\n")
    return out.getvalue()


def dtd_violations(dtd: str, path: str, text: str) -> list[str]:
    """Violations of the DTD in the file `dtd`, with lines.

    Raises FormatError for a DTD that cannot be read or that refers to other files.
    """
    rules = read_text(dtd)
    if "<!ENTITY" in rules:
        raise FormatError(dtd, "it defines entities, which are not resolved")
    try:
        known = etree.DTD(io.BytesIO(_without_declaration(rules).encode()))
    except etree.DTDParseError as error:
        raise FormatError(dtd, f"not a DTD: {str(error).splitlines()[0]}") from None
    if known.validate(parse(path, text)):
        return []
    return [f"line {entry.line}: {entry.message} (DTD)" for entry in known.error_log]


def topics_in(path: str, text: str) -> list[Topic]:
    """The topics of an XML file: every element with a number, as attribute or child, and a text.

    Raises FormatError, with the line, for a topic without a text and for a duplicate number.
    """
    topics: dict[str, Topic] = {}
    for element in parse(path, text).iter(etree.Element):
        number = _field(element, "num", "tNum", "number", "id")
        if not number:
            continue
        if len(number.split()) > 1:
            raise FormatError(path, f"topic number {number!r} is not one word", element.sourceline)
        query = _field(element, "text", "textDescription", "title", "query", "desc", "description")
        if not query:
            raise FormatError(path, f"topic {number!r} has no text", element.sourceline)
        if number in topics:
            raise FormatError(path, f"duplicate topic {number!r}", element.sourceline)
        topics[number] = Topic(number, query, _field(element, "narrative", "narr"))
    return list(topics.values())


def _field(element: etree._Element, *names: str) -> str:
    """The first of `names` that is an attribute or a child of the element (its `text` attribute or its content)."""
    for name in names:
        child = element.find(name)
        found = element.get(name) or (child.get("text") or "".join(child.itertext()) if child is not None else "")
        if found.split():
            return " ".join(found.split())
    return ""


def _attribute(path: str, element: etree._Element, name: str) -> str:
    value = element.get(name)
    if value is None:
        raise FormatError(path, f"<{element.tag}> without {name}", element.sourceline)
    return str(value)


def _without_declaration(text: str) -> str:
    """The text without `<?xml … ?>`; line numbers stay the same."""
    text = text.lstrip("\ufeff")
    if not text.startswith("<?xml"):
        return text
    declaration, end, rest = text.partition("?>")
    return "\n" * declaration.count("\n") + rest if end else text
