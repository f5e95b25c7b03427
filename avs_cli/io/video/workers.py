"""A pool of worker processes for files that may hang or crash the library that reads them.

Each worker is controlled by a thread, which sends jobs, receives results, and waits while too many results are queued.
Workers exit when the main process dies.
"""

import contextlib
import itertools
import multiprocessing
import os
import queue
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, NamedTuple, TypeVar

from avs_cli.errors import FormatError, SpecError, UnavailableError

Job = TypeVar("Job")
Result = TypeVar("Result")

# Maximum size of queued results per worker: two minutes of video at two small frames per second.
READY_BYTES = 64 << 20

# Errors of the file that a job reads.
BAD_FILE = (FormatError, OSError, MemoryError, ValueError)

_pulse: Callable[[], None] = lambda: None  # noqa: E731


class _Stop(NamedTuple):
    """A fatal error, not caused by the file of a job."""

    error: Exception


class Broken(NamedTuple):
    """The end of a failed job, with a one-line reason."""

    message: str


def reason(error: Exception) -> str:
    """One line on an error in `BAD_FILE`."""
    if isinstance(error, FormatError):
        return str(error)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{(error.strerror or str(error)).lower()}"
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def about(path: str, message: str) -> str:
    """A message on a file, which begins with its path."""
    return message if message.startswith(path) else f"{path}: {message}"


def alive() -> None:
    """Signal that this worker is not hung. Cheap, and without effect outside workers."""
    _pulse()


def apart(
    task: Callable[[Job], Iterator[Result]],
    jobs: Sequence[Job],
    workers: int,
    timeout: float,
    size: Callable[[Result], int] = lambda result: 1 << 10,
) -> Iterator[tuple[Job, Result | Broken]]:
    """The results of `task` for each job, computed in worker processes, in the order of the jobs.

    task     a module-level function. FormatError, OSError, ValueError and the death of the process end the job with a
             Broken; other errors are raised here
    timeout  seconds without a result or a call of `alive` after which a worker is killed and replaced
    size     size of a result in bytes, to limit queued results to 64 MiB per worker
    """
    if not jobs:
        return
    crew: _Crew[Job, Result] = _Crew(task, jobs, min(workers, len(jobs)), timeout, size)
    try:
        for number, job in enumerate(jobs):
            for result in crew.results(number):
                yield job, result
    finally:
        crew.stop()


def ahead(items: Iterator[Result], count: int) -> Iterator[Result]:
    """The same items, computed by a thread up to `count` items ahead."""
    ready: queue.Queue[tuple[Result] | BaseException | None] = queue.Queue(count)
    left = threading.Event()

    def make() -> None:
        end: BaseException | None = None
        try:
            for item in items:
                ready.put((item,))
                if left.is_set():
                    return
        except BaseException as error:  # raised in the consuming thread
            end = error
        ready.put(end)

    thread = threading.Thread(target=make, daemon=True)
    thread.start()
    try:
        while isinstance(item := ready.get(), tuple):
            yield item[0]
        if item is not None:
            raise item
    finally:
        left.set()
        while thread.is_alive():
            with contextlib.suppress(queue.Empty):
                ready.get(timeout=0.01)


