"""Work on files that may hang or crash the library that reads them, in processes that can be killed and replaced.

Each worker is driven by a thread of ours: it hands out a job, takes what the worker sends, and waits while too much
lies ready. Workers notice when the main process is gone, so that a kill leaves no orphans.
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

# What may lie ready per worker: two minutes of video at two small pictures a second.
READY_BYTES = 64 << 20

_pulse: Callable[[], None] = lambda: None  # noqa: E731


class _Stop(NamedTuple):
    """An error that is not the job's own: it ends everything."""

    error: Exception


class Broken(NamedTuple):
    """A job that ended early, and one line that says why."""

    message: str


def alive() -> None:
    """Tell whoever waits for this worker that it is not hung; call it often, it costs nothing outside a worker."""
    _pulse()


def apart(
    task: Callable[[Job], Iterator[Result]],
    jobs: Sequence[Job],
    workers: int,
    timeout: float,
    size: Callable[[Result], int] = lambda result: 1 << 10,
) -> Iterator[tuple[Job, Result | Broken]]:
    """What `task` yields for every job, computed in other processes, in the order of the jobs.

    task     a function of a module's top level. FormatError, OSError, ValueError, and the death of its process end its
             job with a Broken; any other error ends everything and is raised here
    timeout  seconds that a worker may be silent (no result, no call of `alive`) before it is killed and replaced
    size     bytes of a result, so that no more than 64 MiB per worker lie ready, however slowly they are taken
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
    """The same items, made by a thread that runs up to `count` of them ahead."""
    ready: queue.Queue[tuple[Result] | BaseException | None] = queue.Queue(count)
    left = threading.Event()

    def make() -> None:
        end: BaseException | None = None
        try:
            for item in items:
                ready.put((item,))
                if left.is_set():
                    return
        except BaseException as error:  # it goes on in the thread that takes the items
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
    """The workers' threads, and the results that lie ready."""

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
        # The fork server imports our reader once, so that a new worker is there in milliseconds; never torch.
        if hasattr(self.context, "set_forkserver_preload"):
            self.context.set_forkserver_preload([__name__, task.__module__])
        self.threads = [threading.Thread(target=self._drive, args=(seat,), daemon=True) for seat in range(workers)]
        for thread in self.threads:
            thread.start()

    def results(self, number: int) -> Iterator[Result | Broken]:
        """The results of the next job in line, as they come."""
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
        # The jobs behind may have taken all the room while the one at the head was slow: it then puts one result at a
        # time, so that the line moves on.
        with self.changed:
            self.changed.wait_for(
                lambda: self.stopped or self.held < self.room or (number == self.head and not self.ready.get(number))
            )
            if result is not None and not isinstance(result, Broken | _Stop):
                self.held += self.size(result)
            self.ready.setdefault(number, deque()).append(result)
            self.changed.notify_all()

    def _drive(self, seat: int) -> None:
        """Give one worker job after job; a fault that is not a job's ends everything, in the thread that waits."""
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
        """Have one job done, and bury the worker when it hangs or dies; False when all are stopped."""
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
        """A new worker in this seat, by the connection to it; None when all are stopped."""
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
    """The life of a worker: a job comes in, its results go out, until the other side is gone."""
    # Ctrl-C reaches every process of the terminal; the main one decides, and kills its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    send = _voice(theirs)
    with contextlib.suppress(EOFError, OSError):
        while True:
            job = theirs.recv()
            try:
                for result in task(job):
                    send(("result", result))
            except FormatError as error:
                send(("broken", str(error)))
            except (SpecError, UnavailableError) as error:
                send(("stop", error))
            except (BrokenPipeError, ConnectionResetError):
                raise
            except OSError as error:
                where = f"{error.filename}: " if error.filename else ""
                send(("broken", f"{where}{(error.strerror or str(error)).lower()}"))
            except (MemoryError, ValueError) as error:
                send(("broken", f"{type(error).__name__}: {' '.join(str(error).split())}"))
            # A fault of ours: it ends the main process, where its traceback is seen.
            except Exception:
                send(("stop", RuntimeError(f"in a worker process:\n{traceback.format_exc()}")))
            send(("end", None))


def _voice(theirs: Connection) -> Callable[[tuple[str, Any]], None]:
    """How this worker speaks; from now on `alive` speaks too, once a second at most and from any thread."""
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
