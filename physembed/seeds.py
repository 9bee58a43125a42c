"""Seeds of random numbers: one for each task, all of them from the seed of the study."""

from __future__ import annotations

import hashlib


def derive_seed(seed: int, *names: str | int) -> int:
    """A seed for one task (31 bits), fixed by the study's seed and the task's names.

    Adding a molecule, an arm or a replica therefore leaves the random numbers of the others alone.
    """
    text = ":".join(map(str, (seed, *names)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1
