"""Topics in the formats that organisers and users write, and one name for one topic."""

from collections.abc import Callable
from pathlib import Path

import pytest

from avs_cli.errors import FormatError, MismatchError, SpecError
from avs_cli.io.text.topics import absent_topics, align_topics, read_topics, select_topics, topic_ids
from avs_cli.types import Topic, Variant


@pytest.fixture
def topics(tmp_path: Path) -> Callable[[str], list[Topic]]:
    def read(text: str) -> list[Topic]:
        (tmp_path / "topics").write_text(text, newline="")
        return read_topics(str(tmp_path / "topics"))

    return read


@pytest.mark.parametrize(
    ("text", "topic"),
    [
        ("661 a hang glider\n", Topic("661", "a hang glider")),
        ("661  a hang glider \r\n", Topic("661", "a hang glider")),
        ("vbs23-avs1\tFind a man, a dog.\n", Topic("vbs23-avs1", "Find a man, a dog.")),
        ("661\ta hang glider\tAny kind of glider.\n", Topic("661", "a hang glider", "Any kind of glider.")),
        ("661\t2 men\n", Topic("661", "2 men")),
        ("661\t3\n", Topic("661", "3")),
        ("1022_69#enc#0 A child at waters edge .\n", Topic("1022_69#enc#0", "A child at waters edge .")),
    ],
)
def test_a_line_is_a_topic(topics, text: str, topic: Topic) -> None:
    assert topics(text) == [topic]


def test_a_weight_in_the_second_field_makes_wordings_of_one_topic(topics) -> None:
    text = "661\t0.5\tparaglider\n661\t1\ta hang glider\n661\t.25\tpictures/kite.jpg\n662\t1\ta dog\n"
    wordings = (Variant(0.5, "paraglider"), Variant(1.0, "a hang glider"), Variant(0.25, "pictures/kite.jpg"))
    assert topics(text) == [
        Topic("661", "a hang glider", variants=wordings),
        Topic("662", "a dog", variants=(Variant(1.0, "a dog"),)),
    ]


@pytest.mark.parametrize(
    "text",
    [
        '{"id": "661", "text": "a hang glider"}\n\n{"id": 662, "text": "a dog,  running"}\n',
        '[{"_id": "661", "text": "a hang glider"},\n {"qid": "662", "query": "a dog, running"}]',
        'id,text\n661,a hang glider\n662,"a dog, running"\n',
        'Topic, Title\r\n661, a hang glider\r\n662,"a dog, running"\r\n',
        "\ufeffquery_id\tquery\n661\ta hang glider\n662\ta dog, running\n",
    ],
    ids=["JSON lines", "JSON", "CSV", "CSV of Windows", "TSV"],
)
def test_records_are_topics(topics, text: str) -> None:
    assert topics(text) == [Topic("661", "a hang glider"), Topic("662", "a dog, running")]


def test_records_have_narratives_and_weights(topics) -> None:
    assert topics('{"id": "661", "text": "a kite", "narrative": "Any kite.", "year": 2021}') == [
        Topic("661", "a kite", "Any kite.")
    ]
    assert topics("id,weight,text\n661,0.5,a kite\n661,1,a hang glider\n") == [
        Topic("661", "a hang glider", variants=(Variant(0.5, "a kite"), Variant(1.0, "a hang glider")))
    ]


def test_lines_without_ids_are_refused(shared_data: Callable[[str], Path]) -> None:
    with pytest.raises(FormatError, match="each line must begin with a topic id"):
        read_topics(str(shared_data("topics/tv16_17_18.avs.topics_parsed.txt")))


