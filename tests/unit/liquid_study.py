"""Results of an imagined study of liquids, with the columns of the pipeline's files.

Densities fluctuate about known means (autoregressive, relaxing from a wrong start), the tuning liquid's density lies on
a known line in a1, and a pressure of known viscosity decays exponentially. What the library makes of the densities
(equilibration, errors, tuned a1) is its own verdict.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.signal import lfilter

from physembed.analysis.density import mean_density
from physembed.analysis.scan import ScanPoint, direct_line
from physembed.report import comparison_figures, liquid_figures, scan_figures
from physembed.report.liquid_tables import LiquidFacts, density_table, viscosity_table
from physembed.report.paper_liquids import SMILES
from physembed.units import G_CM3

MASS_U = 6000.0
VARIANTS = ("uncorrected", "corrected")
LINE = {0.05: (0.98, 0.06), -0.05: (1.10, -0.055)}
"""Intercept and slope in a1 of the imagined density of EMC at each alpha."""
TARGET = 1.0061


def fact(
    name: str, parts: dict[str, float], temperature: float, density: float | None, viscosity: float | None
) -> LiquidFacts:
    text = ":".join(parts) + (" " + ":".join(f"{10 * share:g}" for share in parts.values()) if len(parts) > 1 else "")
    composition = {SMILES[part]: share for part, share in parts.items()}
    sources = ["" if value is None else "a handbook" for value in (density, viscosity)]
    return LiquidFacts(name, text, composition, temperature, density, sources[0], viscosity, sources[1])


LIQUIDS = [
    fact("EMC", {"EMC": 1.0}, 298.15, TARGET, 0.65),
    fact("EC", {"EC": 1.0}, 313.15, 1.322, None),
    fact("EC-EMC-3-7-293K", {"EC": 0.3, "EMC": 0.7}, 293.15, 1.1006, 1.11),
    fact("EC-EMC-3-7-298K", {"EC": 0.3, "EMC": 0.7}, 298.15, 1.0948, None),
    fact("EC-EMC-3-7-303K", {"EC": 0.3, "EMC": 0.7}, 303.15, 1.0890, 0.97),
    fact("EC-EMC-3-7-313K", {"EC": 0.3, "EMC": 0.7}, 313.15, 1.0775, 0.87),
    fact("EC-EMC-5-5", {"EC": 0.5, "EMC": 0.5}, 298.15, 1.1573, 1.44),
    fact("DMC", {"DMC": 1.0}, 298.15, 1.063, 0.583),
    fact("EA", {"EA": 1.0}, 298.15, 0.8937, 0.4305),
    fact("EC-EMC-7-3", {"EC": 0.7, "EMC": 0.3}, 298.15, 1.2263, 1.91),
    fact("unmeasured", {"EC": 0.1, "DMC": 0.9}, 350.0, None, None),
]


def density_series(
    rng: np.random.Generator, mean: float, n_frames: int, interval_ps: float = 0.5, fate: str = "ok"
) -> pd.DataFrame:
    """A trace that relaxes within 10 ps from 4 % below its mean, with 0.4 % of noise over 2 ps; it may end badly."""
    time = interval_ps * np.arange(1, n_frames + 1)
    decay = math.exp(-interval_ps / 2)
    noise = lfilter([math.sqrt(1 - decay**2)], [1, -decay], rng.normal(size=n_frames))
    density = mean * (1 - 0.04 * np.exp(-time / 10) + 0.004 * noise)
    if fate == "evaporated":
        density *= np.exp(-np.maximum(time - 0.6 * time[-1], 0) / (0.05 * time[-1]))
    volume = MASS_U / density / G_CM3
    if fate == "blown_up":
        volume[-1], density[-1] = np.inf, 0.0
    return pd.DataFrame({"time_ps": time, "volume_A3": volume, "density_g_cm3": density})


def judged(series: pd.DataFrame) -> dict[str, object]:
    """The columns of a run that follow from its series."""
    result = mean_density(series["time_ps"], series["volume_A3"], MASS_U)
    lost = result.status in ("evaporated", "blown_up")
    return {
        "status": result.status if lost else "ok", "reason": result.reason if lost else "",
        "length_ps": series["time_ps"].iloc[-1], "density_g_cm3": result.density_g_cm3,
        "standard_error_g_cm3": result.standard_error, "blocks": result.blocks,
        "equilibration_ps": result.equilibration_ps, "effective_samples": result.effective_samples,
        "density_status": result.status, "density_reason": result.reason, "last_window_g_cm3": result.last_200_ps_g_cm3,
    }  # fmt: skip


@dataclass
class Study:
    """Results of one model."""

    liquids: list[LiquidFacts]
    frames: int = 2000
    """Frames of each NPT run, 0.5 ps apart."""
    viscosity_ps: float = 5000.0
    """Length of each viscosity run; 94 ps are required."""
    replicas: int = 1
    alphas: tuple[float, ...] = (0.05,)
    fates: dict[tuple[str, str], str] = field(default_factory=dict)
    """What becomes of the runs of a liquid and variant, if not `ok`; `absent` for no run at all."""
    scan_fate: str = "ok"
    a1_range: tuple[float, float] = (0.0, 2.0)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(11)
        self.model, self.tuned_on = "own", self.liquids[0].name
        self._scan()
        self._npt()
        self._viscosity()

    def _scan(self) -> None:
        points = [(0.0, 0.0), *((alpha, a1) for alpha in self.alphas for a1 in (0.0, 0.4, 0.8, 1.2))]
        rows = []
        for run, (alpha, a1) in enumerate(points):
            intercept, slope = LINE.get(alpha, (0.95, 0.0))
            series = density_series(self.rng, intercept + slope * a1, self.frames, fate=self.scan_fate)
            rows.append({"run": run, "alpha": alpha, "a1": a1, **judged(series)})
        self.scan_runs = pd.DataFrame(rows)
        tunings, curves = [], [pd.DataFrame({"alpha": [], "a1": [], "density_g_cm3": [], "standard_error_g_cm3": []})]
        for alpha in self.alphas:
            row = {
                "alpha": alpha, "method": "direct", "convention": "d3", "tuned_on": self.tuned_on,
                "target_g_cm3": TARGET, "status": "unresolved", "reason": "0 runs give a density with an error",
            }  # fmt: skip
            row |= dict.fromkeys(("a1", "a1_low", "a1_high", "density_g_cm3", "standard_error_g_cm3"), math.nan)
            good = self.scan_runs.query(f"alpha == {alpha} and density_status == 'ok'")
            if len(good) >= 2:
                columns = (good["a1"], good["density_g_cm3"], good["standard_error_g_cm3"], good["blocks"] - 1)
                values = zip(*columns, strict=True)
                line = direct_line([ScanPoint(*value) for value in values], TARGET, self.a1_range)
                best = line.tuning
                row |= {
                    "status": best.status, "reason": best.reason, "a1": best.a1, "a1_low": best.a1_low,
                    "a1_high": best.a1_high, "density_g_cm3": best.density_g_cm3,
                    "standard_error_g_cm3": best.standard_error, "slope_g_cm3": line.slope,
                    "degrees_of_freedom": best.degrees_of_freedom, "f_statistic": line.f_statistic,
                    "p_value": line.p_value,
                }  # fmt: skip
                a1 = np.linspace(*self.a1_range, 41)
                design = np.column_stack([np.ones_like(a1), a1])
                errors = np.sqrt(np.einsum("gi,ij,gj->g", design, line.covariance, design))
                density = line.intercept + line.slope * a1
                values = {"alpha": alpha, "a1": a1, "density_g_cm3": density, "standard_error_g_cm3": errors}
                curves.append(pd.DataFrame(values))
            tunings.append(row)
        self.tuning, self.curve = pd.DataFrame(tunings), pd.concat(curves).assign(effective_samples=np.nan)

    def _npt(self) -> None:
        series, runs, densities = [], [], []
        for index, liquid in enumerate(self.liquids):
            true = liquid.density_g_cm3 or 1.05
            for variant, factor in (("uncorrected", 1 - 0.02 - 0.003 * index), ("corrected", 1 + 0.001 * (index - 3))):
                fate = self.fates.get((liquid.name, variant), "ok")
                if fate == "absent":
                    continue
                key = {"liquid": liquid.name, "variant": variant}
                for replica in range(self.replicas):
                    mean = TARGET if index == 0 and variant == "corrected" else factor * true
                    trace = density_series(self.rng, mean, self.frames, fate=fate)
                    series.append(trace.assign(**key, replica=replica))
                    runs.append({**key, "replica": replica, **judged(trace)})
                last = runs[-1]
                densities.append(
                    {"model": self.model, **key, "replicas": self.replicas, **last} | {
                        "status": last["density_status"], "reason": last["density_reason"],
                        "degrees_of_freedom": self.replicas * (last["blocks"] - 1),
                    }
                )  # fmt: skip
        self.series, self.runs = pd.concat(series), pd.DataFrame(runs)
        self.densities = pd.DataFrame(densities)

    def _viscosity(self) -> None:
        results, integrals = [], []
        for liquid in self.liquids:
            for variant, factor in (("uncorrected", 0.8), ("corrected", 0.97)):
                fate = self.fates.get((liquid.name, variant), "ok")
                if fate == "absent":
                    continue
                if fate != "ok":
                    lost = {"status": "insufficient", "reason": f"the NPT run {fate}"}
                    results.append({"model": self.model, "liquid": liquid.name, "variant": variant, **lost})
                    continue
                result, running = viscosity_result(
                    factor * (liquid.viscosity_mPa_s or 1.2), self.viscosity_ps, self.rng
                )
                key = {"liquid": liquid.name, "variant": variant}
                results.append({"model": self.model, **key, **result})
                integrals.append(running.assign(**key))
        columns = ["model", "liquid", "variant", "status", "reason", "viscosity_mPa_s", "standard_error_mPa_s"]
        columns += ["needed_ps", "length_ps", "replicas", "green_kubo_mPa_s", "time_decomposition_mPa_s"]
        columns += ["time_decomposition_standard_error_mPa_s"]
        self.viscosities = pd.DataFrame(results, columns=columns)
        empty = pd.DataFrame(columns=["liquid", "variant", "time_ps", "viscosity_mPa_s", "standard_error_mPa_s"])
        self.integrals = pd.concat(integrals) if integrals else empty.astype({"time_ps": float})

    @property
    def confirming(self) -> pd.DataFrame:
        return self.densities.query("liquid == @self.tuned_on and variant == 'corrected'")

    def tables(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        tuned_on = {self.model: self.tuned_on}
        return (
            density_table(self.densities, self.liquids, tuned_on),
            viscosity_table(self.viscosities, self.liquids, tuned_on),
        )

    def draw(self) -> dict[str, Figure]:
        """Every figure of the model; `structure` once."""
        densities, viscosities = self.tables()
        return {
            "density_scan": scan_figures.density_scan(self.scan_runs, self.tuning, self.curve, self.confirming),
            "densities": comparison_figures.densities(densities),
            "density_traces": liquid_figures.density_traces(self.series, self.runs, self.liquids),
            "viscosities": comparison_figures.viscosities(viscosities),
            "green_kubo": liquid_figures.green_kubo(self.integrals, self.viscosities, self.liquids),
            "volume_scan": scan_figures.volume_scan(volume_scan_table(self.replicas, labelled=self.replicas > 1)),
            "liquid_training": scan_figures.liquid_training(training_curve(stress=self.replicas > 1)),
            "structure": liquid_figures.structure(*structure_tables()),
        }


def viscosity_result(
    viscosity: float, length_ps: float, rng: np.random.Generator, tau_ps: float = 1.5
) -> tuple[dict[str, object], pd.DataFrame]:
    """Row of `viscosity.csv` and running integral of 3 replicas with an exponential autocorrelation.

    The error of the integral at lag t is that of an Ornstein-Uhlenbeck process, about 2 eta sqrt(t / (15 length)).
    """
    time = 0.01 * np.arange(int(50 * length_ps))
    error = 2 * viscosity * np.sqrt(time / (15 * length_ps))
    wander = lfilter([math.sqrt(1 - 0.9995**2)], [1, -0.9995], rng.normal(size=len(time)))
    values = viscosity * (1 - np.exp(-time / tau_ps)) + error * wander
    running = pd.DataFrame({"time_ps": time, "viscosity_mPa_s": values, "standard_error_mPa_s": error})
    needed = 20 * math.pi * tau_ps
    uncertainty = 2 * viscosity * math.sqrt(needed / 15 / length_ps) / 3
    if length_ps < needed:
        result = {
            "status": "insufficient", "viscosity_mPa_s": None, "standard_error_mPa_s": None, "needed_ps": 1.5 * needed,
            "reason": f"{length_ps:g} ps per replica, {needed:.4g} ps required", "time_decomposition_mPa_s": None,
            "time_decomposition_standard_error_mPa_s": None,
        }  # fmt: skip
    else:
        result = {
            "status": "ok", "viscosity_mPa_s": viscosity + uncertainty * rng.normal(), "needed_ps": None,
            "standard_error_mPa_s": uncertainty, "reason": "",
            "time_decomposition_mPa_s": viscosity + 1.3 * uncertainty * rng.normal(),
            "time_decomposition_standard_error_mPa_s": 1.3 * uncertainty,
        }  # fmt: skip
    rows = np.unique(np.linspace(0, len(time) - 1, 2000).astype(int))
    return result | {"length_ps": length_ps, "replicas": 3, "green_kubo_mPa_s": values[-1]}, running.iloc[rows]


def structure_tables(pairs: tuple[str, ...] = ("O-O", "C-O", "C-C", "O-H", "COM-COM")) -> tuple[pd.DataFrame, ...]:
    """Radial distributions with one shell and Gaussian angle distributions, a little apart before and after."""
    r, angle = np.arange(0.05, 10, 0.1), np.arange(0.5, 180, 1.0)
    rdf, adf = [], []
    for shift, variant in enumerate(VARIANTS):
        for index, pair in enumerate(pairs):
            g = (1 - np.exp(-((r / (3 + 0.1 * index - 0.05 * shift)) ** 12))) * (1 + 0.8 * np.exp(-((r - 4) ** 2)))
            rdf.append(pd.DataFrame({"variant": variant, "pair": pair, "r_A": r, "g": g, "g_standard_error": 0.02}))
        for index, triplet in enumerate(("C-O-C", "O-C-O")):
            width, middle = 4.0, 115 + 8 * index + shift
            density = np.exp(-((angle - middle) ** 2) / (2 * width**2)) / (width * math.sqrt(2 * math.pi))
            values = {"variant": variant, "triplet": triplet, "angle_degrees": angle, "density_per_degree": density}
            adf.append(pd.DataFrame(values | {"standard_error_per_degree": 0.001}))
    return pd.concat(rdf), pd.concat(adf)


def volume_scan_table(frames: int, labelled: bool) -> pd.DataFrame:
    """A Lennard-Jones-like energy against the scale of the box, and forces that go with it."""
    rows = []
    for frame in range(frames):
        for scale in (0.94, 0.96, 0.98, 1.0, 1.02, 1.04, 1.07, 1.1):
            for variant, depth in [("uncorrected", 0.3), ("corrected", 0.35)] + [("reference", 0.36)] * labelled:
                x = (0.96 / scale) ** 6
                rows.append(
                    {
                        "frame": frame, "scale": scale, "density_g_cm3": 1.05 / scale**3, "variant": variant,
                        "energy_eV_per_molecule": depth * (x**2 - 2 * x) + 0.002 * frame * (scale - 1),
                        "molecular_force_rms_meV_A": 300 * depth * x**2 + 100,
                        "force_change_rms_meV_A": 0.0 if variant == "uncorrected" else 12 * x,
                        "force_rmse_meV_A": 60 + 20 * x + depth if labelled and variant != "reference" else math.nan,
                    }
                )  # fmt: skip
    return pd.DataFrame(rows)


def training_curve(stress: bool, epochs: int = 800) -> pd.DataFrame:
    epoch = np.arange(epochs)
    fall = 1 + 8 * np.exp(-epoch / 90) + 0.1 * np.sin(epoch)
    curve = pd.DataFrame({"epoch": epoch, "train_loss": fall, "validation_loss": 1.4 * fall})
    curve = curve.assign(validation_rmse_energy_meV_atom=2 * fall, validation_rmse_force_meV_A=60 * fall)
    return curve.assign(validation_rmse_stress_meV_A3=0.8 * fall) if stress else curve
