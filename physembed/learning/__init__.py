"""Rounds of active learning: hot MD with a committee, and the choice of frames to label."""