def test_trecvids_xml_is_read_with_narratives(topics) -> None:
    text = """<?xml version="1.0" encoding="ISO-8859-1"?>
<!DOCTYPE videoAdhocSearchTopics SYSTEM "http://nowhere.invalid/topics.dtd">
<videoAdhocSearchTopics>
  <videoAdhocSearchTopic num="501"><textDescription text="a person &amp; a guitar"/></videoAdhocSearchTopic>
  <topic><num>502</num><title>a  choir</title><narrative>Any choir.</narrative></topic>
</videoAdhocSearchTopics>"""
    assert topics(text) == [Topic("501", "a person & a guitar"), Topic("502", "a choir", "Any choir.")]


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("661\n", 1, "has no query"),
        ("661 a dog\n\n661 a cat\n", 3, "duplicate topic '661'"),
        ("661\t.\n", 1, "has no query"),
        ("a person playing guitar\na man indoors\n", 1, "each line must begin with a topic id"),
        ("661 a dog\n734: a cat\n", 2, "'734:' is not a topic id; expected an id, a space or tab, and the query"),
        ("731|a dog\n", 1, "'731|a' is not a topic id"),
        ("731, a dog\n", 1, "'731,' is not a topic id"),
        ("731,a dog\n", 1, "'731,a' is not a topic id"),
        ("731;a dog\n", 1, "'731;a' is not a topic id"),
        ("Topic 731: a dog\n", 1, "each line must begin with a topic id, and 'Topic' is not one"),
        ("731. a dog\n", 1, "'731.' is not a topic id"),
        ("731) a dog\n", 1, "'731)' is not a topic id"),
        ('731 a dog\n"732" a cat\n', 2, "is not a topic id"),
        ("731:\ta dog\n", 1, "'731:' is not a topic id"),
        ('{"id": "731", "text": "a dog"}\n{"id": "732"}\n', 2, "is not a topic with an id and a text"),
        ('{"id": "731", "text": "a dog"}\n732 a cat\n', 2, "not JSON"),
        ('{"id": "731", "text": "a dog"}\n{"id": "731", "text": "a cat"}\n', 2, "duplicate topic"),
        ('{"id": "7 1", "text": "a dog"}\n', 1, "has white space"),
        ('{"id": "731", "text": ["a dog"]}\n', 1, "query is not a string"),
        ('{"id": "731", "text": "\\ud800"}\n', 1, "a lone surrogate"),
        ('{"id": "731", "text": "a dog", "weight": "much"}\n', 1, "'much', which is not a number"),
        ("id,text\n731,a dog\n732,a cat, asleep\n", 3, "3 columns, not 2: id, text"),
        ('id,text\n731,"a dog\n', 2, "not CSV"),
        ('id,text\n731,"a\ndog"\n732,.\n', 4, "topic '732' has no query"),
        ("id,text\n", None, "no topics"),
        ("", None, "no topics"),
        ("<a><topic num='1'>\n<title/></topic></a>", 1, "has no text"),
        ("<a>\n<topic num='1' text='x'/>\n<topic num='1' text='y'/></a>", 3, "duplicate topic"),
        ("<a>\n<topic num='1' text='x'>\n", 3, "not XML"),
        ("<a/>", None, "no topics"),
    ],
)
def test_a_bad_topic_names_its_line(topics, text: str, line: int | None, what: str) -> None:
    with pytest.raises(FormatError) as error:
        topics(text)
    assert what in str(error.value)
    assert error.value.line == line


