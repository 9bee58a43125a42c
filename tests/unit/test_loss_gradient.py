"""Training by sweeps: energies, forces, stresses and the gradient of a loss against MACE's own automatic
differentiation, finite differences, and whole trainings with and without it."""

import logging
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from mace import data, modules
from mace.tools import AtomicNumberTable, torch_geometric

from physembed.config import Training
from physembed.config.liquids import LiquidTraining
from physembed.training import trainer
from physembed.training.loss_gradient import substituted
from physembed.training.loss_gradient.batch import pairs_of
from physembed.training.loss_gradient.plan import Unsupported, make_plan
from physembed.trajectory import write_trajectory

from .models_for_tests import made_once

from e3nn import o3  # isort: skip

FIRST, RESIDUAL = "RealAgnosticInteractionBlock", "RealAgnosticResidualInteractionBlock"
ELEMENTS = (1, 6, 8, 9)
"""Fluorine is in the models and in none of the frames."""
LOSS = modules.WeightedEnergyForcesStressLoss(energy_weight=1.0, forces_weight=10.0, stress_weight=100.0)


@pytest.fixture(autouse=True)
def double():
    """MACE makes its input in torch's default precision."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@made_once
def mace(kind=modules.ScaleShiftMACE, *, first=FIRST, **changes):
    """A MACE with random weights; unlike MACE's own default, layers of different kinds can follow each other."""
    torch.manual_seed(3)
    settings = {
        "r_max": 3.5, "num_bessel": 5, "num_polynomial_cutoff": 5, "max_ell": 2, "num_interactions": 2,
        "hidden_irreps": o3.Irreps("4x0e + 4x1o"), "MLP_irreps": o3.Irreps("6x0e"), "correlation": 3,
        "avg_num_neighbors": 7.0, "atomic_numbers": list(ELEMENTS), "num_elements": len(ELEMENTS),
        "atomic_energies": np.array([-1.0, -2.0, -3.0, -4.0]), "gate": torch.nn.functional.silu,
        "interaction_cls": modules.interaction_classes[RESIDUAL],
        "interaction_cls_first": modules.interaction_classes[first],
    } | changes  # fmt: skip
    if kind is modules.ScaleShiftMACE:
        settings |= {"atomic_inter_scale": 1.7, "atomic_inter_shift": -0.3}
    return kind(**settings)


def frames():
    """Molecules of different sizes, one atom alone, and a small periodic cell whose atoms see their own images."""
    rng = np.random.default_rng(5)
    found = [molecule(name) for name in ("CH3OH", "H2O", "C2H6")] + [Atoms("O")]
    cell = np.array([[3.1, 0.0, 0.0], [0.4, 3.3, 0.0], [-0.3, 0.5, 3.6]])
    found.append(Atoms("COH", [[0.1, 0.2, 0.0], [1.4, 0.3, 0.4], [0.5, 1.7, 1.9]], cell=cell, pbc=True))
    for atoms in found:
        atoms.positions += rng.normal(0, 0.05, atoms.positions.shape)
        atoms.info["REF_energy"] = float(rng.normal())
        atoms.info["REF_stress"] = rng.normal(0, 0.1, 6)
        atoms.arrays["REF_forces"] = rng.normal(size=atoms.positions.shape)
    return found


def batch(model, chosen=None):
    keys = data.KeySpecification(
        info_keys={"energy": "REF_energy", "stress": "REF_stress"}, arrays_keys={"forces": "REF_forces"}
    )
    table = AtomicNumberTable([int(number) for number in model.atomic_numbers])
    configurations = [data.config_from_atoms(atoms, key_specification=keys) for atoms in chosen or frames()]
    graphs = [data.AtomicData.from_config(one, z_table=table, cutoff=float(model.r_max)) for one in configurations]
    return next(iter(torch_geometric.dataloader.DataLoader(graphs, batch_size=len(graphs))))


def results(model, graphs, stress=True):
    """Output of a model, the loss and its gradient by every weight."""
    model.zero_grad()
    output = model(graphs.to_dict(), training=True, compute_force=True, compute_virials=False, compute_stress=stress)
    loss = (LOSS if stress else modules.WeightedEnergyForcesLoss(1.0, 10.0))(pred=output, ref=graphs)
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return {name: output[name].detach() for name in ("energy", "forces", *["stress"] * stress)}, loss.item(), gradients


def assert_same(one, other, rtol):
    """Equal to `rtol` of the largest entry, for each quantity and each weight."""
    for name, expected in one.items():
        if expected is None:
            assert other[name] is None, name
            continue
        scale = expected.abs().max().item()
        torch.testing.assert_close(
            other[name], expected, rtol=0, atol=rtol * scale, msg=lambda text, n=name: f"{n}: {text}"
        )


