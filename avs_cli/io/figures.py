"""Figures as files: SVG, PNG or PDF, equal figures as equal bytes."""

from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from avs_cli.errors import SpecError
from avs_cli.io.atomic import replacing

# What each format would otherwise stamp with the time of day or the library's version.
_STAMPS: dict[str, dict[str, None]] = {
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
}


def figure_format(path: str) -> str:
    """The format that the file's ending asks for. Raises SpecError for any other."""
    ending = Path(path).suffix.lower().lstrip(".")
    if ending not in _STAMPS:
        raise SpecError(f"{path}: figures must be .svg, .png or .pdf")
    return ending


def write_figure(path: str, figure: Figure) -> None:
    """Save a figure in the format of the file's ending."""
    kind = figure_format(path)
    with matplotlib.rc_context({"svg.hashsalt": "avs"}), replacing(path) as part:
        figure.savefig(part, format=kind, dpi=150, metadata=_STAMPS[kind])
