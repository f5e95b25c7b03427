"""The Python interface: one module per stage of the command line, which combines `core` and `io`.

A stage takes paths and values, returns values, and raises the errors of `avs_cli.errors`. It knows no terminal and no
exit codes: notes and progress go to a `Reporter` (see `avs_cli.reporting`), by default to the logger `avs_cli`.
"""
