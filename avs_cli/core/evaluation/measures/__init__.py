"""Evaluation measures: one module per measure, each with `score(ranking, judgments, ...) -> float`.

`NAMES` are the usual names of the measure, for hints and completion; `part` computes it from the estimates of
`xinfap.infer`. Optional: `summary` of many topics, `LOWER_IS_BETTER`, `TIES_SHARE_RANKS`, `EVERY_TOPIC`.
"""

# The measures of trec_eval that papers report, by their names in ir_measures; others are supported too.
PLAIN = (
    "AP", "P@10", "P@100", "nDCG", "nDCG@10", "nDCG@20", "R@100", "R@1000", "RR", "Rprec", "Bpref", "infAP",
    "Success@10",
)  # fmt: skip
