"""The standard error of the viscosity is the one found by repeating the run."""

import numpy as np
import pytest

from physembed.analysis.viscosity import estimate_viscosity
from tests.unit.shear_pressure import TEMPERATURE_K, VOLUME_A3, ou_pressure, viscosity_mPa_s

REPEATS = 18


@pytest.mark.long
def test_standard_errors_are_calibrated():
    """Deviation / standard error over repeats: mean near 0, standard deviation near 1."""
    runs = [
        estimate_viscosity(ou_pressure(100 + seed, 3, 640, 0.2), 200.0, VOLUME_A3, TEMPERATURE_K, 0.2)
        for seed in range(REPEATS)
    ]
    enough = [run for run in runs if run.status == "ok"]
    # Some runs fit fewer points than STACIE wants, and one z-score in forty exceeds 2 by chance.
    assert len(enough) >= REPEATS - 5
    found = np.array([run.viscosity_mPa_s for run in enough])
    pulls = (found - viscosity_mPa_s(1.0)) / [run.standard_error_mPa_s for run in enough]
    # STACIE's error is in proportion to the estimate, so low ones weigh more: the mean is a little below 0.
    assert abs(pulls.mean()) < 3 / np.sqrt(len(pulls)) + 0.2
    assert 0.6 < pulls.std(ddof=1) < 1.5
    assert abs(found.mean() / viscosity_mPa_s(1.0) - 1) < 0.06