class _Crew(Generic[Job, Result]):
    """The threads of the workers, and the queued results."""

    def __init__(
        self,
        task: Callable[[Job], Iterator[Result]],
        jobs: Sequence[Job],
        workers: int,
        timeout: float,
        size: Callable[[Result], int],
    ):
        self.task, self.jobs, self.timeout, self.size = task, jobs, timeout, size
        self.room = workers * READY_BYTES
        self.numbers = itertools.count()
        self.ready: dict[int, deque[Result | Broken | _Stop | None]] = {}
        self.held = self.head = 0
        self.changed = threading.Condition()
        self.stopped = False
        self.processes: dict[int, BaseProcess] = {}
        self.seats: dict[int, Connection] = {}
        methods = multiprocessing.get_all_start_methods()
        self.context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
        # The fork server imports the reader once, so that new workers start in milliseconds; it never imports torch.
        if hasattr(self.context, "set_forkserver_preload"):
            self.context.set_forkserver_preload([__name__, task.__module__])
        self.threads = [threading.Thread(target=self._drive, args=(seat,), daemon=True) for seat in range(workers)]
        for thread in self.threads:
            thread.start()

    def results(self, number: int) -> Iterator[Result | Broken]:
        """The results of the next job, as they arrive."""
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.ready.get(number))
                result = self.ready[number].popleft()
                if result is None:
                    del self.ready[number]
                    self.head = number + 1
                elif not isinstance(result, Broken | _Stop):
                    self.held -= self.size(result)
                self.changed.notify_all()
            if result is None:
                return
            if isinstance(result, _Stop):
                raise result.error
            yield result

    def stop(self) -> None:
        """Kill the workers and end the threads."""
        with self.changed:
            self.stopped = True
            for process in self.processes.values():
                process.kill()
            self.changed.notify_all()
        for thread in self.threads:
            thread.join()

    def _put(self, number: int, result: Result | Broken | _Stop | None) -> None:
        # Later jobs may have filled the queue while the first one was slow: that one may always queue one result, which
        # avoids a deadlock.
        with self.changed:
            self.changed.wait_for(
                lambda: self.stopped or self.held < self.room or (number == self.head and not self.ready.get(number))
            )
            if result is not None and not isinstance(result, Broken | _Stop):
                self.held += self.size(result)
            self.ready.setdefault(number, deque()).append(result)
            self.changed.notify_all()

    def _drive(self, seat: int) -> None:
        """Send jobs to one worker; fatal errors are raised in the consuming thread."""
        number = next(self.numbers)
        try:
            while number < len(self.jobs) and self._work(seat, number):
                number = next(self.numbers)
        except Exception as error:
            self._put(number, _Stop(error))
        if (ours := self.seats.pop(seat, None)) is not None:
            ours.close()
            self.processes[seat].join()

    def _work(self, seat: int, number: int) -> bool:
        """Run one job, and remove the worker if it hangs or dies; False if the pool is stopped."""
        ours = self.seats.get(seat) or self._hire(seat)
        if ours is None:
            return False
        self.seats[seat] = ours
        try:
            ours.send(self.jobs[number])
            self._take(number, ours)
        except TimeoutError as silence:
            self._bury(seat, number, self.seats.pop(seat), str(silence))
        except (EOFError, OSError):
            self._bury(seat, number, self.seats.pop(seat), "")
        self._put(number, None)
        return True

    def _take(self, number: int, ours: Connection) -> None:
        while ours.poll(self.timeout):
            kind, value = ours.recv()
            if kind == "end":
                return
            if kind in ("broken", "stop"):
                self._put(number, Broken(value) if kind == "broken" else _Stop(value))
            elif kind == "result":
                self._put(number, value)
        raise TimeoutError(f"gave no sign of life for {self.timeout:g} s")

    def _hire(self, seat: int) -> Connection | None:
        """Start a worker, and return the connection to it; None if the pool is stopped."""
        with self.changed:
            if self.stopped:
                return None
            ours, theirs = self.context.Pipe()
            start: Callable[..., BaseProcess] = self.context.Process  # type: ignore[attr-defined]
            process = start(target=_serve, args=(self.task, theirs), daemon=True)
            process.start()
            theirs.close()
            self.processes[seat] = process
            return ours

    def _bury(self, seat: int, number: int, ours: Connection, why: str) -> None:
        ours.close()
        process = self.processes[seat]
        if why:
            process.kill()
        process.join()
        self._put(number, Broken(why or _death(process.exitcode)))


def _death(code: int | None) -> str:
    if code is not None and code < 0:
        hint = " (out of memory?)" if -code == signal.SIGKILL else ""
        return f"crashed its reader: {signal.Signals(-code).name}{hint}"
    return f"ended its reader with code {code}"


def _serve(task: Callable[[Any], Iterator[Any]], theirs: Connection) -> None:
    """The loop of a worker: receive a job, send its results, until the connection is closed."""
    # Ctrl-C is sent to all processes of the terminal; the main process kills its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    send = _voice(theirs)
    with contextlib.suppress(EOFError, OSError):
        while True:
            job = theirs.recv()
            try:
                for result in task(job):
                    send(("result", result))
            except (SpecError, UnavailableError) as error:
                send(("stop", error))
            except (BrokenPipeError, ConnectionResetError):
                raise
            except BAD_FILE as error:
                send(("broken", reason(error)))
            # An internal error, raised with its traceback in the main process.
            except Exception:
                send(("stop", RuntimeError(f"in a worker process:\n{traceback.format_exc()}")))
            send(("end", None))


def _voice(theirs: Connection) -> Callable[[tuple[str, Any]], None]:
    """A thread-safe function that sends messages; `alive` uses it too, at most once per second."""
    global _pulse
    speaking = threading.Lock()
    last = time.monotonic()

    def send(message: tuple[str, Any]) -> None:
        with speaking:
            theirs.send(message)

    def pulse() -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > 1:
            last = now
            send(("alive", None))

    _pulse = pulse
    return send


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
