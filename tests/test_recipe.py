"""The whole way of a competition team, as a shell script over real photos: from pictures and captions to a run file."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from avs_cli.io.trec import read_run

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


def test_the_script_goes_from_photos_to_a_run_that_nist_accepts(
    shared_data: Callable[[str], Path], tmp_path: Path
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
    (bin / "avs").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m avs_cli "$@"\n')
    (bin / "avs").chmod(0o755)
    environment = {**os.environ, "PATH": f"{bin}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[1])
    ran = subprocess.run(["sh", "-c", SCRIPT], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert len([*tmp_path.glob("*.xml")]) == 1
    fused = read_run(str(tmp_path / "fused.run"))
    assert {topic: len(shots) for topic, shots in fused.items()} == {"701": 24, "702": 24, "703": 24}
    assert [path.name for path in sorted((tmp_path / "runs").iterdir())] == [f"laff-{k}.run" for k in (1, 2)]
    assert "xinfAP" in ran.stdout
    assert (tmp_path / "why.tsv").read_text().count("minilm") == 2 * 3
