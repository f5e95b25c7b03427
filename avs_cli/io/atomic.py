"""Outputs that are whole or absent: written beside the target, then renamed onto it."""

import contextlib
import errno
import gzip
import io
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

# How a write fails when there is no room, or the disk does not take it.
UNWRITTEN = frozenset({errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC})


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well, and vanishes when it does not.

    Folders on the way to `path` that are missing are made.
    """
    target = Path(path).resolve()
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if target.exists() and not target.is_file():
        with _named(path):
            yield target  # a device or a named pipe is written to, never replaced
        return
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
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


@contextmanager
def _named(path: str | Path) -> Iterator[None]:
    """Give a write that fails the name of its file."""
    try:
        yield
    except OSError as error:
        # numpy says how many numbers of an array went out, and not why no more.
        code = errno.ENOSPC if error.errno is None and "requested and" in str(error) else error.errno
        if error.filename is not None or code not in UNWRITTEN:
            raise
        raise OSError(code, os.strerror(code), str(path)) from None


def _rights(target: Path) -> int:
    """The mode of the file that is replaced; of a new one, what the user's umask gives. mkstemp makes files private."""
    if target.exists():
        return stat.S_IMODE(target.stat().st_mode)
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


@contextmanager
def writing(path: str | Path) -> Iterator[TextIO]:
    """A text stream onto `path`; `-` is stdout, `.gz` compresses (without a time stamp: equal text, equal bytes)."""
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
    """Whether an output is a folder: one that exists, or a name that ends in a slash."""
    return path.endswith("/") or Path(path).is_dir()
