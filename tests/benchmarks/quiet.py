"""What benchmarks run besides what they measure: commands and stages whose notes are of no interest."""

import subprocess
import sys

from avs_cli.reporting import Reporter


class Silent(Reporter):
    """Notes are dropped."""

    def note(self, message: str) -> None:
        """Drop it."""


def avs(*arguments: object) -> None:
    """Run a command; raises CalledProcessError where it fails."""
    subprocess.run([sys.executable, "-m", "avs_cli", *map(str, arguments)], check=True, stderr=subprocess.DEVNULL)
