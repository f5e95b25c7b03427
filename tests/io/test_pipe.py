"""Inputs by path or pipe, plain or packed, with a byte order mark or without."""

import gzip
import io
import subprocess
import sys
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import pytest

from avs_cli.errors import FormatError
from avs_cli.io.pipe import read_bytes, read_text, spooled


def standard_input(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))


@pytest.mark.parametrize(
    "data",
    [b"661 a caf\xc3\xa9\n", b"\xef\xbb\xbf661 a caf\xc3\xa9\n", gzip.compress(b"661 a caf\xc3\xa9\n")],
    ids=["plain", "byte order mark", "gzip"],
)
def test_text_reads_the_same_by_path_and_by_pipe(data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "topics").write_bytes(data)
    standard_input(monkeypatch, data)
    assert read_text(tmp_path / "topics") == read_text("-") == "661 a café\n"


def test_gzip_is_known_by_its_bytes_and_not_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(b"not packed")
    assert read_bytes(tmp_path / "a.gz") == b"not packed"


def test_text_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "topics").write_bytes(b"661 ok\n662 caf\xe9\n")
    with pytest.raises(FormatError) as caught:
        read_text(tmp_path / "topics")
    assert str(caught.value) == f"{tmp_path}/topics:2: not UTF-8 text"


@pytest.mark.parametrize("keep", [5, 15, 25], ids=["header cut", "data cut", "checksum cut"])
def test_cut_gzip_is_refused(keep: int, tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"661 a man at a table\n" * 9)[:keep])
    with pytest.raises(FormatError, match=r"a\.gz: broken gzip data"):
        read_bytes(tmp_path / "a.gz")


def test_gzip_with_a_changed_byte_is_refused(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(bytes(range(256)) * 9))
    data[20] ^= 0xFF
    (tmp_path / "a.gz").write_bytes(data)
    with pytest.raises(FormatError, match=r"a\.gz: broken gzip data"):
        read_bytes(tmp_path / "a.gz")


def test_a_small_file_does_not_unpack_to_more_than_memory_holds(tmp_path: Path) -> None:
    """Zeros are packed to a thousandth, text to a tenth or so."""
    (tmp_path / "a.gz").write_bytes(gzip.compress(bytes(200 << 20), 6))
    tracemalloc.start()
    with pytest.raises(FormatError, match=r"a\.gz: \d+ bytes of gzip hold more than 100 times as many"):
        read_bytes(tmp_path / "a.gz")
    assert tracemalloc.get_traced_memory()[1] < 120 << 20
    tracemalloc.stop()
    text = b"".join(b"661 Q0 shot%05d_1 %d 0.5 team\n" % (n, n) for n in range(100_000))
    (tmp_path / "b.gz").write_bytes(gzip.compress(text))
    assert read_bytes(tmp_path / "b.gz") == text


def test_a_file_for_seeking_is_the_path_itself_or_a_copy_of_the_pipe_that_goes_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with spooled(tmp_path / "store.h5") as path:
        assert path == tmp_path / "store.h5"
    standard_input(monkeypatch, b"bytes of a store")
    with spooled("-") as path:
        assert path.read_bytes() == b"bytes of a store"
    assert not path.exists()


def test_a_real_pipe_is_read_to_its_end() -> None:
    program = "from avs_cli.io.pipe import read_text; print(len(read_text('-')))"
    ran = subprocess.run([sys.executable, "-c", program], input=b"x" * 300_000, capture_output=True, check=True)
    assert ran.stdout == b"300000\n"
