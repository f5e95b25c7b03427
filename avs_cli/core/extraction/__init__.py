"""Which frames of a shot an encoder sees, and how their vectors become a shot's."""

FRAME_RATE = 2.0  # of extracted frames: RUC's tools sample two per second
THUMBNAIL = 320  # the default and largest width, in pixels
