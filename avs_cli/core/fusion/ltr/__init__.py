"""Learning to rank: one weight per run (Step 1), then logistic regression (Step 2), by cross-validation."""

# The measures that it can optimise.
OPTIMISED = ("xinfAP", "AP", "nDCG", "nDCG@k", "P@k")
