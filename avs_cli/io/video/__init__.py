"""Videos and images: finding, decoding and sampling, in worker processes."""