def test_xml_entities_are_not_resolved(topics, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("a secret")
    for definition in (f'<!ENTITY e SYSTEM "file://{tmp_path}/secret">', '<!ENTITY e "words">'):
        with pytest.raises(FormatError, match="entities"):
            topics(f'<!DOCTYPE a [{definition}]><a><topic num="1"><title>&e;</title></topic></a>')


def test_a_bomb_of_entities_is_refused(topics) -> None:
    levels = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
    with pytest.raises(FormatError):
        topics(f'<!DOCTYPE a [<!ENTITY e0 "ha">{levels}]><a><topic num="1" text="&e11;"/></a>')


def test_three_digits_and_the_same_behind_a_one_are_one_topic() -> None:
    run = {"661": "a", "662": "b", "1663": "c"}
    aligned, note = align_topics(run, {"1661", "1662", "1663"})
    assert aligned == {"1661": "a", "1662": "b", "1663": "c"}
    assert note == "2 topics renamed: 661-662 read as 1661-1662"
    assert align_topics({"1661": "a"}, ["661"]) == ({"661": "a"}, "1 topic renamed: 1661 read as 661")


@pytest.mark.parametrize(
    ("ids", "names"),
    [
        (["661"], ["661", "1661"]),
        (["661", "1661"], ["1661"]),
        (["661"], ["2661", "0661"]),
        (["61"], ["161"]),
        (["q661"], ["1661"]),
    ],
    ids=["known", "taken", "another digit", "two digits", "no number"],
)
def test_other_ids_stay_as_they_are(ids: list[str], names: list[str]) -> None:
    assert align_topics(dict.fromkeys(ids), names) == (dict.fromkeys(ids), "")


@pytest.mark.parametrize(
    ("given", "ids"),
    [
        ("731", ["731"]),
        ("731-733", ["731", "732", "733"]),
        ("1731-1732, 1761,1731", ["1731", "1732", "1761"]),
        ("08-10", ["08", "09", "10"]),
        ("vbs23-avs1,7-7", ["vbs23-avs1", "7"]),
    ],
)
def test_topics_are_chosen_by_ids_and_ranges(given: str, ids: list[str]) -> None:
    assert topic_ids(given) == ids


def test_a_list_of_ids_may_be_longer_than_a_files_name() -> None:
    ids = [str(number) for number in range(1000, 1200)]
    assert topic_ids(",".join(ids)) == ids


def test_topics_are_chosen_by_a_topics_file_also_by_one_called_like_a_range(tmp_path: Path) -> None:
    (tmp_path / "7-9").write_text("661 a dog\n662 a cat\n")
    assert topic_ids(str(tmp_path / "7-9")) == ["661", "662"]


@pytest.mark.parametrize("given", ["topics.txt", "runs/731", "", "731,,732", "731;732 733", "tv"])
def test_what_is_neither_a_file_nor_ids_says_what_could_be(given: str) -> None:
    with pytest.raises(FormatError, match="731-750,761"):
        topic_ids(given)


@pytest.mark.parametrize("given", ["750-731", "1-999999999"])
def test_a_range_goes_upwards_and_has_an_end(given: str) -> None:
    with pytest.raises(SpecError, match=given):
        topic_ids(given)


def test_chosen_topics_keep_the_runs_order_and_its_ids() -> None:
    run = {"1733": "c", "1731": "a", "740": "x", "732": "b"}
    assert list(select_topics(run, topic_ids("731-733")).items()) == [("1733", "c"), ("1731", "a"), ("732", "b")]
    assert select_topics({"731": "a", "1731": "b"}, ["731"]) == {"731": "a"}
    assert select_topics({"731": "a"}, ["1731"]) == {"731": "a"}


def test_chosen_topics_that_no_run_has_are_counted_and_named() -> None:
    runs = [{"1731": 1, "740": 1}, {"732": 1}]
    assert absent_topics(["731", "732"], runs) == ""
    assert absent_topics(topic_ids("731-736"), runs) == "4 of 6 selected topics are in no run: 733, 734, 735, …"
    with pytest.raises(MismatchError, match=r"selects 661, 662.* the runs have 1731, 740, 732"):
        absent_topics(["661", "662"], runs)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("topics/tv16.avs.txt", 30),
        ("topics/tv19_20_progress.avs.topics_parsed.txt", 70),
        ("topics/tv21.avs.topics.txt", 20),
        ("vbs/2023/avs_gt/avs.vbs2023.topics.txt", 7),
        ("vbs/2024/avs_gt/avs.vbs2024.topics.txt", 5),
    ],
)
def test_the_benchmarks_own_files_are_read(shared_data: Callable[[str], Path], name: str, count: int) -> None:
    read = read_topics(str(shared_data(name)))
    assert len(read) == count
    assert all(len(topic.query.split()) > 1 and "\r" not in topic.query for topic in read)
