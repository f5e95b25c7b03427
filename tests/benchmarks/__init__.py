"""Speed and quality against stated goals and against peers: `make bench`."""
