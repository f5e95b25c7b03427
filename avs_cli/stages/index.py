"""An index: the shots and features of folders of videos in one store, which follows the videos.

    index(["videos/"], "videos.h5", ["clip"])

Vectors are known by the content of their video, and only the finished store names them by its path:

1. List the videos. One whose path, size and modification time are in the store's table of files (`io.store.files`) is
   unchanged; the content of the others is read for its digest.
2. Detect the shots of contents that have none yet, and encode those shots whose vectors are neither in the store nor in
   the work of an earlier call. Both go to the folder FILE.parts/index, under ids that are made of digests: shots to a
   journal, vectors to a store of its own. What is there is true whatever happens to the videos, so that a killed call
   is resumed after any change.
3. Compose a new store (`io.store.composing`) from rows of the old one and of the work, in the order and under the
   names that the videos have now; it replaces the old one at once, and the work is removed. The table of files is part
   of the store, so that neither can be newer than the other.

A moved video is a known content under another path, and a deleted one is left out by step 3: neither is decoded. The
store depends on the videos that there are alone: it is that of a fresh index, row for row. If nothing has changed,
there is only step 1, which reads no video.
"""

import glob
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from avs_cli.core.encoders import DEFAULT, encoders
from avs_cli.core.shots import detectors
from avs_cli.core.words import readers
from avs_cli.errors import FormatError, IncompleteError, MismatchError, SpecError, UnavailableError
from avs_cli.io.journal import Journal
from avs_cli.io.lock import locked
from avs_cli.io.store.checked import ID_BYTES, PATH_BYTES
from avs_cli.io.store.composing import Origin, compose, has_rows
from avs_cli.io.store.files import FileTable, IndexedFile, read_files
from avs_cli.io.store.ledger import ledger_of, read_ledger, write_ledger
from avs_cli.io.store.reader import features
from avs_cli.io.store.texts import open_feature
from avs_cli.io.store.writer import FeatureWriter, parts_of
from avs_cli.io.text.shots import video_names
from avs_cli.io.video.frames import find_media, is_picture
from avs_cli.io.video.workers import reason
from avs_cli.provenance import digest
from avs_cli.reporting import LOGGED, Reporter
from avs_cli.stages.encoding import EncodingJob
from avs_cli.stages.engine import Engine
from avs_cli.stages.extract import extract_found
from avs_cli.stages.extraction import Extraction, Weights, check_models, present, targets, weights_of_each
from avs_cli.stages.inputs import FilePath, Paths, path_names
from avs_cli.stages.shots import spans_of_each
from avs_cli.stages.words import WordExtraction, read_words
from avs_cli.types import THUMBNAIL, Failure, Shot, Span, feature_name

DETECTOR = "content"
# In the ledger, the stage of a video without shots.
STAGE = "shots"
# Bytes of an id that its shot's number may take.
NUMBER = 8


class Indexed(NamedTuple):
    """What an index has done, in numbers of videos.

    changed  with other content under the same path
    moved    whose content was known, under another path
    gone     no longer there, and removed from the store
    kept     no longer there, and kept
    failed   without shots, now or before
    models   that were added to those of the store
    renewed  models whose shots were encoded again, as their weights or settings have changed
    shots    in the store
    """

    store: str
    new: int
    changed: int
    moved: int
    gone: int
    kept: int
    failed: int
    models: tuple[str, ...]
    renewed: tuple[str, ...]
    shots: int

    def __str__(self) -> str:
        counts = {"new": self.new, "changed": self.changed, "moved": self.moved, "gone": self.gone}
        counts |= {"missing, but kept": self.kept, "without shots": self.failed}
        done = [f"{count:,} {what}" for what, count in counts.items() if count]
        done += [f"{model} added" for model in self.models]
        done += [f"{model} encoded again" for model in self.renewed]
        return f"{', '.join(done) or 'nothing changed'}; {self.shots:,} shot{'s' * (self.shots != 1)} in {self.store}"


