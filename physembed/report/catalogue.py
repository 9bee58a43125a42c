"""The figures and tables of a study: name, title, category and caption of each.

Rules use these names for their outputs, the summary page shows title and caption, and Snakemake's report shows the
caption and how to read it. Snakemake takes captions from files: `python -m physembed.report.catalogue` in the root of
the project (part of `make schema`) writes `workflow/report/<name>.rst`, and a test keeps them in step.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from physembed.files import atomic


@dataclass(frozen=True)
class Item:
    """A figure, a table or a page."""

    name: str
    """Name of its file and, in a rule, of its output."""
    category: str
    """Heading under which Snakemake's report lists it."""
    title: str
    """Title in that report and on the summary page."""
    caption: str
    """What it shows."""
    reading: str = ""
    """How to read it; also shown in Snakemake's report."""

    @property
    def kind(self) -> str:
        """Its kind in Snakemake's report."""
        return {"Tables": "table", "Summary": "page"}.get(self.category, "figure")

    @property
    def caption_file(self) -> str:
        """Its file in `workflow/report/`."""
        return f"{self.name}_table.rst" if self.kind == "table" else f"{self.name}.rst"

    @property
    def rst(self) -> str:
        """Caption and reading as reStructuredText."""
        paragraphs = [self.caption, *self.reading.split("\n\n")]
        return "\n\n".join(textwrap.fill(text, 120) for text in paragraphs if text) + "\n"


def _by_name(*items: Item) -> dict[str, Item]:
    return {item.name: item for item in items}


