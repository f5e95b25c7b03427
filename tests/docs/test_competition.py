"""The README's competition script runs as it stands there, from videos to a submission, on small real data."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from avs_cli.core import encoders
from avs_cli.io.text.trec import read_run

ENCODERS = Path(__file__).resolve().parents[1] / "data" / "encoders"
README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")

# The tests' own encoder, which takes no time, few heads, short training, and topics of what the clips show.
SETTINGS = {
    "DATA": "data",
    "MODELS": "colour colour:gain=2",
    "TEXTS": "colour",
    "FRAMES": "colour",
    "TASKS": "2",
    "SEEDS": "1 2 3",
    "HEAD": "laff:dim=32,heads=2",
    "WORDS": "bow:min_count=1",
    "STUDENT": "afa:dim=32",
    "EPOCHS": "2",
    "EARLIER": "V3C1/tv21 V3C2/tv22",
}
# Clips of the two collections, and the earliest of their topics' numbers.
COLLECTIONS = {
    "V3C1": ["sam2_dog.mp4", "intel_asl_eat.mkv", "mpy_example3.mp4", "sam2_cups.mp4"],
    "V3C2": ["skv_bigbuckbunny.mp4", "intel_classroom.gif", "sam2_coffee.mp4", "intel_asl_book.mkv"],
}
# Topics of each task: (collection, first number, judged, clips asked for).
TASKS = {
    "tv21": ("V3C1", 661, True, [0, 1, 2, 3]),
    "tv22": ("V3C2", 701, True, [0, 1, 2, 3]),
    "tv23": ("V3C2", 731, False, [0, 1, 2]),
    "tv23-progress": ("V3C2", 681, False, [1, 3]),
}
SHOTS = 2


def parts() -> dict[str, str]:
    """The script's files by name: the README's blocks that begin with it."""
    blocks = re.findall(r"^```sh\n(# (\w+\.sh):.*?)^```", README, re.MULTILINE | re.DOTALL)
    return {name: text for text, name in blocks}


def lay_photos(flickr: Path, data: Path) -> None:
    """Photos and captions as the sets that heads are trained on."""
    captions: dict[str, list[str]] = {}
    for line in (flickr / "dev.caption.txt").read_text(encoding="utf-8").splitlines():
        captions.setdefault(line.partition("#")[0], []).append(line)
    photos = [*captions]
    for name, some in {"web": photos[:12], "train": photos[12:22], "val": photos[22:28]}.items():
        (data / name / "videos").mkdir(parents=True)
        for photo in some:
            shutil.copy(flickr / "dev" / f"{photo}.jpg", data / name / "videos")
        lines = [line for photo in some for line in captions[photo][:3]]
        (data / name / "captions.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def lay_clips(clips: Path, data: Path) -> None:
    """Clips as V3C's collections with master shot tables, and topics that ask for them."""
    sentences = dict(row.split("\t")[::2] for row in (clips / "captions.tsv").read_text(encoding="utf-8").splitlines())
    for folder in ("topics", "qrels"):
        (data / folder).mkdir()
    for collection, names in COLLECTIONS.items():
        for folder in ("videos", "msb"):
            (data / collection / folder).mkdir(parents=True)
        for number, name in enumerate(names, start=1):
            shutil.copy(clips / name, data / collection / "videos" / f"{number:05d}{Path(name).suffix}")
            rows = "".join(f"{25 * k}\t{k}.0\t{25 * k + 24}\t{k + 1}.0\n" for k in range(SHOTS))
            table = f"startframe\tstarttime\tendframe\tendtime\n{rows}"
            (data / collection / "msb" / f"{number:05d}.tsv").write_text(table)
    for task, (collection, first, judged, asked) in TASKS.items():
        names = COLLECTIONS[collection]
        topics = "".join(f"{first + k} {sentences[names[clip]]}\n" for k, clip in enumerate(asked))
        (data / "topics" / f"{task}.txt").write_text(topics, encoding="utf-8")
        if judged:
            rows = "".join(
                f"1{first + k} 0 shot{number:05d}_{shot} 1 {int(number == clip + 1)}\n"
                for k, clip in enumerate(asked)
                for number in range(1, len(names) + 1)
                for shot in range(1, SHOTS + 1)
            )
            (data / "qrels" / f"{task}.qrels").write_text(rows)


def test_the_competition_script_goes_from_videos_to_a_submission(
    shared_data: Callable[[str], Path], shell: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_photos(shared_data("flickr8k"), tmp_path / "data")
    lay_clips(shared_data("clips"), tmp_path / "data")
    written = parts()
    assert list(written) == ["settings.sh", "extract.sh", "train.sh", "submit.sh"]
    for name, text in written.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(encoders, "__path__", [*encoders.__path__, str(ENCODERS)])
    array = [("extract.sh", {"SLURM_ARRAY_TASK_ID": str(task)}) for task in (1, 2)]
    ran = shell([(["sh", name], SETTINGS | own) for name, own in [*array, ("train.sh", {}), ("submit.sh", {})]])
    assert ran[-1].returncode == 0, ran[-1].stderr
    assert len(ran) == 4

    systems = ["laff-1", "laff-2", "laff-3", "student"]
    for task, (collection, first, _, asked) in TASKS.items():
        runs = sorted((tmp_path / "runs" / task).glob("*.run"))
        assert [run.stem for run in runs] == systems
        shots = len(COLLECTIONS[collection]) * SHOTS
        expected = {str(first + k): shots for k in range(len(asked))}
        assert all({topic: len(found) for topic, found in read_run(str(run)).items()} == expected for run in runs)
    # The fuser learned from earlier years' topics alone, and ranks this year's.
    assert {*read_run(str(tmp_path / "fused" / "earlier.run"))} == {str(661 + k) for k in range(4)} | {
        str(701 + k) for k in range(4)
    }
    submissions = {path.name: etree.parse(path) for path in (tmp_path / "submission").iterdir()}
    assert {name[:5] for name in submissions} == {"F_M_C", "F_P_C"}
    for name, document in submissions.items():
        topics = [result.get("tNum") for result in document.iter("videoAdhocSearchTopicResult")]
        assert topics == (["731", "732", "733"] if name.startswith("F_M") else ["681", "682"])
        assert all(int(result.get("elapsedTime")) >= 0 for result in document.iter("videoAdhocSearchTopicResult"))
    assert "MEAN" in ran[-1].stdout
