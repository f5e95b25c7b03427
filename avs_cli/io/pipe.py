"""Inputs by path or `-`, plain or gzip."""

import gzip
import io
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from avs_cli.errors import FormatError

# A packed text may hold this much, and beyond that so many times its own bytes; runs are packed to a tenth or so.
FREE, EXPANSION = 64 << 20, 100
PIECE = 1 << 20


def read_bytes(path: str | Path) -> bytes:
    """The whole of a file or of stdin (`-`), unpacked when it is gzip."""
    data = _stdin() if str(path) == "-" else Path(path).read_bytes()
    if data[:2] == b"\x1f\x8b":
        try:
            return _unpacked(path, data)
        except (OSError, EOFError, zlib.error) as error:
            raise FormatError(path, f"broken gzip data ({error})") from None
    return data


def _unpacked(path: str | Path, data: bytes) -> bytes:
    parts, size = [], 0
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
        while part := packed.read(PIECE):
            size += len(part)
            if size > FREE + EXPANSION * len(data):
                raise FormatError(path, f"{len(data)} bytes of gzip hold more than {EXPANSION} times as many: damaged")
            parts.append(part)
    return b"".join(parts)


def regular(path: Path) -> Path:
    """A part of a folder. Raises FormatError for a pipe or a device, which may never come to an end."""
    if path.exists() and not path.is_file():
        raise FormatError(path, "not a regular file")
    return path


def _stdin() -> bytes:
    try:
        return sys.stdin.buffer.read()
    except OSError as error:
        raise OSError(error.errno, error.strerror, "stdin") from None


def read_text(path: str | Path) -> str:
    """The whole of a file or of stdin as UTF-8 text, with or without a byte order mark."""
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise FormatError(path, "not UTF-8 text", line) from None


@contextmanager
def spooled(path: str | Path) -> Iterator[Path]:
    """A real file for readers that must seek (HDF5): `path` itself, or a temporary copy of stdin for `-`."""
    if str(path) != "-":
        yield Path(path)
        return
    with tempfile.NamedTemporaryFile(prefix="avs-", suffix=".h5") as copy:
        try:
            shutil.copyfileobj(sys.stdin.buffer, copy)
            copy.flush()
        except OSError as error:
            raise OSError(error.errno, error.strerror, f"stdin (copied to {tempfile.gettempdir()})") from None
        yield Path(copy.name)