CHAIN_FIGURES = _by_name(
    Item(
        "survival",
        "Stability",
        "Survival",
        "Fraction of surviving runs (Kaplan-Meier). Thick line: all runs of an arm, with the pointwise 95 % band; "
        "thin lines: the runs of one seed each; bars at the right: the 95 % interval at the end.",
        "The band is log-log, and exact where no run or every run collapsed.\n\n"
        "The log-rank test treats each run as independent, which runs of one model are not. The permutation test moves "
        "whole seeds between the arms and is the more reliable one; with few seeds it cannot give a small p-value. "
        "With more than two arms the p-values are corrected for the number of pairs (Holm). "
        "Look for curves of one arm that agree: a single deviating thin line is one bad model.",
    ),
    Item(
        "collapse_fraction",
        "Stability",
        "Collapsed runs",
        "Fraction of the runs of an arm that collapsed, with the exact (Clopper-Pearson) 95 % interval; dots: the "
        "seeds. Open diamonds: the paper, with the interval of its own numbers of runs.",
        "The paper's numbers are from Figure 2c, for 20 start frames and 5 models per arm. Runs that are shorter or "
        "cooler than the paper's collapse less often, whatever the model: a note below the figure states where "
        "conditions differ.",
    ),
    Item(
        "collapse_causes",
        "Stability",
        "What failed first",
        "The first bond or contact to fail in each collapsed run, by GAFF types. Orange: a bond length, or a "
        "contact across an angle, within the range over which the training frames were sampled.",
        "Orange is where the model should know the forces. Blue: a bond or angle that failed outside the sampled "
        "range; grey: an overlap of two atoms without a common neighbour, or a non-finite value. A contact such as "
        "ca-ho is an angle that has closed (ca-oh-ho). A bond counts as broken only far from its mean length, for most "
        "types beyond the sampled range, so blue is expected. Look for a type that fails repeatedly, and for orange.",
    ),
    Item(
        "bond_lengths",
        "Training frames",
        "Bond lengths before and after sampling",
        "One panel per bond type, stiffest first (Figure 2b of the paper). Softer bonds are stretched further: the "
        "shaded range to the right reaches further as k falls.",
        "Grey: the frames of the GAFF run; coloured outline: the frames of an arm after sampling; ticks at the top: "
        "the lengths given to modified bonds. Shaded: the compression segment, from 0.95 of the smallest length by "
        "default, and the stretching segment, from the largest length to the mean plus ``stretch_A`` times k of the "
        "reference bond over k of the type. Dotted: mean length. The histograms count bonds in equal bins. "
        "Modified bonds should lie in the shaded segments only. If each seed has its own data set, the first is shown.",
    ),
    Item(
        "bond_angles",
        "Training frames",
        "Angles before and after sampling",
        "One panel per angle type that an arm has bent, stiffest first. All types are bent up to the same harmonic "
        "energy: the shaded ranges extend further as k decreases.",
        "Grey: the frames of the GAFF run; coloured outline: the frames of an arm after sampling; ticks at the top: "
        "the values given to modified angles. Shaded: the closing and the opening segment, up to the mean minus or "
        "plus ``bend_degrees`` times the square root of k of the reference angle over k of the type. A bend also "
        "changes other angles at the same atom, so outlines extend beyond the ticks. If there are many types, the 24 "
        "most frequently bent ones are shown.",
    ),
    Item(
        "training_curves",
        "Models",
        "Training curves",
        "One line per seed. Seeds that end far apart, or a validation loss that rises again, are a warning.",
        "Left: force error on the validation frames, which are never modified. Right: training loss (solid) and "
        "validation loss (dotted). Both axes are logarithmic; long curves are shown as medians over equal windows of "
        "epochs. The training losses of two arms are not comparable because their frames differ. If curves still fall "
        "at the end, use more epochs.",
    ),
    Item(
        "force_parity",
        "Models",
        "Forces, model against GFN2-xTB",
        "All force components of all seeds; points off the diagonal are errors.",
        "One row of panels per arm, training frames at the left, validation frames at the right. The colour counts "
        "components per hexagon on a logarithmic scale. RMSE, MAE and the coefficient of determination are over all "
        "components of a panel. Points off the diagonal at large forces are distorted geometries that the model has "
        "not learnt.",
    ),
    Item(
        "error_by_stretch",
        "Models",
        "Force error by stretch and bend",
        "Mean over frames with its standard error; numbers count frames. It shows the errors on distorted frames.",
        "The stretch is the deviation of the modified bond from the mean length of its type (for several modified "
        "bonds, the largest one), in bins of 0.05 Å; the bend likewise, in bins of 10 degrees if an arm bends angles. "
        "A frame with both is counted in both panels. Each point is the mean over frames of the RMSE within a frame, "
        "averaged over seeds first; a single frame has no error bar. Left: unmodified frames. Look for an "
        "error that grows with the stretch, and compare the validation points of the arms: they show whether the "
        "distorted frames reduce the accuracy near equilibrium.",
    ),
    Item(
        "reliability",
        "Models",
        "Does the spread of the models tell their error?",
        "Validation frames: error of the mean force on an atom against the spread of the models of all seeds, in bins "
        "of as many atoms each. Above the dashed line the spread is smaller than the error.",
        "Horizontal: root mean variance of the models in the bin; vertical: root mean square error of their mean, with "
        "its standard error from leaving out a frame at a time (Levi et al., Sensors 2022, 22, 5540). The factor is "
        "the error over the spread, of all atoms: multiply the spread of the committee (``committee.pt`` beside the "
        "models) by it. Look for points that follow the line, shifted or not: then the spread ranks atoms rightly, "
        "and the factor corrects its size. Models trained on the same frames share errors that no spread shows. "
        "``reliability.csv`` beside the figure has the numbers.",
    ),
    Item(
        "label_ledger",
        "Training frames",
        "Result of labelling",
        "Outcome of the GFN2-xTB labelling by set. Only accepted frames are used for training.",
        "A frame is rejected if its SCF does not converge at any electronic temperature tried, if a force exceeds "
        "the limit, if the Wiberg bond orders show that a bond broke or formed, or if a value is not finite. The "
        "ledger itself gives the reason for each frame.",
    ),
)
"""Of each molecule, from the frames to the survival curves."""
METRIC_FIGURES = _by_name(
    Item(
        "fine_errors",
        "Metrics",
        "Force errors by element and cluster",
        "Bars: means over the seeds, dots: each seed. Numbers above clusters: the share of bad points in percent. A "
        "mean error over all atoms can hide an element or a cluster that is far worse.",
        "Mean absolute error of the force components over the atoms of an element, or over the frames of a cluster of "
        "conformations (Wang et al., J. Chem. Phys. 159, 035101); a bad point is a frame whose error exceeds the mean "
        "over all frames of its set. Validation frames are few: clusters without any are not shown. Training frames of "
        "arms that sample are distorted, and their errors larger for that alone.",
    ),
    Item(
        "conformations",
        "Metrics",
        "Map of conformations",
        "Training frames of each arm (coloured, a marker for each cluster) and frames of its runs (grey; orange: "
        "beyond the training frames), in the plane of the first two principal components.",
        "Conformations are described by inverse interatomic distances, sorted within equivalent pairs; clusters and "
        "axes are those of the unmodified training frames, so that the panels can be compared. A frame is unexplored "
        "if it is farther from the nearest centre than every training frame of the arm in that cluster. Points beyond "
        "the panels are not drawn.",
    ),
    Item(
        "explored",
        "Metrics",
        "Where the runs go",
        "Left: share of the recorded frames that are unexplored, a point for each seed. Right: mean force on an atom "
        "in explored (o) and unexplored (x) frames.",
        "Hot runs leave frames of 300 K behind in any case: what counts is how much less they do so with an arm that "
        "samples, and whether the forces outside are those of a molecule. The frame in which a run collapsed does not "
        "count.",
    ),
    Item(
        "before_collapse",
        "Metrics",
        "Errors before a collapse",
        "Error of the forces along the last recorded frames of runs that collapsed, against GFN2-xTB labels made for "
        "them. Thin: single runs; thick: the median of an arm; crosses: frames of which xTB gave no label.",
        "An error that grows long before the end says that the model sends the molecule there; one that jumps at the "
        "end says that it is lost only then. The last point is the collapse itself, which may be far from any "
        "molecule, and a label that does not converge says nothing of the model.",
    ),
)
"""Of each molecule, of the fine-grained errors of the forces."""
LABEL_FIGURES = _by_name(
    Item(
        "survival_against_labels",
        "Stability",
        "Survival against labels",
        "Fraction of runs that survive to their end, for arms that differ in their number of labels only. Bars: exact "
        "(Clopper-Pearson) 95 % intervals over runs; dots: the seeds.",
        "Every label counts that was spent on the training frames behind a model, including rejected ones and those of "
        "the models that it began as. Arms with as many labels stand side by side; the horizontal axis is logarithmic. "
        "The intervals treat runs as independent, which runs of one model are not: trust the scatter of the dots where "
        "it is larger. ``survival_against_labels.csv`` beside the figure has the numbers.",
    ),
)
"""Of each molecule, in studies in which arms differ in their number of labels only."""
MOLECULE_FIGURES = LABEL_FIGURES | CHAIN_FIGURES | METRIC_FIGURES
"""Of each molecule, in the order of the page."""

