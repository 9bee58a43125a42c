"""Training of MACE on a CPU: energies, forces and the gradient of a loss by sweeps of its own instead of autograd's."""

from physembed.training.loss_gradient.substitute import substituted

__all__ = ["substituted"]
