"""The packets of a video that need not be decoded where only the frames at some times are wanted.

Frames to which no other frame refers are left out, and the frames between the last wanted one and the next restart of
the stream. What is decoded has the pixels that it has among all frames. Only H.264 is known to give one frame per
packet and to tell such frames apart; of other streams, and after any sign of damage, all frames are decoded.
"""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

# Packets that are read ahead. H.264 reorders 16 frames at most; more of them show that a restart is near.
AHEAD = 64
# Frames on either side of a wanted time that are decoded.
NEAR = 1
SLACK = 1e-3  # seconds
IDR = 5  # the type of H.264's unit of data before which nothing is referred to


class Selection:
    """The wanted times of a video, in seconds from its first frame; all frames are decoded until some are given."""

    def __init__(self, stream: Any, start: float):
        self.stream, self.start = stream, start
        self._times: Sequence[float] = ()
        self._plain = True
        # Of the last packets, in order.
        self._stamps: list[float] = []

    def want(self, times: Sequence[float]) -> None:
        """Decode only what the frames next to these ascending times need."""
        context = self.stream.codec_context
        if self._plain and context.name == "h264" and context.thread_count == 1:
            self._times = times

    def decode_all(self) -> None:
        """Decode all frames from here on."""
        self._plain, self._times = False, ()

    def check(self, frame: Any, stamp: float) -> None:
        """Decode all frames from here on if this one is not what its packet promised."""
        if self._plain and (frame.is_corrupt or frame.interlaced_frame or not self._knows(stamp)):
            self.decode_all()

    def packets(self, packets: Iterator[Any]) -> Iterator[Any]:
        """The packets to decode, in their order; the decoder skips a frame if no other one refers to it."""
        context = self.stream.codec_context
        self._stamps = []
        waiting: deque[Any] = deque()
        restarts = 0
        while True:
            ahead = AHEAD if self._times else 1
            for packet in islice(packets, max(0, ahead - len(waiting))):
                self._note(packet)
                restarts += packet.is_keyframe
                waiting.append(packet)
            if not waiting:
                return
            packet = waiting.popleft()
            restarts -= packet.is_keyframe
            needed = self._needs(packet)
            if not needed and restarts and self._ends(waiting):
                continue
            context.skip_frame = "DEFAULT" if needed else "NONREF"
            yield packet

    def _note(self, packet: Any) -> None:
        if packet.pts is None:
            if packet.size:
                self.decode_all()
        elif not packet.is_discard:
            if len(self._stamps) >= 8 * AHEAD:
                del self._stamps[: 4 * AHEAD]
            insort(self._stamps, self._stamp(packet))

    def _stamp(self, packet: Any) -> float:
        return float(packet.pts * packet.time_base) - self.start

    def _knows(self, stamp: float) -> bool:
        place = bisect_left(self._stamps, stamp - SLACK)
        return place < len(self._stamps) and self._stamps[place] <= stamp + SLACK

    def _needs(self, packet: Any) -> bool:
        """Whether a wanted time is among the neighbours of the frame. Packets still to come only draw these nearer."""
        if not self._times or packet.pts is None or packet.is_discard:
            return True
        stamp = self._stamp(packet)
        place = bisect_left(self._stamps, stamp)
        if place < NEAR:
            return True
        first = bisect_left(self._times, self._stamps[place - NEAR] - SLACK)
        if first == len(self._times):
            return False
        after = place + NEAR
        return after >= len(self._stamps) or self._times[first] <= self._stamps[after] + SLACK

    def _ends(self, waiting: Iterator[Any] | deque[Any]) -> bool:
        """Whether nothing is needed before the next restart."""
        for packet in waiting:
            if packet.is_keyframe and self._restarts(packet):
                return True
            if self._needs(packet):
                return False
        return False

    def _restarts(self, packet: Any) -> bool:
        """Whether a key frame is an IDR picture: frames after another kind may refer to frames before it."""
        data, extra = bytes(packet), self.stream.codec_context.extradata or b""
        if len(extra) < 5 or extra[0] != 1:  # start codes before units
            return any(unit[0] & 31 == IDR for unit in data.split(b"\0\0\1")[1:] if unit)
        width, place = (extra[4] & 3) + 1, 0
        while place + width < len(data):
            if data[place + width] & 31 == IDR:
                return True
            place += width + int.from_bytes(data[place : place + width], "big")
        return False
