"""Sampling of frames, batches of frames for an encoder, and pooling of their vectors."""

FRAME_RATE = 2.0  # of extracted frames: RUC's tools sample two per second
THUMBNAIL = 320  # the default and largest width, in pixels
