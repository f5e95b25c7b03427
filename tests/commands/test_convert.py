"""avs convert: other tools' files by what is in them; and captions in every data set's format."""

from pathlib import Path

import pytest

from avs_cli.cli import exit_code
from avs_cli.errors import FormatError
from avs_cli.io.text.captions import item_of, read_captions
from avs_cli.io.text.topics import read_topics
from avs_cli.io.text.trec import read_run

TEXTS = {
    "ruc": "v1#enc#0 a dog  runs\nv1#enc#1 a dog\nv2#enc#0 a cat\n",
    "msrvtt": '{"videos": [], "sentences": [{"video_id": "v1", "caption": "a dog  runs", "sen_id": 3}, '
    '{"video_id": "v2", "caption": "a cat"}, {"video_id": "v1", "caption": "a dog"}]}',
    "vatex": '[{"videoID": "v1", "enCap": ["a dog runs", "a dog"], "chCap": ["x"]}, '
    '{"videoID": "v2", "enCap": ["a cat"]}]',
    "jsfusion": "key,vid_key,video_id,sentence\nret0,msr1,v1,a dog runs\nret1,msr1,v1,a dog\nret2,msr2,v2,a cat\n",
    "webvid": "videoid,contentUrl,duration,page_dir,name\nv1,https://x/v1.mp4,PT00H00M09S,0_1,a dog  runs\n"
    'v1,https://x/v1.mp4,PT00H00M09S,0_1,"a dog"\nv2,https://x/v2.mp4,PT00H00M20S,0_1,"a cat"\n',
    "chinaopen-50k": '{"v1": {"title": ["好像呀"], "caption": ["a dog runs", "a dog"]}, "v2": {"caption": ["a cat"]}}',
    "chinaopen in lines": '{"video_id": "v1", "title": ["x"], "caption": ["a dog runs", "a dog"]}\n'
    '{"video_id": "v2", "caption": "a cat"}\n',
    "json lines": '{"video": "films/v1.mp4", "caption": "a dog runs"}\n{"video": "films/v1.mp4", "caption": "a dog"}\n'
    '{"video": "v2.mp4", "caption": "a cat"}\n',
    "csv of pictures": 'image,caption\nv1.jpg,a dog runs\nv1.jpg,a dog\nv2.jpg,"a\ncat"\n',
    "tgif": "https://38.media.example/9f6c/v1.gif\ta dog runs\nhttps://38.media.example/1/v1.gif\ta dog\n"
    "http://38.media.example/v2.gif\ta cat\n",
    "flickr": "v1.jpg#0\ta dog runs\r\nv1.jpg#1\ta dog\r\nv2.jpg#0\ta cat\r\n",
}
CAPTIONS = {"v1#enc#0": "a dog runs", "v1#enc#1": "a dog", "v2#enc#0": "a cat"}


@pytest.mark.parametrize("name", TEXTS)
def test_captions_are_the_same_in_every_format(tmp_path: Path, name: str) -> None:
    (tmp_path / "captions").write_text(TEXTS[name], newline="")
    assert read_captions(str(tmp_path / "captions")) == CAPTIONS


def test_chinaopen_1k_is_read_in_english_where_there_is_english(tmp_path: Path) -> None:
    chinese = '"Captions": {"User-title": "压弯", "Manual-caption": "一个男人骑着自行车。"}'
    english = '"Captions-en": {"User-title": "Bikes", "Manual-caption": "A man rode his bicycle."}, "Labels": {}'
    (tmp_path / "captions").write_text(f'{{"BV1CN411o7WE": {{{chinese}, {english}}}}}')
    assert read_captions(str(tmp_path / "captions")) == {"BV1CN411o7WE#enc#0": "A man rode his bicycle."}
    (tmp_path / "captions").write_text(f'{{"BV1CN411o7WE": {{{chinese}}}}}')
    assert read_captions(str(tmp_path / "captions")) == {"BV1CN411o7WE#enc#0": "一个男人骑着自行车。"}


def test_v3c1_pc_is_read_under_the_ids_of_trecvids_shots(tmp_path: Path) -> None:
    for name, text in {
        "lines": "shot00001_1#0 a man on a stage\nshot00001_1#1 a man sings\n",
        "csv": "shot_id,caption\nshot00001_1,a man on a stage\nshot00001_1,a man sings\n",
    }.items():
        (tmp_path / name).write_text(text)
        captions = read_captions(str(tmp_path / name))
        assert [item_of(caption) for caption in captions] == ["shot00001_1"] * 2
        assert [*captions.values()] == ["a man on a stage", "a man sings"]


