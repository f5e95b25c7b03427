"""Locks for files that one process writes over a longer time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from avs_cli.errors import AvsError


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold `path.lock`, which the kernel releases when the process dies. Raises AvsError if another process holds it.

    Missing parent folders are created.
    """
    from filelock import FileLock, Timeout  # 15 ms, which only those who write need

    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.with_name(f"{path.name}.lock")
    try:
        held = FileLock(name, timeout=0, preserve_lock_file=True).acquire()
    except Timeout:
        raise AvsError(f"{path}: in use by another avs process; wait, or write to another file") from None
    with held:
        try:
            yield
        finally:
            # Whoever opened it just before has locked a file that is gone, which FileLock notices.
            name.unlink(missing_ok=True)
