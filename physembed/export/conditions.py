"""Conditions of a run in any engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from physembed.errors import PhysEmbedError

RANGES = (
    ("temperature_K", 1e-3, 1e5),
    ("pressure_bar", -1e7, 1e7),
    ("timestep_fs", 0.01, 10.0),
    ("thermostat_ps", 1e-3, 1e3),
    ("barostat_ps", 1e-3, 1e3),
    ("seed", 0, 2**31 - 1),
)
"""What `Conditions` may be; the name says the unit."""


@dataclass(frozen=True)
class Conditions:
    """Of a run."""

    ensemble: Literal["nve", "nvt", "npt"] = "nve"
    temperature_K: float = 298.15
    """Of the thermostat and of the first momenta."""
    pressure_bar: float = 1.01325
    """Of the barostat."""
    timestep_fs: float = 1.0
    thermostat_ps: float = 0.5
    """Inverse of the friction."""
    barostat_ps: float = 1.0
    """Relaxation time of the barostat; a Monte Carlo barostat has none."""
    seed: int = 1
    """Of the first momenta and of all noise."""

    def __post_init__(self) -> None:
        """Refuse what no run has, such as a time step in another unit.

        Raises:
            PhysEmbedError: a value is out of its range.
        """
        for name, low, high in RANGES:
            value = getattr(self, name)
            if not low <= value <= high:
                raise PhysEmbedError(f"conditions: {name} is {value:g}; give a number from {low:g} to {high:g}")
