"""What readers of words get of videos; see `core.words.Media`."""

from avs_cli.io.video.subtitles import cues

__all__ = ["cues"]
