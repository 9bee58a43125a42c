"""Packed boxes: numbers of molecules against brute force, contacts and density of what packmol made."""

from __future__ import annotations

import itertools

import numpy as np
import openmm
import parmed
import pytest
from ase import Atoms
from openmm import app, unit

from physembed.errors import PhysEmbedError
from physembed.liquids.box import composition_table, molecule_index, pack
from physembed.liquids.composition import cube_length_A, molecule_counts
from physembed.molecules.reading import load_topology
from physembed.molecules.structure import from_smiles, write_sdf
from physembed.molecules.topology import gaff_topology
from physembed.units import G_CM3

EC, EMC = "O=C1OCCO1", "CCOC(=O)OC"


@pytest.fixture(scope="module")
def carbonates(tmp_path_factory: pytest.TempPathFactory) -> list[parmed.Structure]:
    folder = tmp_path_factory.mktemp("carbonates")
    structures = []
    for name, smiles in (("EC", EC), ("EMC", EMC)):
        write_sdf(folder / f"{name}.sdf", from_smiles(smiles, seed=1), name)
        structures.append(gaff_topology(folder / f"{name}.sdf", parameter_set="gaff", charges="gasteiger"))
    return structures


def periodic(structure: parmed.Structure) -> Atoms:
    numbers = [atom.atomic_number for atom in structure.atoms]
    return Atoms(numbers, structure.coordinates, cell=structure.box[:3], pbc=True)


def distances(structure: parmed.Structure) -> tuple[np.ndarray, np.ndarray]:
    """Minimum-image distances between atoms of different molecules, and plain distances within molecules."""
    atoms, molecules = periodic(structure), molecule_index(structure)
    same = molecules[:, None] == molecules
    return atoms.get_all_distances(mic=True)[~same], atoms.get_all_distances(mic=False)[same]


def energy(structure: parmed.Structure, positions: np.ndarray | None = None) -> float:
    """Potential energy without a cutoff, kJ/mol; positions in Å."""
    system = structure.createSystem(nonbondedMethod=app.NoCutoff)
    context = openmm.Context(system, openmm.VerletIntegrator(1e-3), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions((structure.coordinates if positions is None else positions) * unit.angstrom)
    return context.getState(getEnergy=True).getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)


def misfit(counts: tuple[int, ...] | list[int], masses: np.ndarray, fractions: np.ndarray) -> float:
    got = np.asarray(counts) * masses
    return float(((got / got.sum() - fractions) ** 2).sum())


@pytest.mark.parametrize("components", [2, 3, 4])
def test_no_other_numbers_of_molecules_come_nearer(components: int) -> None:
    rng = np.random.default_rng(components)
    for _ in range(60):
        total = int(rng.integers(components, 16))
        masses = rng.uniform(16, 300, components)
        fractions = rng.dirichlet(np.ones(components))
        counts = molecule_counts(list(masses), list(fractions), total)
        candidates = (
            numbers for numbers in itertools.product(range(1, total + 1), repeat=components) if sum(numbers) == total
        )
        best = min(misfit(numbers, masses, fractions) for numbers in candidates)
        assert sum(counts) == total
        assert min(counts) >= 1
        assert misfit(counts, masses, fractions) == pytest.approx(best, abs=1e-12)


def test_numbers_of_molecules_that_come_out_even() -> None:
    """Equal numbers of molecules of 50 and 150 u are 1 : 3 by mass."""
    assert molecule_counts([50.0, 150.0], [0.25, 0.75], 40) == [20, 20]
    assert molecule_counts([104.1], [1.0], 80) == [80]


def test_a_trace_has_a_molecule() -> None:
    assert molecule_counts([18.0, 100.0], [1e-6, 1 - 1e-6], 8) == [1, 7]


def test_fewer_molecules_than_components() -> None:
    with pytest.raises(PhysEmbedError, match=r"^box: 1 molecules for 2 components"):
        molecule_counts([88.0, 104.0], [0.3, 0.7], 1)


def test_composition_table(carbonates: list[parmed.Structure]) -> None:
    table = composition_table(["EC", "EMC"], [EC, EMC], [0.3, 0.7], carbonates, [31, 61])
    columns = ["component", "smiles", "molecules", "atoms", "mass_fraction_wanted", "mass_fraction"]
    assert list(table.columns) == columns
    assert list(table.molecules) == [31, 61]
    assert list(table.atoms) == [31 * 10, 61 * 15]
    assert table.mass_fraction.sum() == pytest.approx(1)
    ratio = table.mass_fraction[0] / table.mass_fraction[1]
    assert ratio == pytest.approx(31 * 88.06 / (61 * 104.1), rel=1e-3)


def test_cube_of_water() -> None:
    """A mole of water weighs 18.015 g, so at 1 g/cm^3 a molecule has 18.015e24 Å^3 / 6.022e23."""
    assert cube_length_A(18.015, 1.0) ** 3 == pytest.approx(18.015e24 / 6.02214e23, rel=1e-5)


