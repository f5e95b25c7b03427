"""Options that apply in some uses of a command only: given on the command line in any other use, they are refused."""

from collections.abc import Mapping

import typer

from avs_cli.errors import SpecError

# A use: the words that describe it in the refusal.
Use = str


def refuse(context: typer.Context, needs: Mapping[str, tuple[Use, ...]], holds: Mapping[Use, bool]) -> None:
    """Raises SpecError for the first option on the command line that needs a use which does not hold.

    needs  the uses that an option needs all of, by its name in Python; an option that is not listed always applies
    holds  whether each use holds
    A value from the environment or from avs.toml may be meant for other runs: it is ignored where it does not apply.
    """
    for parameter in context.command.params:
        if parameter.name not in needs or not _written(context, parameter.name):
            continue
        lacking = next((use for use in needs[parameter.name] if not holds[use]), None)
        if lacking:
            raise SpecError(f"{max(parameter.opts, key=len)} applies only with {lacking}")


def _written(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
