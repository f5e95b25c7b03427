"""Learning to rank: one weight per run (Step 1), then LambdaMART (Step 2), by cross-validation."""
