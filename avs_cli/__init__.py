"""Ad-hoc video search: find shots in large video collections with text queries."""

__version__ = "0.1.0"
