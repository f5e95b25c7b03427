"""`python -m avs_cli` is `avs`."""

from avs_cli.cli import main

main()
