"""Options that apply only in some uses of a command: on the command line of any other use, they are rejected."""

from collections.abc import Mapping

import typer

from avs_cli.errors import SpecError

# A use of a command, as error messages describe it.
Use = str


def refuse(context: typer.Context, needs: Mapping[str, tuple[Use, ...]], holds: Mapping[Use, bool]) -> None:
    """Raises SpecError for the first option on the command line that needs a use which does not hold.

    needs  the uses that an option requires, by its name in Python; an option that is not listed always applies
    holds  whether each use holds
    A value from the environment or avs.toml is ignored where it does not apply: it may be meant for other uses.
    """
    for parameter in context.command.params:
        name = str(parameter.name)
        source = context.get_parameter_source(name)
        if source is None or source.name != "COMMANDLINE":
            continue
        if lacking := [use for use in needs.get(name, ()) if not holds[use]]:
            raise SpecError(f"{max(parameter.opts, key=len)} applies only with {lacking[0]}")
