"""Our measures in ir_measures: xinfAP, infNDCG, iP and what else of `core/evaluation/measures` it lacks.

    import ir_measures
    from avs_cli.ir_measures_provider import iP, read_qrels, xinfAP

    run = ir_measures.read_trec_run("my.run")
    ir_measures.calc_aggregate([xinfAP, iP @ 100, ir_measures.AP], read_qrels("tv21.qrels"), run)

The import registers them, so that `ir_measures.parse_measure("iP@100")` and every caller of ir_measures' default
pipeline know them too. ir_measures (0.4) looks for no plugins: its own command sees them when it is started from here,

    python -m avs_cli.ir_measures_provider tv21.qrels my.run xinfAP AP

Strata are the qrels' `iteration`, and shots that were pooled but not sampled have relevance -1. Ties are broken as
everywhere in avs, by descending shot id. As ir_measures has it, a judged topic that the run lacks counts as 0 (a rank
as infinity); NIST's script and `avs eval` leave it out.
"""

import inspect
import io
import numbers
import typing
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import ir_measures
from ir_measures.measures.base import Agg
from ir_measures.util import QrelsConverter, RunConverter, read_trec_qrels

from avs_cli.core.evaluation import evaluator
from avs_cli.errors import FormatError, MismatchError, SpecError
from avs_cli.io.pipe import read_text
from avs_cli.io.text.trec import parse_qrels
from avs_cli.types import Judgment, Qrels


def read_qrels(path: str) -> Iterator[ir_measures.Qrel]:
    """The judgments of a file for ir_measures: TRECVID's five columns, with their strata, or TREC's four.

    Raises FormatError, with the line, for five columns that are no qrels.
    """
    text = read_text(path)
    if len(text.lstrip().partition("\n")[0].split()) != 5:
        yield from read_trec_qrels(io.StringIO(text))
        return
    for topic, judgments in parse_qrels(path, text).items():
        for shot, (relevance, stratum) in judgments.items():
            yield ir_measures.Qrel(topic, shot, relevance, stratum)


class AvsMeasure(ir_measures.Measure):
    """One of our measures, as ir_measures writes them: `iP@100`, `iprec_rec@0.5`."""

    def aggregator(self) -> Agg:
        """The summary of many topics: mean, sum or median."""
        return _Summary(evaluator.measure_named(str(self)))


class _Summary(Agg):
    def __init__(self, measure: evaluator.Measure):
        self.measure = measure
        self.values: list[float] = []

    def add(self, value: float) -> None:
        self.values.append(value)

    def result(self) -> float:
        return self.measure.summary(self.values) if self.values else float("nan")


def _measure(entry: str) -> AvsMeasure:
    """An entry of our registry as a measure of ir_measures; its parameter `k` is called `cutoff` there."""
    module = evaluator.measures.module(entry)
    function = getattr(module, "part", module.score)
    kinds = typing.get_type_hints(function)
    parameters = {
        "cutoff" if name == "k" else name: ir_measures.ParamInfo(
            # A whole number is a number, too: iprec_rec@1
            dtype=numbers.Real if kinds[name] is float else int,
            default=parameter.default,
        )
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.default is not inspect.Parameter.empty
    }
    spelled = module.NAMES[0].partition("@")[0]
    name = spelled if spelled.lower().replace("_", "-") == entry else entry.replace("-", "_")
    about = {
        "__doc__": module.__doc__,
        "__name__": name,
        "NAME": name,
        "SHORT_DESC": (module.__doc__ or "").partition("\n")[0],
        "SUPPORTED_PARAMS": parameters,
        "AT_PARAM": next(iter(parameters), "cutoff"),
        "DEFAULT": float("inf") if getattr(module, "LOWER_IS_BETTER", False) else 0.0,
    }
    kind: type[AvsMeasure] = type(f"_{name}", (AvsMeasure,), about)
    return kind()


# What ir_measures has by the same name stays its own.
MEASURES: dict[str, AvsMeasure] = {
    str(measure): measure
    for measure in map(_measure, evaluator.measures.names())
    if str(measure) not in ir_measures.measures.registry
}


class AvsProvider(ir_measures.Provider):
    """Computes `MEASURES` with `core.evaluation.evaluator`."""

    NAME = "avs"
    SUPPORTED_MEASURES: list[ir_measures.Measure] = [*MEASURES.values()]  # noqa: RUF012

    def qrel_inputs(self, measures: Iterable[ir_measures.Measure]) -> list[str]:
        """The strata besides what all measures need."""
        return [*super().qrel_inputs(measures), "iteration"]

    def _evaluator(self, measures: Iterable[ir_measures.Measure], qrels: Any) -> ir_measures.Evaluator:
        return _Evaluator(list(measures), _judgments(qrels))


class _Evaluator(ir_measures.Evaluator):
    def __init__(self, measures: Collection[ir_measures.Measure], qrels: Qrels):
        super().__init__(measures, list(qrels))
        self.evaluator = evaluator.Evaluator(qrels, map(str, measures))

    def _iter_calc(self, run: Any) -> Iterator[ir_measures.Metric]:
        rankings = RunConverter(run).as_dict_of_dict()
        if rankings.keys().isdisjoint(self.evaluator.qrels):
            return  # ir_measures gives every judged topic its default
        scores = self.evaluator.evaluate(rankings)
        for measure in self.measures:
            for topic, value in scores.by_topic[str(measure)].items():
                yield ir_measures.Metric(topic, measure, value)


def _judgments(qrels: Any) -> Qrels:
    found: Qrels = {}
    for qrel in QrelsConverter(qrels).as_namedtuple_iter():
        judgment = Judgment(int(qrel.relevance), str(getattr(qrel, "iteration", "0")))
        found.setdefault(qrel.query_id, {})[qrel.doc_id] = judgment
    return found


for _one in MEASURES.values():
    ir_measures.measures.register(_one)
PROVIDER = ir_measures.providers.register(AvsProvider())  # type: ignore[no-untyped-call]
ir_measures.DefaultPipeline.providers.append(PROVIDER)


def __getattr__(name: str) -> AvsMeasure:
    try:
        return MEASURES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None


def main() -> None:
    """ir_measures' own command, with our measures and qrels of five columns."""
    from ir_measures.__main__ import main_cli

    # The command reads qrels by this name.
    ir_measures.read_trec_qrels = read_qrels
    try:
        main_cli()
    except (FormatError, MismatchError, SpecError) as error:
        raise SystemExit(f"ir_measures: {error}") from None


if __name__ == "__main__":
    main()
