"""Atomic outputs: written to a temporary file, which then replaces the target.

The name of a temporary file says which process writes it. What a killed process has left is removed by the next process
that writes into the folder.
"""

import contextlib
import errno
import gzip
import io
import os
import platform
import re
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

# Errors of a write to a full or failing disk.
UNWRITTEN = frozenset({errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC})

_PART = re.compile(r"\..+\.(?P<machine>[0-9a-f]{8})-(?P<process>\d+)-\w+\.part", re.DOTALL)
_swept: set[Path] = set()


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path that replaces `path` when the block succeeds and is removed when it fails.

    Missing parent folders are created.
    """
    target = Path(path).resolve()
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if target.exists() and not target.is_file():
        with _named(path):
            yield target  # devices and named pipes are written to, never replaced
        return
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target.parent)
        owner = f"{_machine()}-{os.getpid()}"
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.{owner}-", suffix=".part")
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    os.close(handle)
    part = Path(name)
    try:
        with _named(path):
            yield part
        part.chmod(_rights(target))
        os.replace(part, target)
    finally:
        with contextlib.suppress(FileNotFoundError):
            part.unlink()


def _machine() -> str:
    """This machine, or the container in it: where process numbers mean something."""
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        space = ""
    import hashlib  # loads OpenSSL, which what only reads does without

    return hashlib.sha256(f"{platform.node()} {space}".encode()).hexdigest()[:8]


def _sweep(folder: Path) -> None:
    """Remove temporary files of processes that are dead; once, since folders of caches hold many files."""
    if folder in _swept:
        return
    _swept.add(folder)
    ours = _machine()
    with contextlib.suppress(OSError):  # a folder that may be written to and not read
        for entry in os.scandir(folder):
            found = _PART.fullmatch(entry.name)
            if found and found["machine"] == ours and not _is_alive(int(found["process"])):
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)


def _is_alive(process: int) -> bool:
    if sys.platform == "win32":
        return True  # os.kill would end it
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass  # another user's, or no number of a process: not ours to remove
    return True


@contextmanager
def _named(path: str | Path) -> Iterator[None]:
    """Add the name of the file to errors of a failing disk."""
    try:
        yield
    except OSError as error:
        # numpy reports how many values it wrote, but no error code.
        code = errno.ENOSPC if error.errno is None and "requested and" in str(error) else error.errno
        if error.filename is not None or code not in UNWRITTEN:
            raise
        raise OSError(code, os.strerror(code), str(path)) from None


def _rights(target: Path) -> int:
    """Permissions: those of the replaced file, else those of the umask; mkstemp would make the file private."""
    if target.exists():
        return stat.S_IMODE(target.stat().st_mode)
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


@contextmanager
def writing(path: str | Path) -> Iterator[TextIO]:
    """A text stream to `path`; `-` is stdout, and `.gz` compresses, without a time stamp."""
    if str(path) == "-":
        yield sys.stdout
        sys.stdout.flush()
        return
    with replacing(path) as part:
        if str(path).endswith(".gz"):
            with (
                part.open("wb") as raw,
                gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed,
                io.TextIOWrapper(packed, encoding="utf-8", newline="\n") as text,
            ):
                yield text
        else:
            with part.open("w", encoding="utf-8", newline="\n") as text:
                yield text


def names_folder(path: str) -> bool:
    """Whether an output is a folder: an existing one, or a name with a final slash."""
    return path.endswith("/") or Path(path).is_dir()