def index(
    folders: Paths,
    output: FilePath = "videos.h5",
    model: str | Sequence[str] = (),
    *,
    shots: str = "",
    keep_missing: bool = False,
    retry_failed: bool = False,
    weights: Weights | None = None,
    device: str = "auto",
    batch_size: int = 32,
    workers: int = 0,
    threads: int = 0,
    timeout: float = 60.0,
    engine: Engine | None = None,
    report: Reporter = LOGGED,
) -> Indexed:
    """Make a store of the shots and features of videos, or bring it up to date, and return what was done.

    folders       folders of videos, or videos; images are left out
    output        the store
    model         encoders to add to those of the store, which stay; one of the store whose weights or settings have
                  changed since encodes all shots again. Default: none, and "lite" for a new store
    shots         the detector; default: that of the store, and "content" for a new one
    keep_missing  keep the shots of videos that are no longer there
    retry_failed  try again what failed before and is unchanged

    The other parameters are those of `extract`. Notes what was done, and each new failure.

    Raises MismatchError for a store that is no index, has other settings, has vectors of other weights than those of
    a model that is not named, or has videos that exist outside of the folders; IncompleteError when the store is
    written and its ledger (FILE.errors.jsonl) lists failures.
    """
    path = Path(output)
    if "::" in str(output):
        raise SpecError(f"{output}: an index has a feature per model; write to {str(output).partition('::')[0]}")
    found, refused = _listed(path_names(folders), report)
    with locked(path):
        asked = _asked(path, [model] if isinstance(model, str) else list(model), shots)
        specs = asked.models
        place = str(_work(path) / "vectors.h5")
        named = {
            spec: (spec, place, name, own)
            for spec, (_, name), own in zip(
                specs, targets(str(path), specs), weights_of_each(weights, specs), strict=True
            )
        }
        wanted = tuple(
            Extraction(*named[spec], device, "auto", None, None, None, "none", "float16")
            for spec in specs
            if not readers.knows(spec)
        )
        words = tuple(WordExtraction(*named[spec], device, threads) for spec in specs if readers.knows(spec))
        known = asked.stored.models if asked.stored else ()
        for one in words:
            if one.spec not in known:
                one.check()
        added = [one for one in wanted if one.spec not in known]
        if engine is None:
            check_models(added, threads)
        else:
            for each in added:
                encoders.load(each.spec)
        job = EncodingJob(wanted, threads, batch_size, workers, timeout, THUMBNAIL, False)
        features = [name for _, _, name, _ in named.values()]
        update = _Update(path, asked, features, job, words, Path(place), engine, report, retry_failed)
        return update.run(found, refused, keep_missing)


class _Found(NamedTuple):
    """A video that is there, as `IndexedFile` describes it."""

    path: str
    size: int
    modified: int
    identity: tuple[int, int]


class _Asked(NamedTuple):
    """The table of the store (None for a new one), the detector and the models that it is to have, and those named."""

    stored: FileTable | None
    detector: str
    models: tuple[str, ...]
    named: frozenset[str]


class _Changes(NamedTuple):
    """How videos differ from the table, in numbers, and the entries of those that are gone."""

    new: int
    changed: int
    moved: int
    gone: list[IndexedFile]


def _work(path: Path) -> Path:
    return parts_of(path) / "index"


def _content(path: str, digest: str) -> str:
    """A name of the content of a video, for ids: its digest and suffix, by which readers guess the format."""
    return digest + feature_name(Path(path).suffix.lower())


def _listed(inputs: Sequence[str], report: Reporter) -> tuple[list[_Found], list[Failure]]:
    """The videos among the inputs, and those whose paths no store can hold."""

    def unreadable(error: OSError) -> None:
        report.note(f"{reason(error)}; left out")

    found, refused = [], []
    for media in find_media(inputs, unreadable):
        path = str(media)
        if is_picture(path):
            continue
        if len(os.fsencode(path)) > PATH_BYTES or any("\ud800" <= character <= "\udfff" for character in path):
            shown = os.fsencode(path).decode(errors="backslashreplace")
            refused.append(Failure("_".join(shown.split()), STAGE, f"{shown}: not UTF-8, or too long; rename it"))
            continue
        with suppress(FileNotFoundError):  # removed a moment ago
            status = os.stat(path)
            found.append(_Found(path, status.st_size, status.st_mtime_ns, (status.st_dev, status.st_ino)))
    if not found and not refused:
        raise FormatError(", ".join(inputs) or "no folder", "contains no videos; avs extract encodes images")
    return found, refused


