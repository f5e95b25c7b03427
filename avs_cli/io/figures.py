"""Figures as SVG, PNG or PDF files; equal figures give equal bytes."""

from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from avs_cli.errors import SpecError
from avs_cli.io.atomic import replacing

# Metadata in which a format would record the time or the version of the library.
_STAMPS: dict[str, dict[str, None]] = {
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
}


def figure_format(path: str) -> str:
    """The format by the suffix of the file. Raises SpecError for an unsupported one."""
    ending = Path(path).suffix.lower().lstrip(".")
    if ending not in _STAMPS:
        raise SpecError(f"{path}: figures must be .svg, .png or .pdf")
    return ending


def write_figure(path: str, figure: Figure) -> None:
    """Save a figure in the format by the suffix of the file."""
    kind = figure_format(path)
    with matplotlib.rc_context({"svg.hashsalt": "avs"}), replacing(path) as part:
        figure.savefig(part, format=kind, dpi=150, metadata=_STAMPS[kind])
