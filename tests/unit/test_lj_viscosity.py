"""Viscosity of the Lennard-Jones liquid near its triple point, from replicas in one batch to STACIE."""

import numpy as np
import pytest
import torch

from physembed.analysis.viscosity import estimate_viscosity
from physembed.config_liquids import Viscosity
from physembed.md.pressure import PressureRun
from physembed.units import GPA, KB
from tests.unit.fluids import EPSILON, SIGMA, TAU_FS, LennardJones, liquid_argon

TEMPERATURE, DENSITY = 0.722, 0.8442
REPLICAS = 20


def test_viscosity_near_the_triple_point_is_that_of_the_literature(tmp_path):
    # eta* = 3.24 +- 0.04 with 2048 atoms: M. Ferrario, G. Ciccotti, B. L. Holian, J. P. Ryckaert, Phys. Rev. A 1991,
    # 44, 6936; 3.2 to 3.4 in the other work that K. Meier, A. Laesecke, S. Kabelac, J. Chem. Phys. 2004, 121, 3671
    # compare. In a box of 108 atoms it is lower: 2.6 to 3.2 in this engine's runs, with 256 atoms 2.9 to 3.3.
    model = LennardJones(cutoff=2.5, tail=False)
    settings = Viscosity(
        replicas=REPLICAS, duration_ps=29.0, equilibration_ps=3.0, timestep_fs=0.008 * TAU_FS, block_fs=0.032 * TAU_FS,
        thermostat_ps=1.0,
    )  # fmt: skip
    torch.manual_seed(0)
    run = PressureRun(
        lambda count: model, liquid_argon(model, 3, DENSITY, REPLICAS), settings,
        temperature_K=TEMPERATURE * EPSILON / KB, seed=3, restart=tmp_path,
    )  # fmt: skip
    run.run()
    assert (run.replicas().status == "ok").all()
    kelvin = run.replicas().temperature_K.mean()
    assert kelvin == pytest.approx(TEMPERATURE * EPSILON / KB, rel=0.02)
    arrays = run.arrays()
    assert np.ptp(arrays["volume_A3"]) == 0
    found = estimate_viscosity(arrays["pressure_tensor"], run.settings.block_fs, arrays["volume_A3"][0], kelvin)
    unit_mPa_s = EPSILON / SIGMA**3 / GPA * TAU_FS / 1000
    print(found)
    print(found.viscosity_mPa_s / unit_mPa_s, found.standard_error_mPa_s / unit_mPa_s)
    assert found.status == "ok", found.reason
    value, error = found.viscosity_mPa_s / unit_mPa_s, found.standard_error_mPa_s / unit_mPa_s
    assert error < 0.1 * value
    assert value == pytest.approx(3.24, abs=3 * error + 0.1 * 3.24)
