"""Speech, by Whisper (Radford et al., arXiv:2212.04356) as faster-whisper runs it, where Silero's VAD hears a voice.

The sound is read in stretches of up to five minutes, which end at a pause, so that memory does not grow with a video.
"""

import importlib.util
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from avs_cli.core.words import ReadingSetting, ShotWords
from avs_cli.core.words.devices import placed
from avs_cli.errors import FormatError, SpecError, UnavailableError
from avs_cli.machine import give_memory_back
from avs_cli.types import Failure, Piece, Shot, Sound, Source

USES = ("weights", "device", "threads", "workers", "timeout")
REMARK = "speech, by Whisper; pip install 'avs-cli[words]', and 0.08 to 3 GB by model: asr:tiny, base, small, medium, …"
DOWNLOADS = True
PACKAGES = ("ctranslate2", "faster-whisper", "onnxruntime")
# Model -> where CTranslate2's form of it is published, and gigabytes.
MODELS = {
    "tiny": ("Systran/faster-whisper-tiny", 0.08),
    "tiny.en": ("Systran/faster-whisper-tiny.en", 0.08),
    "base": ("Systran/faster-whisper-base", 0.15),
    "base.en": ("Systran/faster-whisper-base.en", 0.15),
    "small": ("Systran/faster-whisper-small", 0.48),
    "small.en": ("Systran/faster-whisper-small.en", 0.48),
    "medium": ("Systran/faster-whisper-medium", 1.5),
    "medium.en": ("Systran/faster-whisper-medium.en", 1.5),
    "large-v3": ("Systran/faster-whisper-large-v3", 3.1),
    "turbo": ("mobiuslabsgmbh/faster-whisper-large-v3-turbo", 1.6),
}
FILES = ("config.json", "preprocessor_config.json", "model.bin", "tokenizer.json", "vocabulary.*")
NEEDED = ("config.json", "model.bin", "tokenizer.json")
RATE = 16_000
# Samples that are read at once, at most.
STRETCH = 300 * RATE
# Seconds of silence at which a stretch may end.
PAUSE = 0.3
BEAM = 5


class Word(NamedTuple):
    """A word that was said, with the spaces before it; `sentence` is the same for all words of one."""

    text: str
    start: float
    end: float
    confidence: float
    sentence: int


def load(setting: ReadingSetting, model: str = "small", language: str = "") -> "SpeechReader":
    """A reader of speech.

    model     tiny, base, small or medium, of English alone with .en; large-v3; turbo
    language  such as en or de; "" to detect it, every five minutes
    """
    if model not in MODELS:
        raise SpecError(f"asr: model={model}: known: {', '.join(MODELS)}")
    return SpeechReader(setting, model, language)


class SpeechReader:
    """Reads what is said in videos."""

    def __init__(self, setting: ReadingSetting, model: str, language: str):
        self.setting, self.language = setting, language
        if importlib.util.find_spec("faster_whisper") is None:
            raise UnavailableError("--model asr needs a package: pip install 'avs-cli[words]'")
        self.model = model
        self.placed = self._placed()

    @cached_property
    def files(self) -> Mapping[str, Path]:
        """The files of the model by their names. Raises UnavailableError if there is none, FormatError for others."""
        repo, size = MODELS[self.model]
        found = self.setting.media.folder(Source(size, repo, FILES), self.setting.weights, f"asr:{self.model}")
        if lacking := next((name for name in NEEDED if name not in found), ""):
            where = self.setting.weights or repo
            raise FormatError(where, f"no {lacking} in this folder; give a model of Whisper in CTranslate2's form")
        return found

    def _placed(self) -> tuple[str, int]:
        import ctranslate2

        gpus = ctranslate2.get_cuda_device_count()
        return placed(self.setting.device, gpus, "asr", "see that CTranslate2 finds CUDA")

    @property
    def numbers(self) -> str:
        """The numbers that the network computes with."""
        return "int8" if self.placed[0] == "cpu" else "float16"

    @cached_property
    def provenance(self) -> Mapping[str, Any]:
        """The model, its digest, and what it is asked for."""
        return {
            "model": "Whisper",
            "weights": {
                name: self.setting.media.digest(path, self.setting.remember)
                for name, path in self.files.items()
                if name in NEEDED
            },
            "language": self.language or "detected",
            "beam": BEAM,
            "numbers": self.numbers,
            "stretch": STRETCH // RATE,
        }

    def read(self, videos: Mapping[str, Sequence[Shot]]) -> Iterator[ShotWords | Failure | str]:
        """As that of `WordReader`; notes the languages, and the videos without sound."""
        sounds = self.setting.media.sounds(list(videos), self.setting.workers, self.setting.timeout)
        languages: Counter[str] = Counter()
        silent = 0
        for video, pieces in groupby(sounds, itemgetter(0)):
            heard: list[Failure] = []
            own: set[str] = set()
            words: list[Word] = []
            first = next(pieces)[1]
            if isinstance(first, Sound) and first.silent:
                silent += 1
            else:
                given = _until_failure(chain([first], (piece for _, piece in pieces)), heard)
                words = self._words(given, own)
            if heard:
                yield from (Failure(shot.id, heard[0].stage, heard[0].message) for shot in videos[video])
                continue
            languages.update(own)
            yield from map(ShotWords, videos[video], divided(words, videos[video]))
        if languages and not self.language:
            named = ", ".join(f"{name} in {count:,}" for name, count in languages.most_common())
            yield f"languages heard, in videos: {named}"
        if silent:
            yield f"{silent} of {len(videos)} videos have no sound"

    def _words(self, samples: Iterable[np.ndarray], languages: set[str]) -> list[Word]:
        """The words of a video, whose languages are added to those."""
        from faster_whisper.vad import VadOptions, get_speech_timestamps

        def voiced(sound: np.ndarray) -> list[tuple[int, int]]:
            options = VadOptions(min_silence_duration_ms=round(PAUSE * 1000), speech_pad_ms=0)
            return [(found["start"], found["end"]) for found in get_speech_timestamps(sound, options)]

        words: list[Word] = []
        sentence = 0
        for start, sound in stretches(samples, voiced):
            segments, about = self._model.transcribe(
                sound,
                language=self.language or None,
                beam_size=BEAM,
                temperature=0.0,
                condition_on_previous_text=False,
                word_timestamps=True,
                vad_filter=True,
            )
            languages.add(about.language)
            for segment in segments:
                sentence += 1
                words += [
                    Word(one.word, start / RATE + one.start, start / RATE + one.end, one.probability, sentence)
                    for one in segment.words or ()
                ]
            give_memory_back()
        return words

    @cached_property
    def _model(self) -> Any:
        from faster_whisper import WhisperModel

        device, number = self.placed
        # The folder has all that is needed, so that nothing is looked for on the web.
        try:
            model = WhisperModel(
                str(Path(self.files["model.bin"]).parent),
                device=device,
                device_index=number,
                compute_type=self.numbers,
                cpu_threads=self.setting.threads,
            )
        except (RuntimeError, ValueError) as error:
            raise FormatError(
                self.files["model.bin"].parent, f"no model of Whisper that CTranslate2 can load ({error})"
            ) from None
        if self.language and self.language not in model.supported_languages:
            known = ", ".join(model.supported_languages)
            raise SpecError(f"asr: language={self.language}: this model knows {known}")
        return model


