"""Runs every command on small real data and prints the digest of each file that it writes, as JSON.

    python tests/guard/outputs.py SHARED_DATA          digests of the avs_cli that Python finds
    python tests/guard/outputs.py SHARED_DATA --pin    the same, kept in digests.json beside this file
    python tests/guard/outputs.py --machine            what the digests depend on

Moves of code must leave every digest as it is. Stores and heads hold floating-point results, whose last bits depend on
the processor and on the libraries: `machine` says which, and tests/guard/test_outputs.py compares on that one alone.
"""

import contextlib
import functools
import hashlib
import importlib.metadata
import io
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

PINNED = Path(__file__).with_name("digests.json")
CLIPS = ("skv_bigbuckbunny.mp4", "intel_asl_eat.mkv", "sam2_dog.mp4")
PHOTOS = 24
LAFF = "laff:dim=32,heads=2"

# One command a line, in the order of the pipeline. What a later line needs, an earlier one wrote.
COMMANDS = f"""
shots clips -o shots.tsv
shots clips --detector fixed:seconds=2 -o windows.tsv
index clips --model conse -o index.h5 --threads 1
extract clips --shots shots.tsv --model conse -o clips.h5 --threads 1
extract clips --shots windows.tsv --model conse:output=pooled --pool none -o frames.h5 --threads 1
extract photos --model conse -o photos.h5 --threads 1
extract photos --model conse:output=pooled --dtype float32 -o pooled.h5 --threads 1
extract photos --model conse:output=pooled --pool none -o framed.h5::framed --threads 1
extract photos --model conse:output=scores --shard 1/2 -o scores.h5 --threads 1
extract photos --model conse:output=scores --shard 2/2 -o scores-2.h5 --threads 1
extract --text captions.txt --model minilm -o captions.h5 --threads 1
extract --text captions.txt --model conse -o bank.h5 --threads 1
train captions.txt --video pooled.h5 --video scores.h5 --video scores-2.h5 --text captions.h5 --text bow:min_count=1 \
    --head {LAFF} --epochs 2 --batch-size 16 --validate captions.txt -o laff.safetensors --threads 1
train captions.txt --video pooled.h5 --text captions.h5 --head w2vvpp:dim=32 --epochs 2 --batch-size 16 \
    -o w2vvpp.safetensors --threads 1
train captions.txt --video pooled.h5 --video scores.h5 --video scores-2.h5 --text captions.h5 --text gru:min_count=1 \
    --head sea:dim=16 --epochs 1 --batch-size 16 --objective contrastive -o sea.safetensors --threads 1
distill --captions captions.txt --video framed.h5 --text captions.h5 --teacher w2vvpp.safetensors \
    --teacher-video pooled.h5 --student afa:dim=16 --epochs 2 --batch-size 16 -o student.safetensors --threads 1
search photos.h5 --topics topics.txt -o conse.trec --threads 1
search clips.h5 --topics topics.txt -o clips.trec --threads 1
search pooled.h5 scores.h5 scores-2.h5 --topics topics.txt --head laff.safetensors --head w2vvpp.safetensors \
    --explain why.tsv -o runs --threads 1
rerank conse.trec --method neighbours -g photos.h5 --topics topics.txt -o neighbours.trec --threads 1
rerank conse.trec --method hubness -g photos.h5 --topics topics.txt --bank bank.h5 -o hubness.trec --threads 1
fuse conse.trec runs/laff.run runs/w2vvpp.run -o rrf.trec
fuse conse.trec runs/laff.run --method combsum:norm=zscore -o combsum.trec
fuse conse.trec runs/laff.run --method combmnz -o combmnz.trec
fuse conse.trec runs/laff.run --method borda -o borda.trec
fuse covid/*.run --ltr --qrels covid.qrels --save fuser.json --report report.json --threads 1 -o ltr.trec
fuse covid/*.run --load fuser.json -o loaded.trec
eval photos.qrels conse.trec rrf.trec runs/laff.run --json
eval photos.qrels conse.trec --format nist
eval covid.qrels covid/*.run -m AP -m nDCG@20 --csv
eval tv21.qrels tv21.trec -m xinfAP -m iP@100 --csv
submit conse.trec --topics topics.txt --year 2023 --pid TEAM --training D --elapsed 1 -o run.xml
view conse.trec rrf.trec -g photos.h5 --topics topics.txt --qrels photos.qrels -o page.html
view clips.trec -g clips.h5 -o clips.html
convert pooled.h5 bigfile
convert bigfile back.h5
convert run.xml back.trec
"""


