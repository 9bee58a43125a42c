"""Models that are given: what a file that is none is told to be, and what an evaluation finds of one that is."""

from __future__ import annotations

import gzip
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch_sim as ts
from mace import modules
from mace.calculators import MACECalculator

from physembed.engine.beyond_cutoff import vanishes_beyond_cutoff
from physembed.engine.liquid_model import load_liquid
from physembed.engine.mace import IsolatedMace
from physembed.errors import PhysEmbedError
from physembed.model_files.given import check_model_file
from physembed.models.check import Verdict, examine

from .models_for_tests import box, made_once, random_mace

NON_LINEAR = "RealAgnosticResidualNonLinearInteractionBlock"


@made_once
def mace(*, interaction: str = "RealAgnosticResidualInteractionBlock", **options: Any) -> torch.nn.Module:
    """A small MACE with settings that `random_mace` lacks."""
    from e3nn import o3

    torch.manual_seed(3)
    torch.set_default_dtype(torch.float64)
    try:
        return modules.ScaleShiftMACE(
            r_max=4.0, num_bessel=6, num_polynomial_cutoff=5, max_ell=1, num_interactions=2, num_elements=3,
            correlation=2,
            interaction_cls=modules.interaction_classes[interaction],
            interaction_cls_first=modules.interaction_classes[interaction],
            hidden_irreps=o3.Irreps("8x0e + 8x1o"), MLP_irreps=o3.Irreps("4x0e"), edge_irreps=o3.Irreps("8x0e + 8x1o"),
            atomic_energies=np.array([-0.1, -0.2, -0.3]), avg_num_neighbors=10.0, atomic_numbers=[1, 6, 8],
            gate=torch.nn.functional.silu, atomic_inter_scale=0.9, atomic_inter_shift=0.1, **options,
        )  # fmt: skip
    finally:
        torch.set_default_dtype(torch.float32)


CHARGED = {
    "total_charge": {"type": "continuous", "in_dim": 1, "emb_dim": 4, "per": "graph", "use_bias": True},
    "total_spin": {"type": "continuous", "in_dim": 1, "emb_dim": 4, "per": "graph", "use_bias": True},
}


def refused(path: Path) -> str:
    with pytest.raises(PhysEmbedError) as error:
        check_model_file("config: models.x.file", path, None, {})
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(f"config: models.x.file: {path}: ")
    return message.removeprefix(f"config: models.x.file: {path}: ")


# Files


