"""The whole way of a competition team, as a shell script over real photos: from pictures and captions to a run file."""

import contextlib
import io
import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from avs_cli.cli import exit_code
from avs_cli.io.trec import read_run

# Hands its words to the process of the tests, which has loaded everything already, and gives back what that answers.
AVS = """#!/bin/sh
cd "$(dirname "$0")"
printf '%s\\n' "$@" > words
echo go > ask
read -r code < answer
cat out
cat told >&2
exit "$code"
"""

SCRIPT = """
set -eu
avs extract photos --model conse:output=pooled -o photos.h5
cat web.txt train.txt dev.txt > captions.txt
avs extract --text captions.txt --model minilm -o captions.h5

# A large collection first, then the one that counts, with the same vocabulary, as often as there are seeds.
avs train web.txt --video photos.h5 --text captions.h5 --text bow:min_count=1 --head laff:dim=64,heads=2 \\
    --epochs 2 -o pretrained.safetensors
mkdir heads
for seed in 1 2; do
    avs train train.txt --init pretrained.safetensors --video photos.h5 --text captions.h5 \\
        --validate dev.txt --epochs 2 --seed $seed -o heads/laff-$seed.safetensors
done

# One pass over the gallery, a run per head; then one run of all.
heads=$(for head in heads/*.safetensors; do echo --head $head; done)
avs search photos.h5 --topics topics.txt $heads --explain why.tsv -o runs
avs fuse runs/*.run -o fused.run
avs eval topics.qrels fused.run
avs submit fused.run --topics topics.txt --pid TEAM --training D --elapsed 1 -o .
"""


def answer(folder: Path) -> None:
    """Run the commands that the script's `avs` hands over, until it hands over none."""
    while True:
        if (folder / "ask").read_text() != "go\n":
            return
        out, told = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(told):
            code = exit_code((folder / "words").read_text().splitlines())
        (folder / "out").write_text(out.getvalue())
        (folder / "told").write_text(told.getvalue())
        (folder / "answer").write_text(f"{code}\n")


def script(folder: Path, ran: list["subprocess.CompletedProcess[str]"]) -> None:
    environment = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    ran.append(subprocess.run(["sh", "-c", SCRIPT], cwd=folder, env=environment, capture_output=True, text=True))
    (folder / "bin" / "ask").write_text("stop\n")


def test_the_script_goes_from_photos_to_a_run_that_nist_accepts(
    shared_data: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flickr = shared_data("flickr8k")
    captions: dict[str, list[str]] = {}
    for line in (flickr / "dev.caption.txt").read_text(encoding="utf-8").splitlines():
        captions.setdefault(line.partition("#")[0], []).append(line)
    # NIST takes shots that are called so.
    shots = {f"shot{number:05d}_1": photo for number, photo in enumerate([*captions][:24], start=1)}
    (tmp_path / "photos").mkdir()
    for shot, photo in shots.items():
        shutil.copy(flickr / "dev" / f"{photo}.jpg", tmp_path / "photos" / f"{shot}.jpg")
    names = [*shots]
    for part, some in {"web": names[:10], "train": names[10:18], "dev": names[18:]}.items():
        lines = [line.replace(shots[shot], shot) for shot in some for line in captions[shots[shot]][:2]]
        (tmp_path / f"{part}.txt").write_text("".join(f"{line}\n" for line in lines))
    asked = names[:3]
    sentences = [captions[shots[shot]][2].split(" ", 1)[1] for shot in asked]
    (tmp_path / "topics.txt").write_text("".join(f"{701 + k} {text}\n" for k, text in enumerate(sentences)))
    (tmp_path / "topics.qrels").write_text("".join(f"1{701 + k} 0 {shot} 1 1\n" for k, shot in enumerate(asked)))
    bin = tmp_path / "bin"
    bin.mkdir()
    (bin / "avs").write_text(AVS)
    (bin / "avs").chmod(0o755)
    for name in ("ask", "answer"):
        os.mkfifo(bin / name)
    monkeypatch.chdir(tmp_path)
    shell = threading.Thread(target=script, args=(tmp_path, ran := []), daemon=True)
    shell.start()
    answer(bin)
    shell.join()
    (result,) = ran
    assert result.returncode == 0, result.stderr
    assert len([*tmp_path.glob("*.xml")]) == 1
    fused = read_run(str(tmp_path / "fused.run"))
    assert {topic: len(shots) for topic, shots in fused.items()} == {"701": 24, "702": 24, "703": 24}
    assert [path.name for path in sorted((tmp_path / "runs").iterdir())] == [f"laff-{k}.run" for k in (1, 2)]
    assert "xinfAP" in result.stdout
    assert (tmp_path / "why.tsv").read_text().count("minilm") == 2 * 3
