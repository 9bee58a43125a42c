"""Conversion constants between the units of the packages in use (CODATA 2014, the set ASE uses by default).

PhysEmbed's own units are eV, Å, fs, atomic mass units and K; the names of file columns include their units.
"""

from ase import units

KB = units.kB
"""Boltzmann constant in eV/K."""

FS = units.fs
"""One femtosecond in ASE's and torch-sim's unit of time, Å sqrt(u/eV)."""

HARTREE = units.Hartree
"""One Hartree in eV."""

BOHR = units.Bohr
"""One Bohr in Å."""

GPA = units.GPa
"""One GPa in eV/Å^3."""

KJ_MOL = units.kJ / units.mol
"""One kJ/mol in eV."""

G_CM3 = 1e-3 * units.kg / (1e-2 * units.m) ** 3
"""One g/cm^3 in u/Å^3."""
