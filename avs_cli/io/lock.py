"""The right to write a file over a longer time, for one process."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from avs_cli.errors import AvsError


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold `path.lock`, which the kernel takes back from a dead process. Raises AvsError while another one holds it.

    Folders on the way to `path` that are missing are made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.with_name(f"{path.name}.lock")
    while True:
        with name.open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise AvsError(f"{path}: in use by another avs process; wait, or write to another file") from None
            # The last holder removes the file: whoever opened it just before has locked one that is gone.
            if _same(lock.fileno(), name):
                try:
                    yield
                finally:
                    name.unlink(missing_ok=True)
                return


def _same(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
