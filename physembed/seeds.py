"""Seeds of random numbers: one per task, all derived from the seed of the study."""

from __future__ import annotations

import hashlib


def derive_seed(seed: int, *names: str | int) -> int:
    """Seed of one task (31 bits), determined by the study's seed and the task's names.

    Adding a molecule, an arm or a replica therefore does not change the random numbers of the others.
    """
    text = ":".join(map(str, (seed, *names)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1
