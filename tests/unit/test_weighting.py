"""What counts how much in a training: weights of frames by hand, and the loss over elements against its definition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from mace import modules

from physembed.analysis.frame_weights import by_bad_points, by_clusters
from physembed.training.loss_gradient import substituted
from physembed.training.trainer import train
from physembed.training.weighting import BalancedElementsLoss, balanced_elements
from physembed.trajectory import write_trajectory

from .test_loss_gradient import batch, double, frames, mace
from .test_training import TINY, labelled

__all__ = ["double"]


def test_clusters_count_the_same() -> None:
    clusters = np.array([0, 0, 0, 2, 5, 5])
    weights = by_clusters(clusters)
    np.testing.assert_allclose(weights, [2 / 3, 2 / 3, 2 / 3, 2, 1, 1])
    # The weighted mean is the mean over clusters of their means.
    errors = np.array([1.0, 2.0, 3.0, 10.0, 4.0, 6.0])
    assert np.mean(weights * errors) == pytest.approx((2 + 10 + 5) / 3)


def test_bad_points_weigh_more() -> None:
    # Mean error 3: bad are one of three, one of two and none of one; the mean ratio of the frames is 1/3.
    clusters = np.array([0, 0, 0, 1, 1, 2])
    errors = np.array([1.0, 2.0, 4.0, 1.0, 8.0, 2.0])
    np.testing.assert_allclose(by_bad_points(clusters, errors), [1, 1, 1, 1.5, 1.5, 0.5])
    # Of ten frames one is bad: ten times the mean ratio, kept at three.
    np.testing.assert_allclose(by_bad_points(np.arange(10), np.r_[5.0, np.ones(9)]), [3, *[0.5] * 9])
    np.testing.assert_array_equal(by_bad_points(clusters, np.ones(6)), np.ones(6))


def test_weights_reach_the_trainer() -> None:
    """MACE reads `config_weight` from the frames, and its loss multiplies by it."""
    chosen = frames()[:2]
    chosen[1].info["config_weight"] = 2.5
    np.testing.assert_array_equal(batch(mace(), chosen).weight.numpy(), [1.0, 2.5])


def test_the_loss_over_elements_is_its_definition() -> None:
    """Every element counts the same, whatever the number of its atoms; frames keep their weights."""
    chosen = frames()
    for number, frame in enumerate(chosen):
        frame.info["config_weight"] = 1.0 + 0.5 * number
    graphs = batch(mace(), chosen)
    rng = np.random.default_rng(1)
    energies, forces = rng.normal(size=len(chosen)), rng.normal(size=(len(graphs.positions), 3))
    found = BalancedElementsLoss(2.0, 10.0)(
        ref=graphs, pred={"energy": torch.tensor(energies), "forces": torch.tensor(forces)}
    )
    weights = [frame.info["config_weight"] for frame in chosen]
    energy = np.mean([
        weight * ((frame.info["REF_energy"] - own) / len(frame)) ** 2
        for weight, frame, own in zip(weights, chosen, energies, strict=True)
    ])  # fmt: skip
    by_element: dict[int, list[float]] = {}
    row = 0
    for weight, frame in zip(weights, chosen, strict=True):
        for number, label in zip(frame.numbers, frame.arrays["REF_forces"], strict=True):
            by_element.setdefault(int(number), []).append(weight * np.mean((label - forces[row]) ** 2))
            row += 1
    assert sorted(by_element) == [1, 6, 8]
    expected = 2 * energy + 10 * np.mean([np.mean(values) for values in by_element.values()])
    assert found.item() == pytest.approx(expected, rel=1e-12)


def test_of_one_element_it_is_the_loss_of_mace() -> None:
    chosen = [frame[frame.numbers == 1] for frame in frames()[:3]]
    for frame, source in zip(chosen, frames(), strict=False):
        frame.info |= source.info
    graphs = batch(mace(), chosen)
    pred = {"energy": torch.zeros(3), "forces": torch.zeros(len(graphs.positions), 3)}
    plain = modules.WeightedEnergyForcesLoss(2.0, 10.0)(ref=graphs, pred=pred)
    torch.testing.assert_close(BalancedElementsLoss(2.0, 10.0)(ref=graphs, pred=pred), plain, rtol=1e-12, atol=0)


def test_its_gradient_by_sweeps_is_that_of_mace() -> None:
    model = mace()
    graphs, loss = batch(model), BalancedElementsLoss(1.0, 10.0)
    gradients = []
    for by_sweeps in (False, True):
        model.zero_grad()
        if by_sweeps:
            with substituted(model):
                assert "forward" in vars(model)  # it takes this model
                loss(ref=graphs, pred=model(graphs.to_dict(), training=True)).backward()
        else:
            loss(ref=graphs, pred=model(graphs.to_dict(), training=True)).backward()
        gradients.append({name: weight.grad.clone() for name, weight in model.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-8, atol=1e-10, msg=name)


def test_the_trainer_takes_the_loss(tmp_path: Path) -> None:
    """The validation loss in its curve is that of the module, and the trainer has its own loss back afterwards."""
    from mace.cli import run_train

    before = run_train.get_loss_fn
    for name, count, seed in (("train", 6, 1), ("validation", 3, 2)):
        write_trajectory(tmp_path / f"{name}.xyz", labelled(count, seed))
    losses = []
    for by_element in (False, True):
        restart = tmp_path / f"restart{by_element}"
        curve = train(
            TINY.model_copy(update={"epochs": 1}), tmp_path / "train.xyz", tmp_path / "validation.xyz", seed=1,
            restart=restart, model_file=tmp_path / "mace.model", by_element=by_element,
        )  # fmt: skip
        losses.append(curve["validation_loss"].iloc[-1])
        log = next((restart / "logs").glob("*[0-9].log")).read_text()
        assert ("BalancedElementsLoss(energy_weight=1.000, forces_weight=100.000)" in log) == by_element
    assert abs(losses[1] / losses[0] - 1) > 1e-3
    assert run_train.get_loss_fn is before
    with pytest.raises(RuntimeError), balanced_elements():
        raise RuntimeError
    assert run_train.get_loss_fn is before
