"""Submissions as XML: what is written is what is read, and a DTD is an additional judge."""

from pathlib import Path

import pytest

from avs_cli.errors import FormatError
from avs_cli.io.text.trecvid_xml import dtd_violations, submission_in, submission_text
from avs_cli.types import Submission, TopicResult

ATTRIBUTES = {
    "trType": "D",
    "class": "F",
    "task": "M",
    "novelty": "C",
    "pid": "TEAM",
    "priority": "1",
    "desc": "a < b & \"c\" 'd'",
}
ANSWER = Submission(ATTRIBUTES, [TopicResult("731", "12", [("1", "shot00001_1"), ("2", "shot00001_2")])])

DTD = """<?xml version="1.0" encoding="ISO-8859-1"?>
<!ELEMENT videoAdhocSearchResults (videoAdhocSearchRunResult+)>
<!ELEMENT videoAdhocSearchRunResult (videoAdhocSearchTopicResult+)>
<!ATTLIST videoAdhocSearchRunResult
  trType (A|D|E|F) #REQUIRED class (M|F|R) #REQUIRED task (M|P) #REQUIRED novelty (N|C) #REQUIRED
  pid CDATA #REQUIRED priority (1|2|3) #REQUIRED desc CDATA #REQUIRED>
<!ELEMENT videoAdhocSearchTopicResult (item+)>
<!ATTLIST videoAdhocSearchTopicResult tNum CDATA #REQUIRED elapsedTime CDATA #REQUIRED>
<!ELEMENT item EMPTY>
<!ATTLIST item seqNum CDATA #REQUIRED shotId CDATA #REQUIRED>
"""


def test_what_is_written_is_what_is_read() -> None:
    assert submission_in("run.xml", submission_text(ANSWER, 2023)) == ANSWER


def test_the_file_names_the_years_dtd() -> None:
    first = submission_text(ANSWER, 2023).splitlines()[0]
    address = "https://www-nlpir.nist.gov/projects/tv2023/dtds/videoAdhocSearchResults.dtd"
    assert first == f'<!DOCTYPE videoAdhocSearchResults SYSTEM "{address}">'


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("<a/>", 1, "0 runs in <a>"),
        ("<videoAdhocSearchResults/>", 1, "0 runs"),
        ("<videoAdhocSearchRunResult>\n<b/></videoAdhocSearchRunResult>", 2, "<b> instead of"),
        (
            "<videoAdhocSearchRunResult>\n<videoAdhocSearchTopicResult tNum='1'/></videoAdhocSearchRunResult>",
            2,
            "without elapsedTime",
        ),
        ("<a>\n</b>", 2, "not XML"),
        ("<", 1, "not XML"),
    ],
)
def test_other_xml_names_its_line(text: str, line: int, what: str) -> None:
    with pytest.raises(FormatError) as error:
        submission_in("run.xml", text)
    assert what in str(error.value)
    assert error.value.line == line


def test_a_dtd_finds_what_it_does_not_allow(tmp_path: Path) -> None:
    dtd = tmp_path / "rules.dtd"
    dtd.write_text(DTD)
    assert dtd_violations(str(dtd), "run.xml", submission_text(ANSWER, 2023)) == []
    wrong = Submission(ATTRIBUTES | {"priority": "4"}, [TopicResult("731", "12", [])])
    found = dtd_violations(str(dtd), "run.xml", submission_text(wrong, 2023))
    assert any("line 3" in violation and "priority" in violation for violation in found)
    assert any("line 4" in violation and "videoAdhocSearchTopicResult" in violation for violation in found)


@pytest.mark.parametrize("text", ["<!ELEMENT", "no dtd", '<!ENTITY % x SYSTEM "file:///etc/passwd">'])
def test_what_is_no_dtd_is_an_error_of_that_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "rules.dtd").write_text(text)
    with pytest.raises(FormatError, match=r"rules\.dtd"):
        dtd_violations(str(tmp_path / "rules.dtd"), "run.xml", submission_text(ANSWER, 2023))
