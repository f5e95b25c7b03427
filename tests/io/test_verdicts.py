"""Files of verdicts: what is kept, what a killed process leaves, and what is refused."""

import json
from pathlib import Path

import pytest

from avs_cli.errors import AvsError, FormatError
from avs_cli.io.text.scores import read_verdicts
from avs_cli.io.text.verdicts import VerdictFile
from avs_cli.types import Shot, Topic

DOG, CAT = Topic("1", "a dog"), Topic("2", "a cat")
BEACH, STREET = Shot("beach", "b.mp4", 0, 2.5), Shot("street", "s.mp4", 1, 2)


def filled(path: Path, judge: str = "0a", odds: float = 1.5) -> Path:
    with VerdictFile(path, judge, {"model": judge}) as file:
        file.add([(DOG, BEACH, odds), (DOG, STREET, -2.0)])
        file.add([(CAT, BEACH, 0.25)])
    return path


def test_a_verdict_is_found_by_judge_topic_text_shot_and_times(tmp_path: Path) -> None:
    path = filled(tmp_path / "v.jsonl")
    with VerdictFile(path, "0a", {}) as file:
        assert file.get(DOG, BEACH) == 1.5 and file.get(CAT, BEACH) == 0.25
        # A path may be another on another machine.
        assert file.get(DOG, BEACH._replace(video="elsewhere/b.mp4")) == 1.5
        assert file.get(CAT, STREET) is None
        assert file.get(Topic("1", "a puppy"), BEACH) is None
        assert file.get(DOG, BEACH._replace(end=3.0)) is None
    with VerdictFile(path, "0b", {}) as file:
        assert file.get(DOG, BEACH) is None
    first, *others = map(json.loads, path.read_text().splitlines())
    assert first == {"judge": "0a", "about": {"model": "0a"}}
    assert others[0] == {
        "judge": "0a", "topic": "1", "query": "a dog", "shot": "beach", "start": 0, "end": 2.5, "log_odds": 1.5,
    }  # fmt: skip


def test_the_file_serves_as_scores(tmp_path: Path) -> None:
    path = filled(tmp_path / "v.jsonl")
    assert read_verdicts(str(path)) == {"1": {"beach": 1.5, "street": -2.0}, "2": {"beach": 0.25}}
    # As two machines have written it, one after the other.
    path.write_bytes(path.read_bytes() * 2)
    assert read_verdicts(str(path)) == {"1": {"beach": 1.5, "street": -2.0}, "2": {"beach": 0.25}}


def test_half_a_line_of_a_killed_process_is_removed(tmp_path: Path) -> None:
    path = filled(tmp_path / "v.jsonl")
    whole = path.read_bytes()
    for cut in (len(whole) - 1, len(whole) - 90, whole.rfind(b"\n", 0, -1) + 2):
        path.write_bytes(whole[:cut])
        with VerdictFile(path, "0a", {}) as file:
            assert file.get(CAT, BEACH) is None and file.get(DOG, STREET) == -2.0
            file.add([(CAT, BEACH, 0.25)])
        assert path.read_bytes() == whole


def test_scores_of_two_judges_are_not_mixed(tmp_path: Path) -> None:
    path = filled(filled(tmp_path / "v.jsonl"), "0b", 9.0)
    with VerdictFile(path, "0b", {}) as file:
        assert file.get(DOG, BEACH) == 9.0
    with pytest.raises(FormatError, match=r"v.jsonl:5: verdicts of two judges; .* grep 0a or 0b"):
        read_verdicts(str(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"holiday", "1: not a verdict, in JSON"),
        (b"\n\x00\xff", "2: not a verdict, in JSON"),
        (b"1 0 beach 1\n", "1: not a verdict"),
        (b"\n\xff\n", "2: not UTF-8"),
        (b'{"judge": "0a", "topic": "1"}\n', "1: not a verdict, which has"),
        (b'{"judge": "0a", "topic": "1", "query": "q", "shot": "s", "log_odds": NaN}\n', "nan is not a finite"),
    ],
)
def test_other_files_are_refused_and_left_alone(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "v.jsonl"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=message), VerdictFile(path, "0a", {}):
        pass
    assert path.read_bytes() == content
    assert not (tmp_path / "v.jsonl.lock").exists()


def test_one_process_writes_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "v.jsonl"
    with (
        VerdictFile(path, "0a", {}),
        pytest.raises(AvsError, match="in use by another avs process"),
        VerdictFile(path, "0a", {}),
    ):
        pass
