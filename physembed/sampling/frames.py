"""Selection of GAFF frames for training, validation and the starts of the stability runs."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from physembed.config import Frames
from physembed.errors import PhysEmbedError


def select_frames(trajectory: list[Atoms], settings: Frames, seed: int) -> dict[str, list[Atoms]]:
    """Draw disjoint random frames for `train`, `validation` and `starts`.

    The order of the draw is fixed, so more start frames do not change the other two sets. Each frame
    carries `info["source_frame"]`, its index in the trajectory.

    Raises:
        PhysEmbedError: if the trajectory is too short.
    """
    counts = {"train": settings.train, "validation": settings.validation, "starts": settings.starts}
    wanted = sum(counts.values())
    if wanted > len(trajectory):
        raise PhysEmbedError(f"frames: {wanted} frames wanted, but the trajectory holds {len(trajectory)}")
    order = iter(np.random.default_rng(seed).permutation(len(trajectory)))
    chosen: dict[str, list[Atoms]] = {}
    for name, count in counts.items():
        chosen[name] = []
        for _ in range(count):
            index = int(next(order))
            frame = trajectory[index].copy()
            frame.info["source_frame"] = index
            chosen[name].append(frame)
    return chosen
