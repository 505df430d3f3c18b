"""What counts as held in real time, and how the largest number that is gets found. Pure."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

MOST_SKIPPED: Final = 0.01  # of the frames that were to be analysed; a camera that is late skips others, too
# A camera whose events are older by more than this at the end than at the beginning falls behind: half the lag at which
# it begins to skip. What other programs do to a machine for a moment makes less of a difference.
GROWTH_MS: Final = 250.0
REACH_MS: Final = 250.0  # for p95 of the latency; whether it is met does not decide what is held
BUSY: Final = 0.9  # of the cores, or of one core for one thread: so much is all there is
QUARTERS: Final = 4


@dataclass(frozen=True, slots=True)
class Sample:
    """One `emotion.sample` of a run. Wall clock, in seconds."""

    camera_id: str
    media_time_s: float  # of its frame, on the camera's own clock
    arrived_s: float  # the packet that completed its frame
    stored_s: float  # Redis has acknowledged it


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent of all do not exceed. `values` must not be empty."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100.0) - 1)]


def latency_ms(samples: Sequence[Sample]) -> dict[str, float] | None:
    """From the arrival of the packet to the acknowledgement; None without samples."""
    if not samples:
        return None
    spent = [1000.0 * (sample.stored_s - sample.arrived_s) for sample in samples]
    return {f"p{percent}": round(percentile(spent, percent), 2) for percent in (50, 95, 99)}


def growth_ms(samples: Sequence[Sample], began_s: float, ended_s: float) -> float:
    """By how much events of the last quarter are older than those of the first: all (p95) or the worst camera (median).

    Age counts on the camera's own clock, so that what waits unread in a socket is in it, too. A camera that told
    nothing in one of these quarters counts in `all` alone.
    """
    first, last = _ages_ms(samples, began_s, ended_s)
    grown = [0.0]
    if first and last:
        grown.append(percentile(_joined(last), 95) - percentile(_joined(first), 95))
    grown += [statistics.median(last[name]) - statistics.median(first[name]) for name in first.keys() & last.keys()]
    return round(max(grown), 2)


def why_not_held(run: Mapping[str, Any]) -> list[str]:
    """What speaks against calling a run (as `stream.bench.worker` tells it) real time; nothing when it was."""
    return list(_objections(run))


def largest(holds: Callable[[int], bool], first: int, most: int) -> int:
    """The largest number from 1 to `most` that holds, by doubling from `first` on, then halving; 0 if none does."""
    low, high = 0, first
    while high <= most and holds(high):
        low, high = high, 2 * high
    high = min(high, most + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def bound(cores: Mapping[str, float], available: int) -> str:
    """What limits a run at its limit, from the cores that each part kept busy."""
    ours = {name: spent for name, spent in cores.items() if name not in ("cameras", "machine")}
    most = max(ours, key=lambda name: ours[name])
    one_thread = cores["detect"] + cores["classify"] + cores["analysis"]
    if cores["machine"] >= BUSY * available:
        share = ours[most] / cores["machine"]
        return f"the processor: all {available} cores are busy, {share:.0%} of that with {most}"
    if one_thread >= BUSY:
        stage = max(("detect", "classify", "analysis"), key=lambda name: cores[name])
        return f"the one analysis thread: it is busy all the time, mostly with {stage}"
    return f"waiting, not the processor: {cores['machine']:.1f} of {available} cores are busy, most of it with {most}"


def _objections(run: Mapping[str, Any]) -> Iterator[str]:
    frames = run["frames"]
    if run["came"] < run["cameras"]:
        yield f"{run['cameras'] - run['came']} cameras gave no frame"
    missing = frames["wanted"] - frames["analysed"] - run["cameras"]  # the edges of the time may cost each camera one
    left_out = max(missing, sum(frames["skipped"].values()))
    if left_out >= MOST_SKIPPED * frames["wanted"]:
        yield f"{left_out} frames skipped where {frames['wanted']} were to be analysed"
    if run["growth_ms"] > GROWTH_MS:
        yield f"events became older by {run['growth_ms']:.0f} ms"


def _ages_ms(
    samples: Sequence[Sample], began_s: float, ended_s: float
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Camera -> ages of its events, in the first and in the last quarter of the time."""
    zero_s: dict[str, float] = {}  # of each camera's clock, by the packet that came soonest
    for sample in samples:
        begin_s = sample.arrived_s - sample.media_time_s
        zero_s[sample.camera_id] = min(begin_s, zero_s.get(sample.camera_id, begin_s))
    first, last = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
    quarter_s = (ended_s - began_s) / QUARTERS
    for sample in samples:
        age_ms = 1000.0 * (sample.stored_s - sample.media_time_s - zero_s[sample.camera_id])
        if sample.stored_s < began_s + quarter_s:
            first[sample.camera_id].append(age_ms)
        elif sample.stored_s >= ended_s - quarter_s:
            last[sample.camera_id].append(age_ms)
    return dict(first), dict(last)


def _joined(ages: Mapping[str, Sequence[float]]) -> list[float]:
    return [age for of_camera in ages.values() for age in of_camera]
