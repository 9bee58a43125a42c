"""Choice of a GPU for a job when no scheduler has assigned one."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path
from typing import TextIO

DRIVER = Path("/proc/driver/nvidia/gpus")
"""Contains an entry for each GPU of the machine."""
WINDOWS = Path("/dev/dxg")
"""Exists instead of `DRIVER` if Linux runs inside Windows and shares its GPU."""
VISIBLE = "CUDA_VISIBLE_DEVICES"

_held: list[TextIO] = []


def visible_cards() -> list[str]:
    """CUDA names of the GPUs that this process may use: those in `CUDA_VISIBLE_DEVICES`, or all if it is not set."""
    if (named := os.environ.get(VISIBLE)) is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    if DRIVER.is_dir():
        return [str(number) for number in range(len(list(DRIVER.iterdir())))]
    return ["0"] if WINDOWS.exists() else []


def take_card(folder: str | Path | None = None) -> str | None:
    """Reserve one of several GPUs, the one used by the fewest other processes, until this process ends.

    Call this before CUDA is initialised, which then sees no other GPU. Processes of this user that call this function
    are counted by the files that they lock; the locks disappear with the processes, however these end. With at most
    one GPU, as assigned by a scheduler, there is nothing to choose.

    Args:
        folder: folder of the lock files; by default one in the folder of temporary files.

    Returns:
        The GPU, or None if there was nothing to choose.
    """
    cards = visible_cards()
    if len(cards) < 2:
        return None
    locks = Path(folder or Path(tempfile.gettempdir()) / f"physembed-{os.getuid()}")
    locks.mkdir(mode=0o700, exist_ok=True)
    place = 0
    while True:
        for card in cards:
            file = (locks / f"gpu-{card}-{place}".replace("/", "_")).open("w")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                continue
            _held.append(file)
            os.environ[VISIBLE] = card
            return card
        place += 1
