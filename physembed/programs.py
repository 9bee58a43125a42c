"""External programs, run with a time limit."""

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
    """Run a program to completion, or kill it and all its child processes at the time limit.

    Args:
        command: program and arguments.
        folder: working directory.
        limit_s: time limit.
        what: name of the program at the beginning of the message.
        advice: what to do if the time limit is reached.
        environment: replaces that of this process.

    Returns:
        Exit code and everything that it printed.

    Raises:
        PhysEmbedError: the time limit is reached.
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
        raise PhysEmbedError(f"{what} did not finish in {limit_s:g} s and was stopped; {advice}") from None
    finally:
        # Also if this process is interrupted: programs start programs, and a separate session receives no Ctrl-C.
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return process.returncode, output