SHAPES = {
    "scalars": {"hidden_irreps": o3.Irreps("5x0e"), "max_ell": 3},
    "vectors": {},
    "second order": {"hidden_irreps": o3.Irreps("3x0e + 3x1o + 3x2e"), "correlation": 2},
    "high harmonics": {"hidden_irreps": o3.Irreps("3x0e"), "max_ell": 4, "correlation": 2},
    "three layers, the first residual": {
        "num_interactions": 3, "first": RESIDUAL, "hidden_irreps": o3.Irreps("1x0e + 1x1o"), "correlation": 1,
        "max_ell": 1,
    },
    "one layer": {"num_interactions": 1, "hidden_irreps": o3.Irreps("3x0e")},
    "repulsion": {"pair_repulsion": True, "hidden_irreps": o3.Irreps("3x0e"), "correlation": 2},
    "no scale and shift": {"kind": modules.MACE, "pair_repulsion": True, "hidden_irreps": o3.Irreps("3x0e"),
                           "correlation": 2},
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_outputs_and_gradients_are_those_of_automatic_differentiation(shape):
    model = mace(**SHAPES[shape])
    graphs = batch(model)
    expected, loss, gradients = results(model, graphs)
    with substituted(model):
        found, our_loss, our_gradients = results(model, graphs)
    assert our_loss == pytest.approx(loss, rel=1e-12)
    assert_same(expected, found, 1e-11)
    assert_same(gradients, our_gradients, 1e-10)
    assert all(gradient.abs().max() > 0 for gradient in our_gradients.values())


def test_float32_is_as_exact_as_automatic_differentiation():
    """Both differ from float64 by rounding; ours by no more than ten times what MACE's own does."""
    exact_model = mace()
    graphs = batch(exact_model)
    exact = results(exact_model, graphs)
    torch.set_default_dtype(torch.float32)
    model = mace()
    model.load_state_dict(exact_model.state_dict())
    graphs = batch(model)
    theirs = results(model, graphs)
    with substituted(model):
        ours = results(model, graphs)
    for part in (0, 2):
        for name, expected in exact[part].items():
            scale = expected.abs().max()
            their_error, our_error = (
                (one[part][name].double() - expected).abs().max() / scale for one in (theirs, ours)
            )
            assert our_error < 10 * their_error + 1e-6, name


def test_gradient_against_finite_differences():
    """Along a random direction of all weights, independent of any automatic differentiation."""
    model = mace(correlation=2)
    graphs = batch(model)
    generator = torch.Generator().manual_seed(9)
    directions = {name: torch.randn(p.shape, generator=generator) for name, p in model.named_parameters()}

    def loss_at(step):
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter += step * directions[name]
            output = model(graphs.to_dict(), compute_stress=True)
            for name, parameter in model.named_parameters():
                parameter -= step * directions[name]
            return LOSS(pred=output, ref=graphs).item()

    with substituted(model):
        _, _, gradients = results(model, graphs)
        slope = sum((gradients[name] * direction).sum().item() for name, direction in directions.items())
        h = 1e-4
        numerical = (8 * (loss_at(h) - loss_at(-h)) - (loss_at(2 * h) - loss_at(-2 * h))) / (12 * h)
    assert slope == pytest.approx(numerical, rel=1e-7)


def test_frames_without_pairs():
    model = mace(correlation=2)
    graphs = batch(model, [frames()[3], Atoms("HC", [[0, 0, 0], [0, 0, 9.0]], info={"REF_energy": 0.5})])
    assert graphs.edge_index.shape[1] == 0
    expected, loss, gradients = results(model, graphs, stress=False)
    with substituted(model):
        found, our_loss, our_gradients = results(model, graphs, stress=False)
    assert our_loss == pytest.approx(loss, rel=1e-12)
    assert_same(expected, found, 1e-12)
    for name, ours in our_gradients.items():
        torch.testing.assert_close(ours, torch.zeros_like(ours) if gradients[name] is None else gradients[name])


def test_evaluation_without_gradients_and_with_frozen_weights():
    """As the trainer validates."""
    model = mace(correlation=2)
    graphs = batch(model)
    expected, _, _ = results(model, graphs)
    with substituted(model):
        for parameter in model.parameters():
            parameter.requires_grad = False
        output = model(graphs.to_dict(), training=False, compute_force=True, compute_stress=True)
    assert_same(expected, {name: output[name] for name in expected}, 1e-11)


def test_the_model_is_left_as_it_was():
    model = mace(correlation=2)
    attributes, forward = set(vars(model)), model.forward
    with substituted(model):
        assert model.forward != forward
    assert set(vars(model)) == attributes and model.forward == forward


@pytest.mark.parametrize(
    "changes, what",
    [
        ({"correlation": 4, "max_ell": 1}, "correlation 4"),
        ({"radial_type": "gaussian"}, "GaussianBasis"),
        ({"distance_transform": "Agnesi"}, "a transformed distance"),
        ({"interaction_cls": modules.interaction_classes["RealAgnosticDensityResidualInteractionBlock"]},
         "the interaction RealAgnosticDensityResidualInteractionBlock"),
        ({"heads": ["a", "b"], "atomic_energies": np.zeros((2, 4))}, "2 heads"),
    ],
)  # fmt: skip
def test_models_with_unknown_parts_stay_as_they_are(changes, what, caplog):
    model = mace(modules.MACE, **({"correlation": 2, "hidden_irreps": o3.Irreps("2x0e")} | changes))
    with pytest.raises(Unsupported, match=what):
        make_plan(model)
    caplog.set_level(logging.WARNING)
    with substituted(model):
        assert "forward" not in vars(model)
    assert caplog.messages == [f"training: MACE's own code evaluates the model, which is slower: {what}"]


def test_each_pair_is_taken_once():
    model = mace(correlation=1)
    graphs = batch(model)
    pairs = pairs_of(model, make_plan(model), graphs.to_dict())
    assert 2 * len(pairs.first) == graphs.edge_index.shape[1]
    one_way = graphs.to_dict()
    one_way["edge_index"], one_way["shifts"], one_way["unit_shifts"] = (
        one_way["edge_index"][:, 1:], one_way["shifts"][1:], one_way["unit_shifts"][1:],
    )  # fmt: skip
    with pytest.raises(ValueError, match=f"{graphs.edge_index.shape[1] - 1} edges"):
        pairs_of(model, make_plan(model), one_way)


def train_twice(settings, chosen, folder, monkeypatch):
    """Curves and weights of a training with MACE's own code and of one with sweeps."""
    for name, part in (("train", chosen), ("validation", chosen[:2])):
        write_trajectory(folder / f"{name}.xyz", part)
    outcome = []
    for own in (False, True):
        with monkeypatch.context() as patch:
            if not own:
                patch.setattr(trainer, "_own_gradients", nullcontext)
            file = folder / f"{own}.model"
            curve = trainer.train(
                settings, folder / "train.xyz", folder / "validation.xyz",
                seed=1, restart=folder / str(own), model_file=file,
            )  # fmt: skip
        outcome.append((curve, torch.load(file, weights_only=False).state_dict()))
        assert b"physembed" not in file.read_bytes()
    return outcome


def assert_same_trainings(outcome):
    """The same losses in every epoch and the same weights at the end, to rounding."""
    (their_curve, their_weights), (our_curve, our_weights) = outcome
    np.testing.assert_allclose(our_curve.to_numpy(), their_curve.to_numpy(), rtol=1e-9)
    assert their_weights.keys() == our_weights.keys()
    for name, expected in their_weights.items():
        torch.testing.assert_close(our_weights[name], expected, rtol=1e-7, atol=1e-9, msg=name)


def test_a_training_on_molecules_is_that_of_mace_itself(tmp_path, monkeypatch):
    settings = Training(
        num_channels=4, max_L=1, max_ell=2, correlation=2, r_max_A=3.0, epochs=4, batch_size=2, device="cpu",
        dtype="float64", seeds=[1],
    )  # fmt: skip
    chosen = [atoms for atoms in frames() if not atoms.pbc.any() and len(atoms) > 1]
    assert_same_trainings(train_twice(settings, chosen, tmp_path, monkeypatch))


def test_a_training_on_a_liquid_in_two_stages_is_that_of_mace_itself(tmp_path, monkeypatch):
    settings = LiquidTraining(
        num_channels=3, max_L=0, max_ell=2, correlation=3, r_max_A=3.0, epochs=4, batch_size=2, device="cpu",
        dtype="float64", swa_start=0.5,
    )  # fmt: skip
    chosen, rng = [frames()[-1].copy() for _ in range(4)], np.random.default_rng(1)
    for atoms in chosen:
        atoms.positions += rng.normal(0, 0.05, atoms.positions.shape)
    assert_same_trainings(train_twice(settings, chosen, tmp_path, monkeypatch))
