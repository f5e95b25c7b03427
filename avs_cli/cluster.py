"""Tasks on a Dask cluster, with `--engine dask`; the only module that imports Dask.

    with cluster("tcp://head:8786") as engine:
        extract(["videos/"], "gallery.h5", "clip", engine=engine)

A cluster is what stages call an `Engine`. Its workers have the same version of avs, and see the same files under the
same names. A scheduler runs any code that it is sent: who names one trusts it.
"""

import logging
import multiprocessing
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from avs_cli import machine
from avs_cli.errors import AvsError, SpecError, UnavailableError
from avs_cli.reporting import LOGGED, Reporter

try:
    import dask
    import distributed
    from distributed.comm.addressing import parse_address
    from distributed.comm.registry import backends
except ModuleNotFoundError:
    raise UnavailableError("--engine dask needs a package: pip install 'avs-cli[dask]'") from None

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")

# Further attempts after an exception; how often a task may lose its worker is the scheduler's `allowed-failures`.
RETRIES = 2
# Seconds until a scheduler answers.
PATIENCE = 10
# Loggers of Dask, whose warnings are about its own working.
LOGGERS = ("distributed", "distributed.client", "distributed.core", "distributed.comm", "distributed.nanny")
# A model is not shared by threads, and uses all of them.
_FREE = threading.Lock()


class Cluster:
    """The workers of a scheduler; an `avs_cli.stages.engine.Engine`.

    workers  how many there are now, at least 1
    cores    of each worker, where they share this machine; 0: all those of its own
    """

    def __init__(self, client: Any, resources: dict[str, float], cores: int):
        self._client, self._resources, self.cores = client, resources, cores
        self.workers = max(1, len(_workers(client)))

    def map(
        self, function: Callable[[_Task], _Result], tasks: Sequence[_Task], *, starts_processes: bool = False
    ) -> Iterator[tuple[_Task, _Result | None]]:
        """Each task with its result, in any order; None for a task whose workers died, one after the other.

        starts_processes  the function starts processes of its own

        Raises the error of a task that failed repeatedly, AvsError when the scheduler is lost.
        """
        if not tasks:
            return
        # Keys of one group: then the scheduler keeps the tasks until a worker is free.
        group = f"{function.__name__.strip('_')}-{uuid4().hex}"
        futures = self._client.map(
            partial(_alone, os.getcwd(), starts_processes, function),
            tasks,
            key=[(group, number) for number in range(len(tasks))],
            pure=False,
            retries=RETRIES,
            resources=self._resources,
        )
        waiting = dict(zip(futures, tasks, strict=True))
        del futures
        try:
            for future in distributed.as_completed(list(waiting)):
                task = waiting.pop(future)
                if future.status == "finished":
                    yield task, future.result()
                    continue
                error = None if future.status == "cancelled" else future.exception()
                if error is None:
                    raise AvsError("the scheduler is lost; the same command resumes")
                if not isinstance(error, distributed.KilledWorker):
                    raise _ours(error)
                yield task, None
        finally:
            # Running tasks continue; their results are discarded.
            self._client.cancel(list(waiting))


@contextmanager
def cluster(scheduler: str = "", workers: int = 0, gpu: bool = False, report: Reporter = LOGGED) -> Iterator[Cluster]:
    """The cluster of a scheduler, or one on this machine while the context is open.

    scheduler  an address, or the file that the scheduler has written its address to; "" starts a cluster
    workers    of the cluster that is started; 0: one per core
    gpu        each task takes a GPU, where workers have them as the resource of that name

    Raises UnavailableError when no scheduler answers, SpecError for an address of no known kind.
    """
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with ExitStack() as stack:
        # Daemons may not start the processes that decode videos.
        settings = {"distributed.worker.daemon": False, "distributed.scheduler.worker-saturation": 1.0}
        stack.enter_context(dask.config.set(settings))
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", module="distributed")
        cores = 0
        if scheduler:
            client = stack.enter_context(_connected(scheduler))
        else:
            here = machine.cores()
            cores = max(1, here // (workers or here))
            local = distributed.LocalCluster(
                n_workers=workers or here,
                threads_per_worker=1,
                dashboard_address=None,
                memory_limit=None,  # of data that Dask holds; a model is none
                silence_logs=logging.CRITICAL,
            )
            client = stack.enter_context(distributed.Client(stack.enter_context(local)))
        described = _workers(client).values()
        if not described:
            report.note(f"{scheduler}: no workers yet; waiting for the first")
        if max((worker["nthreads"] for worker in described), default=1) > 1:
            report.note("a worker does one task at a time, whatever its threads; start several with --nthreads 1")
        gpus = gpu and any("GPU" in worker.get("resources", {}) for worker in described)
        yield Cluster(client, {"GPU": 1} if gpus else {}, cores)


def _connected(scheduler: str) -> Any:
    """A client of the scheduler at an address, or in the file that it has written."""
    named = {"address": scheduler}
    if ":" not in scheduler or Path(scheduler).is_file():
        Path(scheduler).stat()
        named = {"scheduler_file": scheduler}
    elif parse_address(scheduler)[0] not in backends:
        raise SpecError(f"{scheduler}: not the address of a scheduler, as in tcp://host:8786")
    try:
        return distributed.Client(**named, timeout=PATIENCE)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if isinstance(error, ValueError) else "no scheduler answers"
        raise UnavailableError(f"{scheduler}: {reason}; start one with: dask scheduler") from None


def _workers(client: Any) -> dict[str, Any]:
    """The workers by their addresses."""
    return dict(client.scheduler_info(n_workers=-1)["workers"])


def _alone(folder: str, starts_processes: bool, function: Callable[[_Task], _Result], task: _Task) -> _Result:
    """In a worker: the result of a task, one task at a time, in the working folder of the command."""
    where = f"the worker {distributed.get_worker().address}"
    if starts_processes and multiprocessing.current_process().daemon:
        raise UnavailableError(
            f"{where} may not start the processes that decode videos; start workers with "
            "DASK_DISTRIBUTED__WORKER__DAEMON=False in their environment"
        )
    with _FREE:
        before = os.getcwd()
        try:
            os.chdir(folder)
        except OSError:
            raise UnavailableError(f"{where} does not see {folder}; share it between all machines") from None
        try:
            return function(task)
        finally:
            os.chdir(before)


def _ours(error: BaseException) -> BaseException:
    """The error of a task, as it would be here."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ModuleNotFoundError) and (cause.name or "").partition(".")[0] == "avs_cli":
            return UnavailableError("a worker has no avs, or another version; install the same one on all machines")
        cause = cause.__cause__ or cause.__context__
    return error
