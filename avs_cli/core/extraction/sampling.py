"""Frame sampling: times in a shot, in seconds of the video.

The default of two frames per second from the first frame is that of the AVS literature (Li et al., W2VV++,
doi:10.1145/3343031.3350906), which counts frames at a rounded rate; here frames are selected by time stamp.
"""

from avs_cli.core.models.clip.sampling import kept, one_a_second
from avs_cli.types import ProcessorSampling, Sampling

MOST_CLIPS = 10


def sample_times(start: float, end: float, sampling: Sampling, frame_rate: float) -> list[float]:
    """Sampling times between `start` and `end`, in seconds, in the order of the encoder's input.

    At least one; with `clip` > 1, a multiple of it. Times are repeated if a shot has fewer frames than the encoder
    needs.

    - `fps`: 0, 1/fps, 2/fps, … after the start; the middle of a shot that is shorter than one step.
    - `count` (with `fps` None): `count` times, evenly spaced from the first frame.
    - `count` with `fps`: the first frame of every second (as `clip_sampling.one_a_second`), of more than that many
      those that `clip_sampling.kept` spreads, of fewer the last one again and again.
    - `ProcessorSampling`: see there.
    - `clip` > 1 (without `count`): clips of `clip` frames that lie `interval` source frames apart; as many clips as fit
      side by side, at most `max_frames` // `clip` (or 10), each in the middle of its equal part of the shot; short
      shots are repeated.
    """
    frames = max(1, round((end - start) * frame_rate))
    if isinstance(sampling, ProcessorSampling):
        wanted = [index / frame_rate if frame_rate else 0.0 for index in _processors(frames, frame_rate, sampling)]
    elif sampling.count is not None and sampling.fps is None:
        wanted = (
            [index * frames // sampling.count / frame_rate for index in range(sampling.count)] if frame_rate else []
        )
        wanted = wanted or [0.0] * sampling.count
    elif sampling.count is not None:
        wanted = [index / frame_rate if frame_rate else 0.0 for index in _seconds(frames, frame_rate, sampling.count)]
    elif sampling.clip > 1:
        wanted = [index / frame_rate if frame_rate else 0.0 for index in _clip_indices(frames, sampling)]
    else:
        wanted = _thinned(_steps(end - start, sampling.fps or 2.0), sampling.max_frames)
    # Within half a frame of the end, the nearest frame is the first one of the next shot.
    latest = max(0.0, end - start - 0.5 / frame_rate) if frame_rate else 0.0
    return [start + min(time, latest) for time in wanted]


def _steps(seconds: float, fps: float) -> list[float]:
    if seconds * fps <= 1:
        return [seconds / 2]
    # 1e-6: rounding errors must not add a step, as in a shot of 1.5000000001 s.
    count = int(seconds * fps - 1e-6) + 1
    return [step / fps for step in range(count)]


def _seconds(frames: int, frame_rate: float, count: int) -> list[int]:
    found = one_a_second(frames, frame_rate)
    chosen = [found[place] for place in kept(len(found), count)]
    return chosen + chosen[-1:] * (count - len(chosen))


def _processors(frames: int, frame_rate: float, sampling: ProcessorSampling) -> list[int]:
    """The frame numbers of `sampling.count` frames of a clip."""
    assert sampling.count is not None
    if sampling.fps is None:
        return [int(place * (frames - 1) / max(1, sampling.count - 1)) for place in range(sampling.count)]
    rate = frame_rate or sampling.fps
    steps = max(1, int(frames / rate * sampling.fps))
    found = [min(frames - 1, int(step * rate / sampling.fps)) for step in range(steps)]
    chosen = [found[place] for place in kept(len(found), sampling.count)]
    return chosen + chosen[-1:] * (sampling.count - len(chosen))


def _thinned(times: list[float], most: int | None) -> list[float]:
    """At most `most` of the times, at the middles of equal parts."""
    if most is None or len(times) <= most:
        return times
    return [times[(2 * part + 1) * len(times) // (2 * most)] for part in range(most)]


def _clip_indices(frames: int, sampling: Sampling) -> list[int]:
    """The frame numbers of all clips, concatenated."""
    span = sampling.clip * sampling.interval
    most = sampling.max_frames // sampling.clip if sampling.max_frames is not None else MOST_CLIPS
    clips = max(1, min(most, frames // span))
    margin = max(0, frames - clips * span)
    firsts = [clip * span + (2 * clip + 1) * margin // (2 * clips) for clip in range(clips)]
    return [(first + step * sampling.interval) % frames for first in firsts for step in range(sampling.clip)]