def _asked(path: Path, models: Sequence[str], detector: str) -> _Asked:
    """What is asked for, with what the store has. Raises MismatchError where these do not fit."""
    stored = read_files(path) if path.exists() else None
    if stored is None and path.exists():
        raise MismatchError(f"{path}: not written by avs index, which would replace it; write to another file")
    if stored and detector not in ("", stored.detector):
        raise MismatchError(
            f"{path} has shots of {stored.detector}, not of {detector}; write to another file or remove this one"
        )
    chosen = stored.detector if stored else detector or DETECTOR
    detectors.load(chosen)
    specs = tuple(dict.fromkeys([*(stored.models if stored else ()), *models])) or (DEFAULT,)
    names = [name for _, name in targets(str(path), specs)]
    if stored and (other := next((name for name in features(path) if name not in names), "")):
        with open_feature(path, other) as store:
            spec = store.provenance.get("spec")
        cure = f"give --model {spec} too, or keep it" if spec else "keep it"
        raise MismatchError(
            f"{path}::{other} was added by another command and would not follow the videos; {cure} apart"
        )
    return _Asked(stored, chosen, specs, frozenset(models))


def _compared(
    found: Sequence[_Found], digests: Mapping[str, str], old: Sequence[IndexedFile], absent: Sequence[IndexedFile]
) -> _Changes:
    """How the videos that are there differ from those of the table, of which `absent` are not there."""
    before = {one.path: one.digest for one in old}
    # Content -> the paths where it was and is no longer; those that are left by their videos come first.
    left: dict[str, list[str]] = {}
    for was in [*absent, *(one for one in old if digests.get(one.path, one.digest) != one.digest)]:
        left.setdefault(_content(was.path, was.digest), []).append(was.path)
    changed = moved = new = 0
    for path in (video.path for video in found if video.path in digests):
        if before.get(path) == digests[path]:
            continue
        if sources := left.get(_content(path, digests[path])):
            moved += 1
            sources.pop(0)
        elif path in before:
            changed += 1
        else:
            new += 1
    remaining = {path for sources in left.values() for path in sources}
    return _Changes(new, changed, moved, [one for one in absent if one.path in remaining])


def _laid_out(files: Sequence[IndexedFile], old: Sequence[IndexedFile], same: Mapping[str, IndexedFile]) -> "_Layout":
    """The shots of files; `same` are the entries of those that are as they were."""
    held: dict[str, IndexedFile] = {}
    for one in old:
        if one.spans:
            held.setdefault(_content(one.path, one.digest), one)
    layout = _Layout([], [], [], [])
    for one in files:
        content = _content(one.path, one.digest)
        before, here = held.get(content), same.get(one.path)
        for n, (start, end) in enumerate(one.spans, start=1):
            layout.shots.append(Shot(f"{one.name}_{n}", one.path, start, end))
            layout.before.append(f"{before.name}_{n}" if before else "")
            layout.same.append(f"{here.name}_{n}" if here else "")
            layout.work.append(f"{content}_{n}")
    return layout


class _Layout(NamedTuple):
    """The shots of a store in their order, and their ids elsewhere; "" where they are not.

    before  in the store as it was, under any path of the content
    same    in the store as it was, if the video is as it was
    work    in the work
    """

    shots: list[Shot]
    before: list[str]
    same: list[str]
    work: list[str]


class _OtherWork(Exception):
    """The work was done by an encoder with other weights or settings."""


class _OtherModel(Exception):
    """The rows of the store are of an encoder with other weights or settings, and are to be renewed."""


