"""Files: atomic writes, and detection of full or read-only disks."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from physembed.errors import PhysEmbedError

NO_SPACE_BYTES = 1 << 16
"""A disk with less free space than this is considered full."""


def cache_folder() -> Path:
    """Folder for what can be made again: `PHYSEMBED_CACHE`, or `physembed` in `XDG_CACHE_HOME` or `~/.cache`.

    It need not exist or be writable. For a user without a home folder it is the `temporary_folder`.
    """
    given = os.environ.get("PHYSEMBED_CACHE")
    if given:
        return Path(given)
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 that raises
    return temporary_folder() if caches.startswith("~") else Path(caches) / "physembed"


def temporary_folder() -> Path:
    """A folder of this user among those of temporary files, for what can be made again."""
    return Path(tempfile.gettempdir()) / f"physembed-{os.getuid() if hasattr(os, 'getuid') else 'cache'}"


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; on success it replaces `path`.

    A reader sees either the old or the new content, never a part of it.

    Raises:
        PhysEmbedError: if the disk is full.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(target, os.getpid())
    try:
        yield temporary
        temporary.replace(target)
    except Exception as error:
        # Checked before the temporary file is removed, which frees space again.
        if is_full(target.parent, error):
            raise PhysEmbedError(no_space(target)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def temporary_path(path: Path, process: int) -> Path:
    """Name used by a process with this number until the file is complete."""
    # The suffix stays last, because many writers use it to select the format.
    return path.with_name(f".{path.stem}.{process}{path.suffix}")


def is_full(folder: str | Path, error: Exception) -> bool:
    """Whether an error during writing to a folder was caused by a full disk.

    Not every library reports this: torch, for example, raises a `RuntimeError` about positions in the file.
    """
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return shutil.disk_usage(folder).free < NO_SPACE_BYTES


def no_space(path: str | Path) -> str:
    """Message for the user about a full disk."""
    return f"{path}: no space left on its disk (or in its quota); make room and run again: what is finished is kept"


def check_writable(folder: str | Path) -> None:
    """Check that files can be written in a folder, or in its nearest existing parent.

    Raises:
        PhysEmbedError: if not.
    """
    nearest = Path(folder).absolute()
    while not nearest.exists():
        nearest = nearest.parent
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise PhysEmbedError(f"{folder}: cannot be written: {nearest} is read-only for this user; nothing was run")


def check_python(program: str) -> None:
    """Reject a Python whose path contains a blank: Snakemake calls it by that path, unquoted, in each job.

    Args:
        program: path of the Python that runs Snakemake (`sys.executable`). Other paths may contain blanks.

    Raises:
        PhysEmbedError: it has one.
    """
    if any(character.isspace() for character in program):
        raise PhysEmbedError(
            f"{program!r}: Snakemake cannot call a Python in a folder with a blank in its name; move PhysEmbed, or its "
            "environment, to a path without blanks and install it there again"
        )
