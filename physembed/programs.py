"""Programs of other people, run with a limit of time."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from physembed.errors import PhysEmbedError


def run_program(
    command: Sequence[str],
    *,
    folder: Path,
    limit_s: float,
    what: str,
    advice: str,
    environment: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    """Run a program to its end, or end it and all that it has started when its time is over.

    Args:
        command: program and arguments.
        folder: where it runs.
        limit_s: time that it has.
        what: names the program at the beginning of the message.
        advice: what to do if its time is over.
        environment: instead of that of this process.

    Returns:
        Exit code and all that it printed.

    Raises:
        PhysEmbedError: its time is over.
    """
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        raise PhysEmbedError(f"{what} has not ended in {limit_s:g} s and was stopped; {advice}") from None
    finally:
        # Also where this process is interrupted: programs start programs, and a session of its own gets no Ctrl-C.
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return process.returncode, output