class _Update:
    """Brings one store up to date, while it is locked.

    failed    path -> why a video has no shots
    failures  feature and id of a shot -> why the feature lacks it
    read      the videos that were decoded
    renewed   the features of the store that are encoded again
    """

    def __init__(
        self,
        path: Path,
        asked: _Asked,
        features: Sequence[str],
        job: EncodingJob,
        words: Sequence[WordExtraction],
        store: Path,
        engine: Engine | None,
        report: Reporter,
        retry_failed: bool,
    ):
        self.path, self.asked, self.engine, self.report = path, asked, engine, report
        self.old = asked.stored.files if asked.stored else []
        self.features, self.job, self.words = features, job, words
        self.models: tuple[Extraction | WordExtraction, ...] = (*job.wanted, *words)
        self.work, self.store = _work(path), store
        self.journal = Journal(self.work / "journal.jsonl", asked.detector)
        self.ledger = read_ledger(ledger_of(path))
        earlier = [] if retry_failed else self.ledger
        self.earlier = {(feature, one.id): one for feature, one in earlier if one.stage != STAGE}
        self.shotless = {one.id: one.message for _, one in earlier if one.stage == STAGE}
        self.failed: dict[str, str] = {}
        self.failures: dict[tuple[str, str], Failure] = {}
        self.read: set[str] = set()
        self.renewed: set[str] = set()
        # Temporary files of a killed call: while the store is locked, there is no other writer.
        for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
            leftover.unlink()
        # Failures of a killed call are tried again: its videos may have been on the move.
        ledger_of(self.store).unlink(missing_ok=True)

    def run(self, found: Sequence[_Found], refused: Sequence[Failure], keep_missing: bool) -> Indexed:
        """Do what there is to do. Raises IncompleteError at the end for what has failed."""
        absent = self._absent(found, keep_missing)
        digests = self._digests(found)
        changes = _compared(found, digests, self.old, absent)
        kept = changes.gone if keep_missing else []
        there = [*(one.path for one in found), *(one.path for one in kept)]
        names = dict(zip(there, video_names([*map(Path, there)]), strict=True))
        for path in (path for path, name in names.items() if len(name.encode()) + NUMBER > ID_BYTES):
            self.failed[path] = f"{path}: the name is too long for the ids of shots; rename it"
        now = {(one.path, one.size, one.modified) for one in found}
        same = {one.path: one for one in self.old if (one.path, one.size, one.modified) in now}
        spans = self._spans({path: _content(path, digest) for path, digest in digests.items()}, same)
        files = [
            IndexedFile(one.path, names[one.path], one.size, one.modified, digests[one.path], spans.get(one.path, ()))
            for one in found
            if one.path in digests
        ]
        files += [one._replace(name=names[one.path]) for one in kept]
        self._compare_models()
        encoded = self._encode(_laid_out(files, self.old, same))
        files = self._whole(files, found)
        layout = _laid_out(files, self.old, same)
        self._save(layout, FileTable(self.asked.detector, self.asked.models, files), encoded, names, refused)
        lacking = [
            {feature for feature in self.features if (feature, shot.id) in self.failures} for shot in layout.shots
        ]
        done = Indexed(
            str(self.path),
            changes.new,
            changes.changed,
            changes.moved,
            0 if keep_missing else len(changes.gone),
            len(kept),
            len(self.failed) + len(refused),
            self.asked.models[len(self.asked.stored.models) :] if self.asked.stored else (),
            tuple(one.spec for one in self.models if one.feature in self.renewed),
            sum(len(features) < len(self.features) for features in lacking),
        )
        self.report.note(str(done))
        if done.failed or any(lacking):
            parts = (
                (done.failed, f"{len(found) + len(refused):,} videos"),
                (sum(map(bool, lacking)), f"{len(lacking):,} shots"),
            )
            what = " and ".join(f"{count:,} of {total}" for count, total in parts if count)
            raise IncompleteError(f"{self.path}: {what} could not be indexed; see {ledger_of(self.path)}")
        return done

    def _absent(self, found: Sequence[_Found], keep_missing: bool) -> list[IndexedFile]:
        """The entries whose paths were not found. Raises MismatchError if other videos are there."""
        listed = {one.path for one in found}
        absent = [one for one in self.old if one.path not in listed]
        places = {one.identity: one for one in found}
        outside = []
        for one in absent:
            try:
                status = os.stat(one.path)
            except (FileNotFoundError, NotADirectoryError):
                continue
            here = places.get((status.st_dev, status.st_ino))
            if here is None:
                outside.append(one.path)
            elif (here.size, here.modified) == (one.size, one.modified):
                # The same file under another path, such as a relative one.
                self.journal.digests.setdefault((here.path, here.size, here.modified), one.digest)
        if outside and not keep_missing:
            raise MismatchError(
                f"{self.path} also has videos outside of these folders: {outside[0]}"
                f"{f' and {len(outside) - 1:,} more' if len(outside) > 1 else ''}; give their folder too, or "
                "--keep-missing, or another --output"
            )
        return absent

    def _digests(self, found: Sequence[_Found]) -> dict[str, str]:
        """Path -> digest of the content; without those that cannot be read."""
        known = {(one.path, one.size, one.modified): one.digest for one in self.old} | self.journal.digests
        unknown = [one for one in found if (one.path, one.size, one.modified) not in known]
        with self.report.progress("reading", len(unknown)) as advance:
            for path, size, modified, _ in unknown:
                advance(what=path)
                try:
                    known[path, size, modified] = digest(path)
                except OSError as error:
                    self.failed[path] = reason(error)
                else:
                    self.journal.add_digest(path, size, modified, known[path, size, modified])
        return {one.path: known[one.path, one.size, one.modified] for one in found if one.path not in self.failed}

    def _spans(self, contents: Mapping[str, str], same: Mapping[str, IndexedFile]) -> dict[str, tuple[Span, ...]]:
        """Path -> the shots, from the table, an earlier call or the detector; without videos that have none."""
        for path, one in same.items():
            if not one.spans and one.name in self.shotless:
                self.failed.setdefault(path, self.shotless[one.name])
        known = {_content(one.path, one.digest): one.spans for one in self.old if one.spans} | self.journal.spans
        waiting: dict[str, list[str]] = {}
        for path, content in contents.items():
            if content not in known and path not in self.failed:
                waiting.setdefault(content, []).append(path)
        first = [paths[0] for paths in waiting.values()]
        self.read |= {*first}
        job = self.job
        with self.report.progress("shots", len(first)) as advance:
            each = spans_of_each(first, self.asked.detector, job.workers, job.timeout, self.engine) if first else ()
            for path, spans in each:
                advance(what=path)
                if spans and not isinstance(spans, str):
                    self.journal.add_spans(contents[path], spans)
                    continue
                message = str(spans or f"{path}: no shots")
                self.failed |= {twin: message.replace(path, twin) for twin in waiting[contents[path]]}
        known |= self.journal.spans
        return {path: known[content] for path, content in contents.items() if path not in self.failed}

    def _compare_models(self) -> None:
        """Renew the features whose encoders are known to give other vectors by now, where these are named."""
        for one in self.models:
            if self._is_stored(one.feature) and (writer := self._present(one)):
                other = self._other(writer)
                if other and self._renews(one):
                    self.renewed.add(one.feature)
                elif other:
                    self.report.note(other)

    def _present(self, one: Extraction | WordExtraction) -> FeatureWriter[Any] | None:
        """The writer of what a model gives as it is now, if this is known without a download; else None."""
        if isinstance(one, Extraction):
            encoder = present(one, self.job.threads)
            return one.writer(encoder) if encoder else None
        with suppress(UnavailableError):
            return one.writer(one.reader()) if one.is_here else None
        return None

    def _is_stored(self, feature: str) -> bool:
        return self.path.exists() and feature in features(self.path)

    def _renews(self, one: Extraction | WordExtraction) -> bool:
        """Whether the shots are encoded again if the encoder has changed: wrong weights are soon given by mistake."""
        return one.spec in self.asked.named and one.weights is None

    def _other(self, writer: FeatureWriter[Any]) -> str:
        """What to say of rows of the store that are not those that a writer would add; "" where they are."""
        with open_feature(self.path, writer.feature) as store:
            what = writer.difference(store)
        model = writer.provenance["spec"]
        cure = f"--model {model} encodes all shots again, and --weights PATH goes on with those that encoded it"
        return f"{self.path}: {model} has changed since: {what}; {cure}" if what else ""

    def _origins(self, layout: _Layout) -> list[Origin]:
        # Renewed features come from the work, which has all their shots.
        without = frozenset(self.renewed)
        both = (Origin(self.path, layout.before, without), Origin(self.store, layout.work))
        return [origin for origin in both if origin.path.exists()]

    def _encode(self, layout: _Layout) -> bool:
        """Encode into the work what the store lacks and it does not have yet; whether there was anything."""
        lacking: dict[str, tuple[Shot, dict[str, None]]] = {}
        stored = [origin for origin in self._origins(layout) if origin.path == self.path]
        for feature in self.features:
            for number in np.flatnonzero(~has_rows(stored, feature, len(layout.shots))).tolist():
                shot, work = layout.shots[number], layout.work[number]
                if failure := self.earlier.get((feature, layout.same[number])):
                    self.failures[feature, shot.id] = failure._replace(id=shot.id)
                else:
                    # A dict, since copies of a video have the same shots.
                    lacking.setdefault(work, (shot._replace(id=work), {}))[1][feature] = None
        # Features that lack the same shots decode them together.
        groups: dict[tuple[str, ...], list[Shot]] = {}
        for shot, names in lacking.values():
            groups.setdefault(tuple(names), []).append(shot)
        for one in self.words:
            if any(one.feature in together for together in groups):
                one.check()
        failed: dict[tuple[str, str], Failure] = {}
        try:
            for together, shots in groups.items():
                self.read |= {shot.video for shot in shots}
                wanted = tuple(one for one in self.job.wanted if one.feature in together)
                if wanted:
                    job = self.job._replace(wanted=wanted)
                    failures, _ = extract_found(shots, {}, job, self.engine, self.report, self._check)
                    for each, own in zip(wanted, failures, strict=True):
                        failed |= {(each.feature, failure.id): failure for failure in own}
                for one in self.words:
                    if one.feature in together:
                        workers, timeout = self.job.workers, self.job.timeout
                        own = read_words(one, shots, workers, timeout, False, self.report, self._check)
                        failed |= {(one.feature, failure.id): failure for failure in own}
        except _OtherModel:
            return self._encode(layout)
        except _OtherWork:
            shutil.rmtree(parts_of(self.store), ignore_errors=True)
            self.store.unlink(missing_ok=True)
            return self._encode(layout)
        for shot, work in zip(layout.shots, layout.work, strict=True):
            for feature in self.features:
                if failure := failed.get((feature, work)):
                    message = failure.message.replace(lacking[work][0].video, shot.video)
                    self.failures[feature, shot.id] = Failure(shot.id, failure.stage, message)
        return bool(lacking)

    def _check(self, writer: FeatureWriter[Any]) -> None:
        """Raise MismatchError if the rows of the store are not those that a writer would add."""
        if self._is_stored(writer.feature) and writer.feature not in self.renewed:
            (one,) = (one for one in self.models if one.feature == writer.feature)
            if other := self._other(writer):
                if not self._renews(one):
                    raise MismatchError(other)
                self.renewed.add(one.feature)
                raise _OtherModel
        try:
            with writer:
                pass
        except MismatchError:
            raise _OtherWork from None

    def _whole(self, files: Sequence[IndexedFile], found: Sequence[_Found]) -> list[IndexedFile]:
        """The files without those that were written to while they were decoded: of these, nothing is known."""
        torn = set()
        for one in found:
            if one.path in self.read and one.path not in self.failed:
                with suppress(OSError):
                    status = os.stat(one.path)
                    if (status.st_size, status.st_mtime_ns) == (one.size, one.modified):
                        continue
                torn.add(one.path)
        contents = {_content(one.path, one.digest) for one in files if one.path in torn}
        again = {one.path for one in files if _content(one.path, one.digest) in contents}
        self.failed |= {path: f"{path}: changed while it was indexed; the same command indexes it" for path in again}
        return [one for one in files if one.path not in again]

    def _save(
        self, layout: _Layout, table: FileTable, encoded: bool, names: Mapping[str, str], refused: Sequence[Failure]
    ) -> None:
        """Write the store and the ledger where they differ from what is there, and remove the work."""
        entries = []
        for feature in self.features:
            entries += [(feature, failure) for failure in refused]
            entries += [(feature, Failure(names[path], STAGE, why)) for path, why in sorted(self.failed.items())]
            entries += [(feature, own) for shot in layout.shots if (own := self.failures.get((feature, shot.id)))]
        ledger = ledger_of(self.path)
        self.report.note_each(
            own.message for _, own in entries if own.message not in {one.message for _, one in self.ledger}
        )
        try:
            if encoded or table != self.asked.stored:
                # Without a ledger, what is missing is tried again: that of another table would hide it.
                ledger.unlink(missing_ok=True)
                origins = self._origins(layout)
                held = {name for origin in origins for name in features(origin.path) if name not in origin.without}
                compose(self.path, held, layout.shots, origins, table)
            if entries != self.ledger or not ledger.exists():
                write_ledger(ledger, entries)
        except IncompleteError:
            self._tidy()
            raise
        self._tidy()

    def _tidy(self) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        with suppress(OSError):  # there may be parts of another command
            parts_of(self.path).rmdir()
