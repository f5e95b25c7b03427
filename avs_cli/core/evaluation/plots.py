"""The figure of an evaluation: values per topic, and precision-recall curves."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from avs_cli.core.evaluation.reports import Report

_CURVES = 10
_BLUE, _GREY = "#3b6ea5", "#444444"


def figure(report: Report, curves: Mapping[str, Sequence[tuple[float, float]]]) -> Figure:
    """Left: values of the best run per topic, by the first measure. Right: precision-recall curves.

    For one run, a line shows its median over topics; for several, a dash per topic shows the median over runs.
    """
    measure, best = report.measures[0].name, report.entries[0]
    values = best.scores.by_topic[measure]
    width = min(max(4.0, 0.28 * len(values)), 24.0)
    drawing = Figure(figsize=(width + 5.0, 4.2), layout="constrained")
    bars, recall = drawing.subplots(1, 2, width_ratios=[width, 4.0])
    _draw_bars(bars, values, best.run, measure)
    if len(report.entries) == 1:
        middle = statistics.median(values.values())
        bars.axhline(middle, color=_GREY, linestyle="--", linewidth=1, label=f"median over topics, {middle:.4f}")
    else:
        medians = [
            statistics.median(e.scores.by_topic[measure][t] for e in report.entries if t in e.scores.by_topic[measure])
            for t in values
        ]
        label = f"median of {len(report.entries)} runs"
        bars.plot(range(len(values)), medians, "_", color="black", markersize=9, markeredgewidth=2, label=label)
    # Space for the legend above the highest bar.
    bars.set_ylim(top=bars.get_ylim()[1] * 1.18)
    bars.legend(frameon=False, fontsize=8, loc="upper left", ncols=2)
    _draw_curves(recall, curves)
    return drawing


def _draw_bars(axes: Any, values: Mapping[str, float], run: str, measure: str) -> None:
    axes.bar(range(len(values)), list(values.values()), width=0.7, color=_BLUE, label=run)
    # More names than this would overlap.
    labels = list(values) if len(values) <= 100 else []
    axes.set_xticks(range(len(labels)), labels, rotation=90, fontsize=8)
    axes.set_xlim(-0.7, len(values) - 0.3)
    axes.set_ylabel(measure)
    axes.set_xlabel("topic")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_curves(axes: Any, curves: Mapping[str, Sequence[tuple[float, float]]]) -> None:
    for run, points in list(curves.items())[:_CURVES]:
        recalls, precisions = zip(*points, strict=True)
        axes.plot(recalls, precisions, marker="o", markersize=3, linewidth=1.3, label=run)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("recall (estimated)")
    axes.set_ylabel("interpolated precision (estimated)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    title = f"the best {_CURVES} of {len(curves)} runs" if len(curves) > _CURVES else None
    axes.legend(frameon=False, fontsize=7, loc="upper right", title=title, title_fontsize=7)
