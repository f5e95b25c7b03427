"""Captions of training data, packed: the same captions and the same errors as in a dict."""

import gzip
from pathlib import Path

import pytest

from avs_cli.errors import FormatError, MismatchError
from avs_cli.io.text.captions import pack_captions, read_all

FORMATS = {
    "ruc.txt": "v1#enc#0 a dog runs\n\n v2#0 a cat   sleeps\nv1#enc#1 ein straßenhund",
    "msrvtt.json": '{"sentences": [{"video_id": "v1", "caption": "a dog"}, {"video_id": "v1", "caption": "a cat"}]}',
    "lines.jsonl": '{"id": "v1", "caption": "a dog"}\n\n{"id": "v2", "caption": ["a cat", "a cow"]}\n',
    "webvid.csv": 'videoid,contentUrl,duration,page_dir,name\n7,u,1,d,"a dog\nand a cat"\n\n8,u,1,d,"say ""hi"""\n',
    "tgif.tsv": "https://x/tumblr_a.gif\ta dog\nhttps://x/tumblr_a.gif\ta cat\n",
    "flickr.token": "1000_a.jpg#0\ta dog\n1000_a.jpg#1\ta cat\n",
}


@pytest.mark.parametrize("name", FORMATS)
def test_packed_captions_are_those_of_the_dict(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(FORMATS[name], encoding="utf-8")
    captions = pack_captions([str(path)])
    assert [*zip(captions.ids, captions.sentences, strict=True)] == [*read_all([str(path)]).items()]


def test_several_files_one_of_them_compressed(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("v1#0 a dog\n")
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"v2#0 a cat\n"))
    captions = pack_captions([str(tmp_path / "a.txt"), str(tmp_path / "b.txt.gz")])
    assert ([*captions.ids], [*captions.sentences]) == (["v1#0", "v2#0"], ["a dog", "a cat"])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("v1#0 a dog\n\nv1#0 a cat\n", "v2#0 a cow\n"),
        ("v1#0 a dog\n", "v2#0 a cow\nv1#0 a cat\n"),
        ("v1#0 a dog\n", "v2#0\n"),
        ("v1#0 a dog\n", "\n"),
        ("videoid,contentUrl,duration,page_dir,name\n7,u,1,d,\n", ""),
    ],
    ids=["in one file", "in two files", "no words", "an empty file", "an empty cell"],
)
def test_packed_captions_have_the_errors_of_the_dict(first: str, second: str, tmp_path: Path) -> None:
    files = []
    for name, text in (("a.txt", first), ("b.txt", second)):
        (tmp_path / name).write_text(text)
        files.append(str(tmp_path / name))
    with pytest.raises((FormatError, MismatchError)) as expected:
        read_all(files)
    with pytest.raises(type(expected.value)) as found:
        pack_captions(files)
    assert str(found.value) == str(expected.value)