def _until_failure(pieces: Iterable[Sound | Failure], failures: list[Failure]) -> Iterator[np.ndarray]:
    """The samples of a video; its failure, which ends it, is put into `failures`."""
    for piece in pieces:
        if isinstance(piece, Failure):
            failures.append(piece)
            return
        yield piece.samples


def stretches(
    pieces: Iterable[np.ndarray], voiced: Callable[[np.ndarray], list[tuple[int, int]]], most: int = STRETCH
) -> Iterator[tuple[int, np.ndarray]]:
    """The sound of a video in stretches of at most `most` samples, with the number of their first sample.

    pieces  (N,) int16
    voiced  the first and last samples of what is said in float32 samples from -1 to 1

    A stretch ends in the last pause of its second half, or at its end if there is none. Those without a voice are left
    out.
    """
    held: list[np.ndarray] = []
    count = begin = 0
    for piece in chain(pieces, [None]):
        if piece is not None:
            held.append(piece)
            count += len(piece)
        while count >= most or (piece is None and count):
            sound = np.concatenate(held)
            whole = sound[:most].astype(np.float32) / 32768.0
            speech = voiced(whole)
            cut = len(whole) if piece is None and count <= most else _pause(speech, len(whole))
            if any(start < cut for start, _ in speech):
                yield begin, whole[:cut]
            held, count, begin = [sound[cut:]], count - cut, begin + cut


def _pause(speech: Sequence[tuple[int, int]], length: int) -> int:
    """The middle of the last pause in the second half of a sound of this length, else its end."""
    if not speech:
        return length
    bounds = [0, *(bound for span in speech for bound in span), length]
    pauses = [(end + start) // 2 for end, start in zip(bounds[::2], bounds[1::2], strict=True) if end < start]
    return next((middle for middle in reversed(pauses) if middle >= length // 2), length)


def divided(words: Sequence[Word], shots: Sequence[Shot]) -> list[list[Piece]]:
    """The words of each shot, of whose time each is at its middle; those of one sentence are a piece.

    words  of one video, in order of their times
    shots  of the video, in any order
    """
    words = sorted(words, key=_middle)
    middles = [_middle(word) for word in words]
    found = []
    for shot in shots:
        inside = words[bisect_left(middles, shot.start) : bisect_left(middles, shot.end)]
        sentences = [list(own) for _, own in groupby(inside, lambda word: word.sentence)]
        found.append([piece for own in sentences if (piece := _piece(own)).text])
    return found


def _middle(word: Word) -> float:
    return (word.start + word.end) / 2


def _piece(words: Sequence[Word]) -> Piece:
    text = "".join(word.text for word in words).strip()
    sure = sum(word.confidence for word in words) / len(words)
    start = max(0.0, words[0].start)
    return Piece(text, start, max(start, words[-1].end), None, min(1.0, sure))
