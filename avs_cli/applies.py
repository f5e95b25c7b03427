"""Options that apply only in some uses of a command: on the command line of any other use, they are rejected."""

from collections.abc import Iterable

import typer

from avs_cli.errors import SpecError


def refuse(context: typer.Context, *rules: tuple[bool, Iterable[str], str]) -> None:
    """Raises SpecError for the first rule that holds and has an option on the command line.

    rules  whether a rule holds, the options without effect then (their names in Python), and where: "with --check"
    A value from the environment or avs.toml is ignored where it does not apply: it may be meant for other uses.
    """
    for holds, names, where in rules:
        if holds and (idle := written(context, *names)):
            listed = " and ".join(filter(None, [", ".join(idle[:-1]), idle[-1]]))
            raise SpecError(f"{listed} {'have' if len(idle) > 1 else 'has'} no effect {where}")


def written(context: typer.Context, *names: str) -> list[str]:
    """The given options that were set on the command line, as users write them (`--folds`)."""
    spelled = {parameter.name: max(parameter.opts, key=len) for parameter in context.command.params}
    sources = {name: context.get_parameter_source(name) for name in names}
    return [spelled[name] for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
