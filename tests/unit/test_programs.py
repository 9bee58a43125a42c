"""Programs of other people: their output, their exit code, and their end when their time is over."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from physembed.errors import PhysEmbedError
from physembed.programs import run_program

WORDS = {"what": "box: packmol", "advice": "give less to do"}


def test_output_and_exit_code(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("17")
    program = "import os, sys; print(open('data').read(), os.environ['X']); sys.stderr.write('bad'); sys.exit(3)"
    code, output = run_program(
        [sys.executable, "-u", "-c", program], folder=tmp_path, limit_s=60, environment={"X": "y"}, **WORDS
    )
    assert (code, output) == (3, "17 y\nbad")


def test_a_program_and_what_it_started_end_with_their_time(tmp_path: Path) -> None:
    """As antechamber, which waits for sqm."""
    child = "import time\nfor i in range(100):\n    open('alive', 'a').write('x'); time.sleep(0.1)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    begin = time.monotonic()
    with pytest.raises(PhysEmbedError, match=r"^box: packmol did not finish in 2 s and was stopped; give less to do$"):
        run_program([sys.executable, "-c", parent], folder=tmp_path, limit_s=2, **WORDS)
    assert time.monotonic() - begin < 9
    time.sleep(0.5)
    size = (tmp_path / "alive").stat().st_size if (tmp_path / "alive").exists() else 0
    time.sleep(1)
    assert ((tmp_path / "alive").stat().st_size if (tmp_path / "alive").exists() else 0) == size
