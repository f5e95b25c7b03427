"""Words of shots from and to files of other tools: JSON lines, SubRip, WebVTT and SubStation Alpha."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from avs_cli.core.words.subtitles import divided
from avs_cli.errors import FormatError, MismatchError, SpecError
from avs_cli.io.store.texts import TextItem, TextStore
from avs_cli.io.store.writer import TextWriter
from avs_cli.io.text.shots import read_shots, video_names
from avs_cli.io.text.words import by_video, read_word_lines, write_subtitles, write_word_lines
from avs_cli.io.video.subtitles import FORMATS, owners, read_side
from avs_cli.reporting import LOGGED, Reporter
from avs_cli.stages.inputs import FilePath
from avs_cli.types import Shot, feature_name

SubtitleLayout = Literal["srt", "vtt"]
STORES = (".h5", ".hdf5")
LINES = (".jsonl", ".ndjson")
SUBTITLES = (".srt", ".vtt")


def is_subtitles(source: FilePath) -> bool:
    """Whether a path is a file of subtitles, or a folder of them."""
    path = Path(source)
    if path.is_dir():
        return any(file.suffix.lower() in FORMATS for file in path.iterdir())
    return path.suffix.lower() in FORMATS


def import_words(source: FilePath, target: FilePath, *, shots: FilePath = "", report: Reporter = LOGGED) -> None:
    """Write JSON lines or subtitles as a store of one feature of texts; resumes an interrupted one.

    source  a file of lines; or of subtitles, or a folder of them, each named after its video as those of `extract`
    target  FILE or FILE::FEATURE; the feature is named by the source if not by the target
    shots   a table of the shots among which subtitles are divided; without it a file is one shot
    """
    source = str(source)
    path, _, name = str(target).partition("::")
    if Path(path).suffix.lower() not in ("", *STORES):
        raise SpecError(f"{target}: words are converted to a feature store ({' or '.join(STORES)})")
    if is_subtitles(source):
        items = _of_subtitles(source, str(shots), report)
        feature = name or "subtitles"
    else:
        if shots:
            raise SpecError(f"{source}: JSON lines have shots of their own; --shots applies to subtitles")
        items = read_word_lines(source)
        feature = name or feature_name(Path(source).name.partition(".")[0])
    with TextWriter(path, feature, {"model": feature}) as writer:
        if other := writer.differing([item for item in items if item.id in writer.done]):
            raise MismatchError(
                f"{path}: contains {other[0]!r} with different texts; write to another file or remove this one"
            )
        writer.add([item for item in items if item.id not in writer.done])
        writer.finish([item.id for item in items])


def _of_subtitles(source: str, table: str, report: Reporter) -> list[TextItem]:
    """The texts of the shots of a table, or of one shot per file."""
    path = Path(source)
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in FORMATS) if path.is_dir() else [path]
    by_stem: dict[str, list[Shot]] = {}
    for shot in read_shots(table) if table else ():
        by_stem.setdefault(Path(shot.video).stem, []).append(shot)
    items: list[TextItem] = []
    lost: list[str] = []
    for file, id in zip(files, video_names(files), strict=True):
        pieces, note = read_side(file)
        if note:
            report.note(note)
        if not table:
            shot = Shot(id, str(file.with_suffix("")), 0.0, max((piece.end for piece in pieces), default=0.0))
            items.append(TextItem(shot, id, pieces))
            continue
        found = [stem for stem, _ in owners(file.stem, {stem: [stem] for stem in by_stem})]
        lost += [] if found else [str(file)]
        of_file = [shot for stem in found for shot in by_stem[stem]]
        items += [TextItem(shot, shot.id, own) for shot, own in zip(of_file, divided(pieces, of_file), strict=True)]
    if lost:
        raise MismatchError(f"{table} has no video for {lost[0]}")
    joined: dict[str, TextItem] = {}
    for item in items:
        known = joined.get(item.id, item._replace(pieces=[]))
        joined[item.id] = item._replace(pieces=[*known.pieces, *item.pieces])
    return list(joined.values())


def export_words(source: FilePath, target: FilePath, *, layout: SubtitleLayout = "srt") -> None:
    """Write a feature of texts as JSON lines, or as the subtitles of its videos.

    target  a file of JSON lines ("-": stdout), a file of subtitles for texts of one video, or a folder for a file per
            video
    layout  of the files in a folder
    """
    path, _, feature = str(source).partition("::")
    target = str(target)
    with TextStore(path, feature or None) as store:
        if target == "-" or Path(target).suffix.lower() in LINES:
            write_word_lines(target, _items(store))
            return
        folder = target.endswith("/") or Path(target).is_dir()
        kind = layout if folder else Path(target).suffix.lower().removeprefix(".")
        if not folder and f".{kind}" not in SUBTITLES:
            raise SpecError(f"{target}: texts are converted to .jsonl, .srt or .vtt, or to a folder of subtitles")
        videos = dict(by_video(_items(store)))
        if not videos:
            raise FormatError(source, "no shots that say which video has the texts; write JSON lines")
        if not folder and len(videos) > 1:
            raise SpecError(f"{source}: texts of {len(videos)} videos; write to a folder, as in subtitles/")
        if not folder:
            write_subtitles(target, next(iter(videos.values())), kind)
            return
        for name, pieces in zip(video_names([*map(Path, videos)]), videos.values(), strict=True):
            write_subtitles(f"{target.rstrip('/')}/{name}.{kind}", pieces, kind)


def _items(store: TextStore) -> Iterator[TextItem]:
    shots = store.shots()
    yield from (TextItem(shots.get(id), id, pieces) for id, pieces in store.items())