@pytest.mark.parametrize("name", TEXTS)
def test_captions_are_topics_under_the_ids_that_training_takes(tmp_path: Path, name: str) -> None:
    (tmp_path / "captions").write_text(TEXTS[name], newline="")
    topics = read_topics(str(tmp_path / "captions"))
    assert {topic.id: topic.query for topic in topics} == CAPTIONS


@pytest.mark.parametrize("name", TEXTS)
def test_captions_are_judgments_in_every_format(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    (tmp_path / "captions").write_text(TEXTS[name], newline="")
    ranked = [("v1#enc#0", "v1"), ("v1#enc#1", "v2"), ("v2#enc#0", "v2")]  # two of three at rank 1
    (tmp_path / "run").write_text("".join(f"{caption} Q0 {item} 1 1 t\n" for caption, item in ranked))
    assert exit_code(["eval", str(tmp_path / "captions"), str(tmp_path / "run"), "-m", "P@1", "--json"]) == 0
    assert "0.6666" in capsys.readouterr().out


def test_whatever_follows_the_item_numbers_its_captions(tmp_path: Path) -> None:
    (tmp_path / "captions").write_text("v1#0 a dog  runs\nv1#1\ta dog\nv2#long#7 a cat\n")
    assert read_captions(str(tmp_path / "captions")) == dict(
        zip(["v1#0", "v1#1", "v2#long#7"], CAPTIONS.values(), strict=True)
    )


@pytest.mark.parametrize("name", [name for name in TEXTS if name != "ruc"])
def test_foreign_captions_become_lines(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").write_text(TEXTS[name], newline="")
    assert exit_code(["convert", str(tmp_path / "in"), str(tmp_path / "out")]) == 0
    assert read_captions(str(tmp_path / "out")) == CAPTIONS
    assert set((tmp_path / "out").read_text().splitlines()) == {f"{name} {text}" for name, text in CAPTIONS.items()}


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("", None, "no captions"),
        ("v1#enc#0 a dog\n\nv1#enc#0 a cat\n", 3, "duplicate caption 'v1#enc#0'"),
        ("v1#enc#0 a dog\nv1 a cat\n", 2, "expected <item>#<n> sentence"),
        ("v1#enc#0\n", 1, "expected <item>#<n> sentence"),
        ("#enc#0 a dog\n", 1, "expected <item>#<n> sentence"),
        ("v1# a dog\n", 1, "expected <item>#<n> sentence"),
        ("{", 1, "not JSON"),
        ("{}", None, "not in MSR-VTT's format"),
        ('{"sentences": 3}', None, "not in MSR-VTT's format"),
        ('{"video_id": "v1", "caption": "a dog"}\n{"video_id": "v2"}\n', 2, "is not a video with captions"),
        ('{"video_id": "v1", "caption": "a dog"}\nv2 a cat\n', 2, "not JSON"),
        ('{"video_id": "v1", "caption": "\\udc00 a dog"}\n', 1, "a lone surrogate"),
        ("videoid,contentUrl,duration,page_dir,name\n1,u,d,p,a dog\n2,u,d,p,a dog, and a cat\n", 3, "6 columns, not 5"),
        ('videoid,contentUrl,duration,page_dir,name\n1,u,d,p,"a dog\n', 2, "not CSV"),
        ('[{"videoID": "v1"}]', None, "is not a video with captions"),
        ('[{"videoID": "v1", "enCap": [3]}]', None, "is not a video with captions"),
        ('[{"videoID": "v 1", "enCap": ["a dog"]}]', None, "no item id, or no words"),
        ("[" * 100_000, None, "not JSON"),
        ("v1.jpg#0\ta dog\nv2.jpg a cat\n", 2, "expected <image>.jpg"),
        ("https://x/v1.gif\ta dog\nv2\ta cat\n", 2, "expected a URL, a tab"),
        ("https://x/v1.gif\ta dog\nhttps://x/v2.gif\t \n", 2, "no item id, or no words"),
    ],
)
def test_bad_captions_name_their_line(tmp_path: Path, text: str, line: int | None, what: str) -> None:
    (tmp_path / "captions").write_text(text)
    with pytest.raises(FormatError) as error:
        read_captions(str(tmp_path / "captions"))
    if text != "[" * 100_000:  # which of two errors the parser meets first depends on its version
        assert what in str(error.value)
        assert error.value.line == line


