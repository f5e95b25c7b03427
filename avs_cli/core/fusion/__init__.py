"""Late fusion of runs: methods, normalisations, and learning to rank."""
