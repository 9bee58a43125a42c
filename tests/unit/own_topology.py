"""The smallest topology that a user can give: hydrogen fluoride as files of GROMACS."""

from __future__ import annotations

from pathlib import Path

TYPES = "[ atomtypes ]\nf  9 19.00 0.0 A 0.3118 0.2552\nha 1 1.008 0.0 A 0.2600 0.0628\n"
MOLECULE = """\
[ moleculetype ]
HF 3
[ atoms ]
1 f  1 HF F 1 -0.4 19.00
2 ha 1 HF H 2  0.4 1.008
[ bonds ]
1 2 1 0.0917 400000
"""
COORDINATES = """\
HF
    2
    1HF      F    1   0.000   0.000   0.000
    1HF      H    2   0.092   0.000   0.000
   2.0 2.0 2.0
"""


def write_own_topology(top: Path, *, types: str = TYPES) -> None:
    """Write `top`, and the coordinates beside it with the ending .gro; `types` may be an #include."""
    top.write_text(f"[ defaults ]\n1 2 yes 0.5 0.8333\n{types}{MOLECULE}[ system ]\nHF\n[ molecules ]\nHF 1\n")
    top.with_suffix(".gro").write_text(COORDINATES)