def test_scores_of_rucs_tools_become_a_run(tmp_path: Path) -> None:
    (tmp_path / "id.sent.score.txt").write_text("661 shot1_1 0.5 shot1_2 0.25\n662 shot1_2 1e-3\n")
    target = tmp_path / "out.run"
    assert exit_code(["convert", str(tmp_path / "id.sent.score.txt"), str(target), "--tag", "ruc"]) == 0
    assert read_run(str(target)) == {"661": {"shot1_1": 0.5, "shot1_2": 0.25}, "662": {"shot1_2": 0.001}}
    assert target.read_text().splitlines()[0] == "661 Q0 shot1_1 1 0.5 ruc"
    assert exit_code(["convert", str(tmp_path / "id.sent.score.txt"), str(target), "--depth", "1"]) == 0
    assert read_run(str(target))["661"] == {"shot1_1": 0.5}


@pytest.mark.parametrize(
    ("text", "code", "what"),
    [
        ("661 a 0.5 b\n", 3, "not TRECVID XML, RUC scores"),
        ("661 a 0.5\n662 b x\n", 3, "in:2: score 'x' is not a finite number"),
        ("661 a 0.5\n662 b\n", 3, "in:2: expected a topic"),
        ("661 a 0.5\n661 b 0.5\n", 3, "in:2: duplicate topic '661'"),
        ("661 a 0.5 a 0.4\n", 3, "in:1: duplicate shot 'a' in topic 661"),
        ("<html/>", 3, "in:1: 0 runs in <html>"),
        ("words\n", 3, "not TRECVID XML, RUC scores"),
        ("", 3, "not TRECVID XML, RUC scores"),
    ],
)
def test_what_is_none_of_them_is_refused(tmp_path: Path, capsys, text: str, code: int, what: str) -> None:
    (tmp_path / "in").write_text(text)
    assert exit_code(["convert", str(tmp_path / "in"), str(tmp_path / "out")]) == code
    assert what in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_xml_is_left_to_submit(tmp_path: Path, capsys) -> None:
    (tmp_path / "in").write_text("661 a 0.5\n")
    assert exit_code(["convert", str(tmp_path / "in"), str(tmp_path / "out.xml")]) == 2
    assert "avs submit" in capsys.readouterr().err


def test_flickr8k_is_read_whole(shared_data) -> None:
    captions = read_captions(str(shared_data("flickr8k/dev.caption.txt")))
    assert len(captions) == 5000
    assert captions["1022454332_6af2c1449a#enc#2"] == "A little boy at a lake watching a duck ."


RESULT = "<videoAdhocSearchTopicResult tNum='{}' elapsedTime='1'><item seqNum='1' shotId='{}'/>{}"
SUBMISSION = (
    "<videoAdhocSearchResults><videoAdhocSearchRunResult>"
    + RESULT.format(731, "a", "</videoAdhocSearchTopicResult>")
    + RESULT.format(732, "b", "</videoAdhocSearchTopicResult>")
    + "</videoAdhocSearchRunResult></videoAdhocSearchResults>"
)


@pytest.mark.parametrize("text", ["731 a 1\n732 b 1\n", "731 Q0 a 1 1 x\n732 Q0 b 1 1 x\n", SUBMISSION])
def test_topics_select_a_part_of_any_run(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    (tmp_path / "in").write_text(text)
    line = ["convert", str(tmp_path / "in"), str(tmp_path / "out.run"), "--topics"]
    assert exit_code([*line, "1732-1733"]) == 0
    assert read_run(str(tmp_path / "out.run")) == {"732": {"b": 1.0}}
    assert "1 of 2 selected topics are in no run: 1733" in capsys.readouterr().err
    assert exit_code([*line, "501-530"]) == 3


def test_captions_have_no_topics_to_select(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").write_text(TEXTS["msrvtt"])
    line = ["convert", str(tmp_path / "in"), str(tmp_path / "out")]
    assert exit_code([*line, "--topics", "731"]) == 2
    # Given to all commands, it concerns those that read runs.
    monkeypatch.setenv("AVS_TOPICS", "731")
    assert exit_code(line) == 0
