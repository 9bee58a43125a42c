"""Viscosity of a liquid from the pressure of its replicas: STACIE's estimate and its two cross-checks as tables.

The table has one row: viscosity_mPa_s and standard_error_mPa_s (STACIE's; empty unless `status` is ok), status, reason,
needed_ps (the required length of a replica), relaxation_time_ps, length_ps, replicas, green_kubo_mPa_s (the
running integral where its scatter reaches 40 %), time_decomposition_mPa_s with its standard error and reason.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from physembed.analysis.green_kubo import running_integral, time_decomposition
from physembed.analysis.viscosity import estimate_viscosity

MAX_LAGS = 1000
"""Maximum number of rows of the running integral; longer ones are thinned evenly."""


def viscosity_table(
    pressure: np.ndarray, block_fs: float, volumes_A3: np.ndarray, temperature_K: float, relative_error: float
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The table described in the docstring of the module, and the running Green-Kubo integral.

    Args:
        pressure: (n_replicas, n_blocks, 3, 3) eV/Å^3, consecutive block averages of the pressure tensor of the
            surviving replicas, of which there may be none.
        block_fs: length of a block.
        volumes_A3: (n_replicas,) cell volumes; their mean is used.
        temperature_K: temperature of the runs.
        relative_error: required standard error / viscosity.

    Returns:
        The table, and one row per lag with time_ps, autocorrelation_GPa2, viscosity_mPa_s, standard_error_mPa_s.

    Raises:
        PhysEmbedError: a non-finite pressure tensor, or invalid values.
    """
    columns = ["time_ps", "autocorrelation_GPa2", "viscosity_mPa_s", "standard_error_mPa_s"]
    if len(pressure) == 0:
        row: dict[str, object] = {"status": "insufficient", "reason": "no replica survived", "replicas": 0}
        return _ordered(row), pd.DataFrame(columns=columns)
    volume_A3 = float(volumes_A3.mean())
    estimate = estimate_viscosity(pressure, block_fs, volume_A3, temperature_K, relative_error)
    running = running_integral(pressure, block_fs, volume_A3, temperature_K)
    fit = time_decomposition(running)
    at_cutoff = int(np.searchsorted(running.time_ps, fit.cutoff_ps))
    row = {
        "viscosity_mPa_s": estimate.viscosity_mPa_s,
        "standard_error_mPa_s": estimate.standard_error_mPa_s,
        "status": estimate.status,
        "reason": estimate.reason,
        "needed_ps": estimate.required_duration_ps,
        "relaxation_time_ps": estimate.relaxation_time_ps,
        "length_ps": estimate.duration_ps,
        "replicas": len(pressure),
        "green_kubo_mPa_s": running.viscosity_mPa_s[min(at_cutoff, len(running.time_ps) - 1)],
        "time_decomposition_mPa_s": fit.viscosity_mPa_s,
        "time_decomposition_standard_error_mPa_s": fit.standard_error_mPa_s,
        "time_decomposition_reason": fit.reason,
    }
    rows = np.unique(np.linspace(0, len(running.time_ps) - 1, MAX_LAGS).astype(int))
    return _ordered(row), running.frame().iloc[rows]


def _ordered(row: dict[str, object]) -> pd.DataFrame:
    order = [
        "viscosity_mPa_s", "standard_error_mPa_s", "status", "reason", "needed_ps", "relaxation_time_ps", "length_ps",
        "replicas", "green_kubo_mPa_s", "time_decomposition_mPa_s", "time_decomposition_standard_error_mPa_s",
        "time_decomposition_reason",
    ]  # fmt: skip
    return pd.DataFrame([row]).reindex(columns=order)
