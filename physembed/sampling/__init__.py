"""Frames of a molecule: the choice of frames, and self-adaptive sampling of their bond lengths and angles."""

from physembed.sampling.arm import sample_frames

__all__ = ["sample_frames"]
