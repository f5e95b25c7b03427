"""Decoding by hardware: a graphics card or the media engine of a processor, through FFmpeg. Never used unasked."""

from functools import cache
from typing import Any

import av
from av.codec import CodecContext
from av.codec.hwaccel import HWAccel, hwdevices_available

from avs_cli.errors import UnavailableError, UnknownName


@cache
def check_hardware(kind: str) -> None:
    """Raises UnknownName for a kind that FFmpeg was not built with, and UnavailableError where there is no such device.

    kind  as FFmpeg names it: "cuda", "vaapi", "videotoolbox"
    """
    known = hwdevices_available()
    if kind not in known:
        raise UnknownName("hardware decoder", kind, known)
    why = "FFmpeg was built without its decoders"
    try:
        if CodecContext.create("h264", "r", hwaccel=HWAccel(kind)).is_hwaccel:
            return
    except av.FFmpegError as error:
        why = str(error.strerror).lower()
    raise UnavailableError(f"{kind} decodes no video on this machine ({why}); leave out --hwaccel") from None


def hardware(kind: str) -> Any:
    """What PyAV opens a video with; the processor decodes what the device cannot. Raises as `check_hardware`."""
    if not kind:
        return None
    check_hardware(kind)
    return HWAccel(kind, allow_software_fallback=True)
