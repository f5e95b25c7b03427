"""Find shots in large video collections from a sentence."""

__version__ = "0.1.0"
