"""Inputs from files or stdin (`-`), plain or gzip."""

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

# Limits of decompressed size: in bytes, and beyond that as a multiple of the compressed size; runs have about 10.
FREE, EXPANSION = 64 << 20, 100
PIECE = 1 << 20


def read_bytes(path: str | Path) -> bytes:
    """The content of a file or of stdin (`-`), decompressed if it is gzip."""
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
    """The path itself. Raises FormatError for a pipe or a device, whose reading may never end."""
    if path.exists() and not path.is_file():
        raise FormatError(path, "not a regular file")
    return path


def _stdin() -> bytes:
    try:
        return sys.stdin.buffer.read()
    except OSError as error:
        raise OSError(error.errno, error.strerror, "stdin") from None


def read_text(path: str | Path) -> str:
    """The content of a file or of stdin as text; UTF-8, with or without a byte order mark."""
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise FormatError(path, "not UTF-8 text", line) from None


@contextmanager
def spooled(path: str | Path) -> Iterator[Path]:
    """A seekable file, as HDF5 needs it: `path` itself, or a temporary copy of stdin for `-`."""
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
