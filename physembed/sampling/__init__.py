"""Frames of a molecule: the choice of frames, and self-adaptive sampling of their bond lengths and angles."""
