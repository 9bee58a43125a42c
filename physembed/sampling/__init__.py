"""Frames of a molecule: GAFF MD, the choice of frames, and self-adaptive bond-length sampling."""

from physembed.sampling.bond_sampling import sample_bonds

__all__ = ["sample_bonds"]