@pytest.mark.parametrize(
    ("counts", "density", "tolerance"), [([10, 20], 0.6, 2.0), ([4, 8], 0.9, 2.0), ([3, 3], 0.3, 3)]
)
def test_packed_box(carbonates: list[parmed.Structure], counts: list[int], density: float, tolerance: float) -> None:
    packed = pack(carbonates, counts, density, seed=7, tolerance_A=tolerance)
    between, within = distances(packed)
    assert between.min() > tolerance - 0.01  # packmol's own precision
    atoms = periodic(packed)
    assert np.ptp(packed.box[:3]) == 0
    assert list(packed.box[3:]) == [90, 90, 90]
    assert atoms.get_masses().sum() / atoms.get_volume() / G_CM3 == pytest.approx(density, rel=1e-9)
    # Rigid and in one piece: the distances within a molecule are those of the component.
    expected = [
        np.linalg.norm(molecule.coordinates[:, None] - molecule.coordinates, axis=2).ravel()
        for molecule, count in zip(carbonates, counts, strict=True)
        for _ in range(count)
    ]
    assert within == pytest.approx(np.concatenate(expected), abs=1e-4)
    assert [residue.name for residue in packed.residues] == ["L01"] * counts[0] + ["L02"] * counts[1]


def test_seed_fixes_the_box(carbonates: list[parmed.Structure]) -> None:
    first, again, other = (pack(carbonates, [3, 5], 0.5, seed).coordinates for seed in (1, 1, 2**31 - 1))
    assert np.array_equal(first, again)
    assert np.abs(first - other).max() > 1


def test_components_keep_their_parameters(carbonates: list[parmed.Structure]) -> None:
    """Far apart, molecules in a box have the same energies as isolated ones."""
    packed = pack(carbonates, [1, 2], 1e-6, seed=1)
    alone = energy(carbonates[0]) + 2 * energy(carbonates[1])
    assert energy(packed) == pytest.approx(alone, abs=1e-2)


def test_components_interact_as_gaff_says(carbonates: list[parmed.Structure]) -> None:
    """Between molecules act Coulomb and Lorentz-Berthelot Lennard-Jones forces, here summed over all pairs."""
    counts = [2, 3]
    packed = pack(carbonates, counts, 1.0, seed=1)
    kinds = [molecule for molecule, count in zip(carbonates, counts, strict=True) for _ in range(count)]
    charges, radii, depths = (
        np.array([getattr(atom, key) for molecule in kinds for atom in molecule.atoms])
        for key in ("charge", "rmin", "epsilon")
    )
    molecules = molecule_index(packed)
    distance = np.linalg.norm(packed.coordinates[:, None] - packed.coordinates, axis=2)
    np.fill_diagonal(distance, 1.0)
    six = ((radii[:, None] + radii) / distance) ** 6
    pairs = 332.0637 * np.outer(charges, charges) / distance + np.sqrt(np.outer(depths, depths)) * (six**2 - 2 * six)
    between = 4.184 * pairs[molecules[:, None] < molecules].sum()
    alone = 0.0
    for molecule, positions in zip(
        kinds, np.split(packed.coordinates, np.flatnonzero(np.diff(molecules)) + 1), strict=True
    ):
        alone += energy(molecule, positions)
    assert energy(packed) == pytest.approx(alone + between, abs=0.05)


def test_box_survives_its_files(carbonates: list[parmed.Structure], tmp_path) -> None:
    packed = pack(carbonates, [3, 5], 0.5, seed=1)
    packed.write_parm(str(tmp_path / "topology.prmtop"))
    packed.save(str(tmp_path / "topology.inpcrd"), format="rst7")
    read = load_topology(tmp_path / "topology.prmtop", tmp_path / "topology.inpcrd")
    assert read.box == pytest.approx(packed.box, abs=1e-6)
    assert read.coordinates == pytest.approx(packed.coordinates, abs=1e-6)
    assert np.array_equal(molecule_index(read), molecule_index(packed))
    assert energy(read) == pytest.approx(energy(packed), abs=1e-2)
    assert [residue.name for residue in read.residues] == ["L01"] * 3 + ["L02"] * 5


def test_molecule_index(carbonates: list[parmed.Structure]) -> None:
    assert list(molecule_index(pack(carbonates, [2, 1], 0.5, seed=1))) == [0] * 10 + [1] * 10 + [2] * 15
    apart = parmed.Structure()
    for index in range(3):
        apart.add_atom(parmed.Atom(name="C", atomic_number=6), "X", index)
    assert list(molecule_index(apart)) == [0, 1, 2]
    apart.bonds.append(parmed.Bond(apart.atoms[0], apart.atoms[2]))
    assert list(molecule_index(apart)) == [0, 1, 0]


def test_a_box_that_cannot_be_packed(carbonates: list[parmed.Structure]) -> None:
    length = cube_length_A(periodic(pack(carbonates, [2, 4], 0.5, seed=1)).get_masses().sum(), 3.0)
    with pytest.raises(PhysEmbedError) as raised:
        pack(carbonates, [2, 4], 3.0, seed=1)
    message = str(raised.value)
    assert message.startswith(f"box: packmol cannot put 6 molecules into a box of {length:.2f} Å (3 g/cm^3)")
    assert "lower the packing density" in message
    assert len(message.splitlines()) == 1