STRUCTURE = "structure"
"""The figure of a model that is drawn for each of its liquids."""
IF_TRAINED = "liquid_training"
"""The figure that a model has only if the study trained it."""

MODEL_FIGURES = _by_name(
    Item(
        "density_scan",
        "Correction",
        "Density against a1",
        "Runs of the tuning liquid, one panel per alpha (Figure 4a, b of the paper). Bars and band: standard error; "
        "orange: a1 with its 95 % interval.",
        "Open points: runs too short to give an error; crosses: runs that evaporated or blew up. Line: the fit through "
        "these runs, or the reweighted curve from all runs, dotted where it has fewer than 50 effective samples. "
        "Dashed: the measured density; star: a new run at this a1, which was not part of the fit.\n\n"
        "Points should lie on the line, a1 between the points and not beyond them, and the star on the dashed line. A "
        "value of a1 means nothing without its convention, which is given at the axis.",
    ),
    Item(
        "densities",
        "Liquids",
        "Densities against experiment",
        "Before and after, with standard errors. The marked row was used for tuning: it agrees by construction.",
        "Right: the deviation from experiment. Open symbols: runs too short to give an error. The status of runs "
        "without a density is given below the name of the liquid. Check whether the deviations of the other rows "
        "decrease, and by about the same amount.",
    ),
    Item(
        "density_traces",
        "Liquids",
        "Density over time",
        "NPT runs, one line per replica. The thick line is the mean over the equilibrated part.",
        "Every n-th record of a long run. Faint: the equilibration, which is determined for each run; the "
        "mean is broken if the run is too short to give an error; crosses: failed runs. Dashed: the measured "
        "density. A run that deviates from the others by more than 30 % leaves its panel. Look for traces that still "
        "drift in the equilibrated part, and for replicas that disagree.",
    ),
    Item(
        "viscosities",
        "Liquids",
        "Viscosities against experiment",
        "Before and after, with standard errors, on a logarithmic axis. No viscosity was used for tuning.",
        'The errors are STACIE\'s. The marked liquid is the one to whose density a1 was tuned. "insufficient": the '
        "runs do not give a reliable value, and none is reported; the table gives the required length.",
    ),
    Item(
        "green_kubo",
        "Liquids",
        "Running Green-Kubo integrals",
        "Mean over components and replicas. Dashed with a band: STACIE's estimate, drawn only where the data suffice; "
        "triangle: the time-decomposition fit, a cross-check.",
        "The integral of the pressure fluctuations, over the five independent components of the traceless pressure "
        "tensor, with its standard error, on a logarithmic time axis. Black: the measured viscosity. The "
        "cross-check is that of Zhang, Otani and Maginn (2015). The integral should reach a plateau before its noise "
        "grows, at the height of the estimate. An integral that still rises at its end indicates runs that are too "
        "short.",
    ),
    Item(
        "volume_scan",
        "Correction",
        "Rigid volume scan",
        "Energy (relative to the original frame) and forces of frames of the tuning liquid, scaled with rigid "
        "molecules (Figure 5 of the paper).",
        "Energy per molecule, which changes only by intermolecular interactions; root mean square of the net force on "
        "a molecule; and the error of the forces against reference labels, or, without labels, how much the correction "
        "changes them. Means over the frames, bars: standard errors. The correction should change the slope of "
        "the energy, which is the pressure, and hardly change the forces.",
    ),
    Item(
        IF_TRAINED,
        "Models",
        "Training",
        "Validation errors and losses. A validation loss that rises again is a warning.",
        "Errors of energy, forces and, if it was trained on, stress. Vertical line: start of the second stage (SWA), "
        "with other weights, so the losses before and after it are on different scales. All error axes are "
        "logarithmic; long curves are shown as medians over equal windows of epochs. If curves still fall at the end, "
        "use more epochs.",
    ),
    Item(
        STRUCTURE,
        "Liquids",
        "Structure",
        "Radial distributions between molecules and angular ones within them, before and after.",
        "Radial distributions (COM-COM: between centres of mass) approach 1 at long range; distributions of angles, "
        "with the apex in the middle, are per degree. Shaded: standard errors. Angles should not change: the "
        "correction is meant to act between molecules.",
    ),
)
"""Figures of each liquid model, in the order of the page."""
DRAWN_TOGETHER = [item for name, item in MODEL_FIGURES.items() if name not in (STRUCTURE, IF_TRAINED)]
"""Figures of which every model has exactly one."""

