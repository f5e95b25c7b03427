"""Captions: sentences that describe videos or pictures, in the formats of the data sets.

    video1#enc#0 a dog runs                                   RUC, what `avs` itself writes, and V3C1-PC; video1#0 too
    {"sentences": [{"video_id": …, "caption": …}]}            MSR-VTT; its splits in CSV have video_id and sentence
    [{"videoID": …, "enCap": [ … ]}]                          VATEX, its English captions
    {"BV1CN…": {"title": [ … ], "caption": [ … ]}}            ChinaOpen-50k; its titles are no captions
    {"BV1CN…": {"Captions-en": {"Manual-caption": …}}}        ChinaOpen-1k; Captions if Captions-en is absent
    videoid,contentUrl,duration,page_dir,name                 WebVid
    https://…/tumblr_x.gif<TAB>a dog runs                     TGIF
    1000268201_693b08cb0e.jpg#0<TAB>a dog runs                Flickr8k, Flickr30k

Any other JSON, JSON lines, CSV or TSV with a header is read if its records have an item (`video_id`, `videoid`,
`shot_id`, `shot`, `video`, `image` or `id`) and sentences (`caption` or `sentence`, a text or a list of texts).

In RUC's format, the id of a caption is `<item>#<suffix>`. `avs` names captions `<item>#enc#<n>`, where n counts the
captions of an item from 0.
"""

import re
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from avs_cli.errors import FormatError, MismatchError
from avs_cli.io.atomic import writing
from avs_cli.io.pipe import read_text
from avs_cli.io.text.records import ITEMS, SENTENCES, Record, are_records, checked, contents, found, lines, records_in
from avs_cli.io.texts import PackedTexts, Packer, repeated
from avs_cli.types import Judgment, Qrels

_ID = re.compile(r"[^\s#]+#\S+")
_FLICKR = re.compile(r"(\S+)\.\w+#\d+\t")
_TGIF = re.compile(r"https?://\S+\t")
_SUFFIX = re.compile(r"\.(3gp|avi|flv|gif|jpe?g|m4v|mkv|mov|mp4|mpe?g|png|webm|webp|wmv)$", re.IGNORECASE)

_Captions = Iterator[tuple[int | None, str, str]]
"""Line, item or caption id, sentence."""


def item_of(caption: str) -> str:
    """The video or image that a caption describes: `video1` for `video1#enc#0`."""
    return caption.partition("#")[0]


def are_captions(text: str) -> bool:
    """Whether a text has captions in any of the formats."""
    return are_foreign(text) or bool(_ID.match(text.lstrip().partition("\n")[0]))


def are_foreign(text: str) -> bool:
    """Whether a text has captions in another format than RUC's."""
    start = text.lstrip()
    return bool(_FLICKR.match(start) or _TGIF.match(start)) or contents(start) == "captions"


def read_captions(path: str) -> dict[str, str]:
    """Caption id -> sentence, in the file's order, from any of the formats.

    Raises FormatError, with the line if the format has lines, for other formats, for a caption without words, and for a
    duplicate id.
    """
    return parse_captions(path, read_text(path))


def read_all(paths: Iterable[str]) -> dict[str, str]:
    """The captions of several files. Raises MismatchError for an id that two of them share."""
    sentences: dict[str, str] = {}
    for path in paths:
        for caption, sentence in read_captions(path).items():
            if caption in sentences:
                raise _in_two_files(caption, path)
            sentences[caption] = sentence
    return sentences


class Captions(NamedTuple):
    """Captions in little memory: their ids, and a sentence for each."""

    ids: PackedTexts
    sentences: PackedTexts


def pack_captions(paths: Iterable[str]) -> Captions:
    """As `read_all`, for millions of captions."""
    files = list(paths)
    ids, sentences = Packer(), Packer()
    places, firsts = array("q"), [0]
    for path in files:
        for line, caption, sentence in _captions_in(path, read_text(path)):
            ids.add(caption)
            sentences.add(sentence)
            places.append(line or 0)
        firsts.append(len(places))
    packed = Captions(ids.packed(), sentences.packed())
    if repeated(packed.ids):
        seen: dict[str, int] = {}
        for k, caption in enumerate(packed.ids):
            file, other = (bisect_right(firsts, place) - 1 for place in (k, seen.setdefault(caption, k)))
            if file != other:
                raise _in_two_files(caption, files[file])
            if seen[caption] != k:
                raise FormatError(files[file], f"duplicate caption {caption!r}", places[k] or None)
    return packed


