"""The label of one frame: an xTB single point through tblite, with retries if its SCF does not converge.

All labels are on one potential-energy surface, that of `electronic_temperature_K`. With Fermi smearing the energy
is the electronic free energy E - T S and the forces are its derivatives, so a label at another temperature
belongs to another surface. A hot SCF is therefore used as an initial guess only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from tblite.exceptions import TBLiteRuntimeError, TBLiteValueError
from tblite.interface import Calculator, Result

from physembed.config import Labels
from physembed.errors import PhysEmbedError
from physembed.units import BOHR, HARTREE, KB

GUESSES = {"sad": 0, "eeq": 1}
"""tblite's initial guesses: superposed atomic densities (its default), electronegativity-equilibration charges."""


@dataclass(frozen=True)
class Label:
    """Result of a single point. If it did not converge, the numbers are NaN and `bond_orders` is all zero."""

    converged: bool
    """The SCF converged at the electronic temperature of the settings."""
    energy_eV: float
    """Electronic free energy at the electronic temperature, plus repulsion and dispersion."""
    forces_eV_A: np.ndarray
    """(n_atoms, 3)"""
    stress_eV_A3: np.ndarray | None
    """(6,) in ASE's order xx, yy, zz, yz, xz, xy and sign (dE/dstrain over volume); None unless periodic."""
    bond_orders: np.ndarray
    """(n_atoms, n_atoms) Wiberg bond orders."""
    scf_retries: int
    """SCF runs after the first."""
    history: str
    """Each SCF run and its outcome."""


def check_multiplicity(where: str, electrons: int, multiplicity: int | None, name: str) -> None:
    """Reject a multiplicity that is incompatible with the number of electrons; None is always accepted.

    Raises:
        PhysEmbedError: the message begins with `where` and names `name`.
    """
    if multiplicity is not None and ((electrons - multiplicity) % 2 == 0 or not 1 <= multiplicity <= electrons + 1):
        lowest = 2 if electrons % 2 else 1
        raise PhysEmbedError(
            f"{where}: {name}: multiplicity {multiplicity}: {electrons} electrons allow {lowest}, {lowest + 2}, ... "
            "(2 S + 1); give one of these"
        )


def _discard(line: str) -> None:
    """Discard tblite's printed output, which repeats its results and exceptions."""


def _calculator(
    atoms: Atoms, settings: Labels, charge: int, multiplicity: int | None, temperature_K: float, guess: str
) -> Calculator:
    """A fresh tblite calculator; a failed SCF leaves its error in an existing one."""
    periodic = bool(atoms.pbc.any())
    try:
        calculator = Calculator(
            settings.method,
            atoms.numbers,
            atoms.positions / BOHR,
            charge=float(charge),
            uhf=None if multiplicity is None else multiplicity - 1,
            lattice=atoms.cell.array / BOHR if periodic else None,
            periodic=atoms.pbc if periodic else None,
            logger=_discard,
        )
    except (TBLiteRuntimeError, TBLiteValueError) as error:
        what = f"{settings.method} cannot be set up for {atoms.get_chemical_formula()}"
        raise PhysEmbedError(f"labels: {what}: {error}; fix or remove the frame") from error
    calculator.set("verbosity", 0)
    calculator.set("accuracy", settings.accuracy)
    calculator.set("max-iter", settings.max_iterations)
    calculator.set("temperature", temperature_K * KB / HARTREE)
    calculator.set("guess", GUESSES[guess])
    return calculator


def _converge(atoms: Atoms, settings: Labels, charge: int, multiplicity: int | None) -> tuple[Result | None, list[str]]:
    """Run the SCF with retries; return the converged result, or None, and the attempts."""
    tried: list[str] = []

    def scf(temperature_K: float, guess: str, start: Result | None = None) -> Result | None:
        calculator = _calculator(atoms, settings, charge, multiplicity, temperature_K, guess)
        name = f"{temperature_K:g} K from {'that density' if start else guess}"
        try:
            result = calculator.singlepoint(start)
        except TBLiteRuntimeError as error:
            # Input errors were raised above: what fails here is the SCF, because of its iteration limit or,
            # once its density diverges, in the eigenvalue solver.
            tried.append(f"{name}: {' '.join(str(error).split())}")
            return None
        tried.append(f"{name}: converged")
        return result

    target = settings.electronic_temperature_K
    result = scf(target, "sad")
    for temperature in settings.retry_electronic_temperatures_K:
        if result is not None:
            break
        hot = scf(temperature, "eeq")
        if hot is not None:
            result = scf(target, "eeq", hot)
    return result, tried


def calculate(atoms: Atoms, settings: Labels, charge: int = 0, multiplicity: int | None = None) -> Label:
    """xTB energy, forces, stress (of a periodic frame) and bond orders of one frame.

    The first SCF runs at `electronic_temperature_K` from tblite's default guess. If it does not converge, each
    of `retry_electronic_temperatures_K` is tried from the other guess, and the resulting density starts an
    SCF at `electronic_temperature_K` again; only the result of the latter is a label.

    GFN2-xTB: Bannwarth, Ehlert, Grimme, JCTC 2019, 15, 1652.
    GFN1-xTB: Grimme, Bannwarth, Shushkov, JCTC 2017, 13, 1989.

    Args:
        atoms: positions in Å; periodic in all three directions or in none.
        settings: method, SCF and retries. The rejection rules are not applied here.
        charge: total charge in e.
        multiplicity: 2 S + 1 of the unpaired electrons, which occupy orbitals singly; xTB's energy has no other
            spin-dependent term. If None, the lowest one compatible with the number of electrons.

    Raises:
        PhysEmbedError: non-finite positions, periodicity in one or two directions, coinciding atoms, an
            element without parameters, or a multiplicity that is incompatible with the number of electrons.
    """
    check_multiplicity("labels", int(atoms.numbers.sum()) - charge, multiplicity, atoms.get_chemical_formula())
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
        formula = atoms.get_chemical_formula()
        raise PhysEmbedError(f"labels: {formula}: positions or cell not finite; fix or remove the frame")
    periodic = bool(atoms.pbc.any())
    if periodic and not atoms.pbc.all():
        raise PhysEmbedError(
            f"labels: {atoms.get_chemical_formula()}: pbc {atoms.pbc.tolist()}: xTB labels require a frame that is "
            "periodic in all three directions or in none; set pbc"
        )
    result, tried = _converge(atoms, settings, charge, multiplicity)
    count, retries, history = len(atoms), len(tried) - 1, "; ".join(tried)
    if result is None:
        stress = np.full(6, np.nan) if periodic else None
        zero = np.zeros((count, count))
        return Label(False, np.nan, np.full((count, 3), np.nan), stress, zero, retries, history)
    stress = None
    if periodic:
        # tblite's virial is dE/dstrain, in Hartree.
        stress = (result["virial"] * HARTREE / atoms.get_volume()).flat[[0, 4, 8, 5, 2, 1]]
    return Label(
        converged=True,
        energy_eV=float(result["energy"]) * HARTREE,
        forces_eV_A=-result["gradient"] * HARTREE / BOHR,
        stress_eV_A3=stress,
        # A radical has two channels, sum and difference. tblite 0.8 returns Fortran's memory as if it
        # were C's, so the channels are the first axis, not the last as its shape says.
        bond_orders=result["bond-orders"].reshape(-1, count, count)[0],
        scf_retries=retries,
        history=history,
    )