def test_files_that_are_no_models_are_told_what_they_are(tmp_path: Path) -> None:
    path = tmp_path / "m.model"
    torch.save(random_mace(), path)
    whole = path.read_bytes()
    middle = bytearray(whole)
    middle[400:500] = bytes(100)  # amid data.pkl, which comes first
    for content, expected in {
        b"": "is empty",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n": "is a pointer of Git LFS",
        whole[: len(whole) // 2]: "is damaged or cut off",
        whole[:300]: "is damaged or cut off (a zip archive without its end)",
        bytes(middle): "is damaged or cut off (Bad CRC-32",
        pickle.dumps({"a": 1}): "is a plain pickle",
        gzip.compress(whole): "is compressed",
        b"\n<!DOCTYPE html><html>Not found</html>": "is a web page",
        b"hello": "is no file of torch.save",
    }.items():
        path.write_bytes(content)
        assert refused(path).startswith(expected)
    np.savez(tmp_path / "weights.npz", a=np.zeros(3))
    assert refused(tmp_path / "weights.npz").startswith("is a zip archive, but none of torch.save (it has a.npy)")


class LAMMPS_MACE(torch.nn.Module):
    """As MACE's converter for LAMMPS writes it: with the buffers of a model."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("atomic_numbers", torch.tensor([1, 6]))
        self.register_buffer("r_max", torch.tensor(5.0))
        self.register_parameter("weight", torch.nn.Parameter(torch.zeros(2)))


class AtomicDipolesMACE(LAMMPS_MACE):
    """As a model of dipoles."""


def test_converted_models_and_other_kinds_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.model"
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(path))  # type: ignore[no-untyped-call]
    assert refused(path).startswith("is a compiled model (TorchScript)")
    for thing, expected in (
        (LAMMPS_MACE(), "holds LAMMPS_MACE, converted for LAMMPS"),
        (AtomicDipolesMACE(), "holds AtomicDipolesMACE, which gives dipoles and no energy"),
        ({"model": {}, "optimizer": {}}, "holds a dictionary, as a checkpoint does"),
        (torch.nn.Linear(2, 2), "holds Linear, not a MACE model"),
        (mace(embedding_specs=CHARGED), "needs total_charge and total_spin as input; models with charge or spin"),
    ):
        torch.save(thing, path)
        assert refused(path).startswith(expected)


# Evaluations


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ordinary_models_pass(dtype: torch.dtype) -> None:
    model = random_mace((1, 6, 7, 8), r_max=5.0, dtype=dtype)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert examine(model) == Verdict(vanishes_beyond_cutoff=True)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert next(model.parameters()).dtype == dtype


def test_missing_inputs_and_energies_are_found_by_the_evaluation() -> None:
    with pytest.raises(PhysEmbedError, match="x: needs 'total_charge' as input"):
        examine(mace(embedding_specs=CHARGED), "x")
    silent = random_mace()
    forward = silent.forward

    def without_energy(*arguments: Any, **options: Any) -> dict[str, Any]:
        return {name: value for name, value in forward(*arguments, **options).items() if name != "energy"}

    silent.forward = without_energy
    with pytest.raises(PhysEmbedError, match="needs 'energy' as input, or should give it and does not"):
        examine(silent, "x")


def test_a_path_that_gives_other_numbers_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from physembed.engine.mace import LiquidMace

    edges = LiquidMace.edges

    def fewer(self: LiquidMace, state: Any) -> Any:
        first, second, vectors = edges(self, state)
        near = vectors.norm(dim=1) < 3.9
        return first[near], second[near], vectors[near]

    monkeypatch.setattr(LiquidMace, "edges", fewer)
    with pytest.raises(PhysEmbedError, match=r"x: (energy|forces|stress) differ from those of MACE's"):
        examine(random_mace(), "x")


def test_pairs_beyond_the_cutoff_are_tried() -> None:
    assert vanishes_beyond_cutoff(random_mace())
    assert vanishes_beyond_cutoff(mace(interaction=NON_LINEAR, apply_cutoff=False))
    assert not vanishes_beyond_cutoff(mace(interaction=NON_LINEAR, apply_cutoff=True))


def test_padded_lists_are_kept_from_models_that_they_would_spoil(tmp_path: Path) -> None:
    """All paths give MACE's energies; fixed shapes are those of MD on a GPU, which run on a CPU too."""
    model = mace(interaction=NON_LINEAR, apply_cutoff=True)
    torch.save(model, tmp_path / "m.model")
    assert examine(model) == Verdict(vanishes_beyond_cutoff=False)
    atoms = box(24, (9.0, 9.0, 9.0), seed=5)
    atoms.calc = MACECalculator(models=[model], device="cpu", default_dtype="float64")
    how = {"convention": "d3", "alpha": 0.0, "a1": 0.0}
    for fixed_shapes in (False, True):
        ours = load_liquid(tmp_path / "m.model", "cpu", "float64", **how, fixed_shapes=fixed_shapes)
        assert not ours.fixed_shapes
        output = ours(ts.io.atoms_to_state([atoms], device=ours.device, dtype=ours.dtype))
        assert output["energy"].item() == pytest.approx(atoms.get_potential_energy(), abs=1e-8)
        np.testing.assert_allclose(output["forces"].numpy(), atoms.get_forces(), atol=1e-8)
    torch.save(random_mace(), tmp_path / "m.model")
    assert load_liquid(tmp_path / "m.model", "cpu", "float64", **how, fixed_shapes=True).fixed_shapes


def test_isolated_molecules_of_such_models_have_no_pairs_beyond_the_cutoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, where all pairs are evaluated otherwise."""
    monkeypatch.setattr("physembed.engine.mace.PreparedMace.__init__", lambda self, *_args, **_options: None)
    device = torch.device("cuda")
    assert not IsolatedMace(random_mace(), device, torch.float64).prune
    assert IsolatedMace(mace(interaction=NON_LINEAR, apply_cutoff=True), device, torch.float64).prune
