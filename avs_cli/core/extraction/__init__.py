"""Sampling of frames, batches of frames for an encoder, and pooling of their vectors."""

from avs_cli.types import THUMBNAIL

__all__ = ["FRAME_RATE", "THUMBNAIL"]

FRAME_RATE = 2.0  # of extracted frames: RUC's tools sample two per second
