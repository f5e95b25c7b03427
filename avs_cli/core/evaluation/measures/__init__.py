"""Evaluation measures: one module per measure, each with `score(ranking, judgments, ...) -> float`.

`NAMES` are spellings of the measure as the field writes them, for hints and completion; `part` computes it from what
`xinfap.infer` estimates. Optional: `summary` of many topics, `LOWER_IS_BETTER`, `TIES_SHARE_RANKS`, `EVERY_TOPIC`.
"""

# What trec_eval computes besides, by the names of ir_measures: those that papers report, of many more.
PLAIN = (
    "AP", "P@10", "P@100", "nDCG", "nDCG@10", "nDCG@20", "R@100", "R@1000", "RR", "Rprec", "Bpref", "infAP",
    "Success@10",
)  # fmt: skip