def prepare(shared: Path) -> None:
    """Lay small real data into the working folder: clips, photos with captions as topics, judged runs."""
    Path("clips").mkdir()
    for name in CLIPS:
        shutil.copy(shared / "clips" / name, "clips")
        os.utime(Path("clips") / name, ns=(0, 0))  # an index keeps it
    captions: dict[str, list[str]] = {}
    for line in (shared / "flickr8k" / "dev.caption.txt").read_text(encoding="utf-8").splitlines():
        captions.setdefault(line.partition("#")[0], []).append(line.partition(" ")[2])
    Path("photos").mkdir()
    texts, topics, judged = [], [], []
    for number, photo in enumerate([*captions][:PHOTOS], start=1):
        shot = f"shot{number:05d}_1"
        shutil.copy(shared / "flickr8k" / "dev" / f"{photo}.jpg", f"photos/{shot}.jpg")
        texts += [f"{shot}#enc#{k} {sentence}" for k, sentence in enumerate(captions[photo][:3])]
        if number <= 4:
            topics.append(f"{700 + number} {captions[photo][3]}")
            judged += [f"1{700 + number} 0 shot{k:05d}_1 {1 + k % 2} {int(k == number)}" for k in range(1, PHOTOS)]
    Path("captions.txt").write_text("".join(f"{line}\n" for line in texts), encoding="utf-8")
    Path("topics.txt").write_text("".join(f"{line}\n" for line in topics), encoding="utf-8")
    Path("photos.qrels").write_text("".join(f"{line}\n" for line in judged))
    Path("covid").mkdir()
    for run in sorted((shared / "trec-covid-r1" / "runs").iterdir())[:4]:
        shutil.copy(run, Path("covid") / f"{run.name.split('.')[0]}.run{'.gz' * (run.suffix == '.gz')}")
    shutil.copy(next((shared / "trec-covid-r1").glob("qrels*")), "covid.qrels")
    shutil.copy(next((shared / "tv21").glob("*.qrels*")), "tv21.qrels")
    shutil.copy(next((shared / "tv21").glob("test_run*.tre*")), "tv21.trec")


@functools.cache
def digest(path: Path, number: int, size: int, time: int) -> str:
    """The digest of a file, which is read once: a file that is written anew has another number or time."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def written(before: dict[str, str]) -> dict[str, str]:
    """The digests of files that are new or changed since `before`, by path."""
    now = {
        path.as_posix(): digest(path, (at := path.stat()).st_ino, at.st_size, at.st_mtime_ns)
        for path in sorted(Path().rglob("*"))
        # A training's log and the state it resumes from hold the seconds that each epoch took.
        if path.is_file() and path.suffix != ".last" and not path.name.endswith(".safetensors.csv")
    }
    return {path: digest for path, digest in now.items() if before.get(path) != digest}


def digests(shared: Path) -> dict[str, dict[str, str]]:
    """Per command line the digests of its files and of its stdout; run in an empty working folder."""
    from avs_cli.cli import exit_code

    prepare(shared)
    found: dict[str, dict[str, str]] = {}
    files: dict[str, str] = {}
    files |= written(files)
    for line in COMMANDS.replace("\\\n", " ").strip().splitlines():
        words = [path for word in line.split() for path in expanded(word)]
        out, told = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(told):
            code = exit_code(words)
        if code:
            raise SystemExit(f"avs {line}\nexit code {code}: {told.getvalue()}")
        changed = written(files)
        files |= changed
        text = {"stdout": hashlib.sha256(out.getvalue().encode()).hexdigest()[:16]} if out.getvalue() else {}
        found[" ".join(line.split())] = changed | text
    return found


def expanded(word: str) -> Iterator[str]:
    """A word of a command line, or the paths that its pattern stands for."""
    if "*" in word:
        yield from sorted(path.as_posix() for path in Path().glob(word))
    else:
        yield word


def machine() -> dict[str, str]:
    """What the last bits of a floating-point result depend on."""
    processor = platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        flags = next((line for line in lines if line.startswith("flags")), "")
        processor += " " + hashlib.sha256(flags.encode()).hexdigest()[:12]
    packages = ("av", "h5py", "lxml", "matplotlib", "numpy", "scipy", "scenedetect-headless", "torch")
    return {"python": platform.python_version(), "processor": processor} | {
        name: importlib.metadata.version(name) for name in packages
    }


def main() -> None:
    if sys.argv[1] == "--machine":
        print(json.dumps(machine()))
        return
    shared = Path(sys.argv[1]).resolve()
    os.environ["HF_HUB_OFFLINE"], os.environ["OMP_NUM_THREADS"] = "1", "1"
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        found = {"machine": machine(), "outputs": digests(shared)}
        os.chdir("/")
    text = json.dumps(found, indent=1) + "\n"
    if "--pin" in sys.argv:
        PINNED.write_text(text)
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
