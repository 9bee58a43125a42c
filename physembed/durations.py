"""Whole numbers of steps and frames from durations and intervals."""

from __future__ import annotations


def frame_count(duration_ps: float, timestep_fs: float, frame_interval_steps: int) -> int:
    """Frames that a run writes, one at the end of each interval."""
    return round(duration_ps * 1000 / timestep_fs) // frame_interval_steps