MOLECULE_TABLES = _by_name(
    Item(
        "stability",
        "Tables",
        "Collapse",
        "Collapsed runs by molecule and arm, with the exact two-sided 95 % interval (low, high), the one-sided 95 % "
        "upper limit, the conditions, and the paper's numbers with theirs.",
    ),
    Item(
        "model_errors",
        "Tables",
        "Errors of the models",
        "Errors of the models by molecule, arm and set: force RMSE and MAE over all components and seeds, the lowest "
        "and the highest RMSE of a seed, the coefficient of determination, and the RMSE of the energy per atom.",
    ),
    Item(
        "force_metrics",
        "Tables",
        "Fine-grained errors of the forces",
        "Errors of the forces by molecule, arm, set and part (all atoms, an element, or a cluster of conformations), "
        "means over the seeds: mean absolute error, mean over frames of the largest error, both divided by relative "
        "atomic masses, and the share of bad points, of frames whose error exceeds the mean over all frames.",
    ),
    Item("labels", "Tables", "Labels", "Number of labelled frames by molecule, set and outcome."),
)
ROUND_TABLES = _by_name(
    Item(
        "rounds",
        "Tables",
        "Rounds of learning",
        "Rounds of active learning by molecule and arm: frames labelled before and added, rejected ones included; the "
        "force error of the committee that ran, on the validation frames; the limit of the spread of its forces that "
        "follows from it, and the largest spread; runs of hot MD, those that the limit stopped, those that collapsed "
        "before, and the one-sided 95 % upper limit of the fraction of both; and whether learning ended there.",
    )
)
"""Of a study with rounds of learning."""
LIQUID_TABLES = _by_name(
    Item(
        "densities",
        "Tables",
        "Densities",
        "Densities by liquid and model before and after the correction, with standard errors, deviation from the "
        "measured value, status of the runs, and whether the liquid was used for tuning or held out; the paper's Table "
        "1 in separate rows if composition and temperature are the same. Do not interpret a density whose status is "
        "not ``ok``.",
    ),
    Item(
        "viscosities",
        "Tables",
        "Viscosities",
        "Viscosities by liquid and model before and after the correction, with standard errors and deviation from the "
        "measured value; the paper's Table 2 in separate rows if composition and temperature are the same. If the runs "
        "do not suffice there is no value, but the required length in ps.",
    ),
    Item(
        "liquid_errors",
        "Tables",
        "Mean absolute deviation from experiment",
        "Mean absolute deviation from experiment before and after the correction, by quantity, model and role, over "
        "the liquids with a measured value and a valid result in both cases. Held-out liquids are the evidence; the "
        "tuning liquid is listed separately.",
    ),
    Item(
        "tuning",
        "Tables",
        "Tuning",
        "The a1 of each model and alpha with its 95 % interval, or why there is none; the density and slope there, and "
        "the confirmation run: the density of a new run at this a1 and its deviation from the target, in percent and "
        "in standard errors of run and tuning combined.",
    ),
)
OVERVIEW = Item(
    "overview",
    "Summary",
    "Summary of the study",
    "The study in short: the answer for each molecule and each liquid model, its limitations, the tables, settings, "
    "seeds and versions. The figures are under the other headings of this report; ``results/<study>/summary.html`` "
    "is the same page including all of them, and needs no other file.",
)


def figures_of_molecule(*, label_series: bool) -> list[str]:
    """Names of the figures of a molecule, in the order of the page, with or without those of numbers of labels."""
    return [name for name in MOLECULE_FIGURES if label_series or name not in LABEL_FIGURES]


def figures_of_model(liquids: Sequence[str], *, trained: bool) -> list[str]:
    """File names of the figures of a model, in the order of the page."""
    names = [name for name in MODEL_FIGURES if name != STRUCTURE and (trained or name != IF_TRAINED)]
    return names + [f"{STRUCTURE}_{liquid}" for liquid in liquids]


def captions() -> dict[str, str]:
    """The texts of `workflow/report/`, by the name of the file."""
    items = [*MOLECULE_FIGURES.values(), *MODEL_FIGURES.values(), *MOLECULE_TABLES.values()]
    items += [*ROUND_TABLES.values(), *LIQUID_TABLES.values()]
    return {item.caption_file: item.rst for item in [*items, OVERVIEW]}


def main() -> None:
    """Write the caption files."""
    for name, text in captions().items():
        with atomic(Path("workflow/report") / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
