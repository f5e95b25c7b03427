"""Where the tasks of a stage run if not in this process: on the workers of a cluster."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

from avs_cli.errors import SpecError

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


class Engine(Protocol):
    """Workers that see the same files under the same names; `avs_cli.cluster.cluster` gives them.

    workers  about how many there are
    cores    of each worker, where they share a machine; 0: all those of its own
    """

    workers: int
    cores: int

    def map(
        self, function: Callable[[_Task], _Result], tasks: Sequence[_Task], *, starts_processes: bool = False
    ) -> Iterator[tuple[_Task, _Result | None]]:
        """Each task with its result, in any order; None for a task whose workers died, one after the other.

        function          a function of a module; it runs in the working folder of this process
        tasks             paths and small values
        starts_processes  the function starts processes of its own

        Raises the error of a task.
        """
        ...


def check_readable(engine: Engine | None, names: Sequence[str]) -> None:
    """Raises SpecError for stdin where workers are to read it."""
    if engine is not None and "-" in (name.partition("::")[0] for name in names):
        raise SpecError("- is stdin, which the workers of a cluster cannot read; give the name of a file")