def _in_two_files(caption: str, path: str) -> MismatchError:
    return MismatchError(f"duplicate caption {caption!r} in {path} and another file; ids must be unique")


def parse_captions(path: str, text: str) -> dict[str, str]:
    """As `read_captions`, from the content of the file."""
    captions: dict[str, str] = {}
    for line, caption, sentence in _captions_in(path, text):
        if caption in captions:
            raise FormatError(path, f"duplicate caption {caption!r}", line)
        captions[caption] = sentence
    return captions


def _captions_in(path: str, text: str) -> _Captions:
    """Line, id and sentence of each caption. Raises FormatError if there is none."""
    first = text.lstrip()
    if are_records(first):
        captions = _numbered(path, _in_records(path, text))
    elif _FLICKR.match(first):
        captions = _numbered(path, _in_flickr(path, text))
    elif _TGIF.match(first):
        captions = _numbered(path, _in_tgif(path, text))
    else:
        captions = _in_lines(path, text)
    empty = True
    for caption in captions:
        yield caption
        empty = False
    if empty:
        raise FormatError(path, "contains no captions")


def write_captions(path: str, captions: Mapping[str, str]) -> None:
    """Write captions in RUC's format."""
    with writing(path) as out:
        out.writelines(f"{caption} {sentence}\n" for caption, sentence in captions.items())


def caption_qrels(captions: Iterable[str], topics: Iterable[str]) -> Qrels:
    """Judgments for retrieval: the item of each caption or, if `topics` are items, the captions of each item."""
    captions = list(captions)
    known = set(captions)
    right = Judgment(1)
    qrels: Qrels = {}
    if any(topic in known for topic in topics):
        return {caption: {item_of(caption): right} for caption in captions}
    for caption in captions:
        qrels.setdefault(item_of(caption), {})[caption] = right
    return qrels


def _numbered(path: str, found: _Captions) -> _Captions:
    """Captions of items, with ids."""
    counts: dict[str, int] = {}
    for total, (line, item, sentence) in enumerate(found, start=1):
        sentence = " ".join(sentence.split())
        if not sentence or item.split() != [item] or "#" in item:
            raise FormatError(path, f"caption {total}: no item id, or no words", line)
        number = counts.get(item, 0)
        counts[item] = number + 1
        yield line, f"{item}#enc#{number}", sentence


def _in_lines(path: str, text: str) -> _Captions:
    for number, line in enumerate(lines(text), start=1):
        if not line.strip():
            continue
        caption, *words = line.split()
        if not _ID.fullmatch(caption) or not words:
            raise FormatError(path, "expected <item>#<n> sentence", number)
        yield number, caption, " ".join(words)


def _in_flickr(path: str, text: str) -> _Captions:
    for number, line in enumerate(lines(text), start=1):
        if line.strip():
            name, tab, sentence = line.partition("\t")
            if not _FLICKR.match(name + tab):
                raise FormatError(path, "expected <image>.jpg#<n>, a tab and a sentence", number)
            yield number, name.rpartition("#")[0].rpartition(".")[0], sentence


def _in_tgif(path: str, text: str) -> _Captions:
    for number, line in enumerate(lines(text), start=1):
        if line.strip():
            address, tab, sentence = line.partition("\t")
            if not _TGIF.match(address + tab):
                raise FormatError(path, "expected a URL, a tab and a sentence", number)
            yield number, PurePosixPath(address).stem, sentence


def _in_records(path: str, text: str) -> _Captions:
    for number, (line, record) in enumerate(records_in(path, text), start=1):
        item, sentences = _item(record), _sentences(record)
        if not item or sentences is None:
            where = f"{'JSON ' * (line is None)}record {number}"
            raise FormatError(path, f"{where}, {str(dict(record))[:60]!r}, is not a video with captions", line)
        for sentence in sentences:
            yield line, checked(path, item, line), checked(path, sentence, line)


def _item(record: Record) -> str:
    """The video or image of a record; files are named by their stems, as in `avs extract`."""
    name = found(record, ITEMS)
    item = record.get(name)
    if isinstance(item, int) and not isinstance(item, bool):
        return str(item)
    if not isinstance(item, str):
        return ""
    return _SUFFIX.sub("", PurePosixPath(item).name) if name in ("video", "image") else item


def _sentences(record: Record) -> list[str] | None:
    """The captions of a record; None if they are not strings."""
    said: Any = record.get(found(record, SENTENCES) or "name")
    if isinstance(said, dict):
        said = said.get("Manual-caption")
    said = [said] if isinstance(said, str) else said
    return said if isinstance(said, list) and all(isinstance(one, str) for one in said) else None
