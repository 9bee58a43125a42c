"""AmberTools' programs: location and execution.

AmberTools on PATH (conda) is preferred to the copy in acpype's wheel.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
from pathlib import Path

from physembed.errors import PhysEmbedError
from physembed.programs import run_program

log = logging.getLogger(__name__)
LIMIT_S = {"antechamber": 4 * 3600, "parmchk2": 600, "tleap": 600}
"""Time limit of each program. AM1-BCC charges of 42 atoms take minutes; the rule has four hours."""


def amber_home() -> Path:
    """The folder that contains AmberTools' `bin` and `dat`.

    Raises:
        PhysEmbedError: if there is no AmberTools on PATH, in AMBERHOME or in acpype's wheel.
    """
    on_path = shutil.which("antechamber")
    spec = importlib.util.find_spec("acpype")
    candidates = [
        os.environ.get("AMBERHOME"),
        Path(on_path).resolve().parent.parent if on_path else None,
        Path(spec.origin).parent / "amber_linux" if spec and spec.origin else None,
    ]
    for candidate in candidates:
        if candidate and (Path(candidate) / "bin" / "antechamber").exists():
            return Path(candidate)
    raise PhysEmbedError(
        "topology: antechamber found neither on PATH nor in acpype's wheel; run `make install` or install ambertools"
    )


def run(program: str, *arguments: str, folder: Path) -> str:
    """Run one of AmberTools' programs in `folder` and return what it printed.

    Raises:
        PhysEmbedError: the program fails; names the missing system library if that is the cause.
    """
    home = amber_home()
    environment = os.environ | {
        "AMBERHOME": str(home),
        "PATH": f"{home / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}",
        "OMP_NUM_THREADS": "1",
    }
    command = [str(home / "bin" / program), *arguments]
    log.info("runs %s %s", program, " ".join(arguments))
    code, output = run_program(
        command,
        folder=folder,
        environment=environment,
        limit_s=LIMIT_S[program],
        what=f"topology: {program}",
        advice="set topology.charges: gasteiger, or give a topology of your own",
    )
    # sqm's own error message is in its output file; antechamber only reports that sqm failed.
    sqm = folder / "sqm.out"
    if program == "antechamber" and code != 0 and sqm.exists():
        output += sqm.read_text()
    for line in output.splitlines():
        log.debug("%s: %s", program, line)
    if "error while loading shared libraries" in output:
        library = output.split("error while loading shared libraries:")[1].split(":")[0].strip()
        raise PhysEmbedError(
            f"topology: {program} lacks the system library {library}; "
            "run `apt-get install liblapack3 libblas3 libgfortran5` as root"
        )
    if code != 0:
        last = [line.strip() for line in output.splitlines() if line.strip()][-3:]
        raise PhysEmbedError(f"topology: {program} failed (exit {code}): {' / '.join(last)}")
    return output
