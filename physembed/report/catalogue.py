"""The figures and tables of a study: the name, title, category and caption of each.

Rules name their outputs by it, the summary page shows title and caption, and Snakemake's report shows the caption and
how to read it. Snakemake takes captions from files: `python -m physembed.report.catalogue` in the root of the project
(part of `make schema`) writes `workflow/report/<name>.rst`, and a test keeps them in step.
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
    """Of its file and, in a rule, of its output."""
    category: str
    """Heading under which Snakemake's report lists it."""
    title: str
    """What it is called there and on the summary page."""
    caption: str
    """What it shows."""
    reading: str = ""
    """How to read it, which Snakemake's report says as well."""

    @property
    def kind(self) -> str:
        """What Snakemake's report calls it."""
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


MOLECULE_FIGURES = _by_name(
    Item(
        "survival",
        "Stability",
        "Survival",
        "Fraction of runs still intact (Kaplan-Meier). Thick line: all runs of an arm, with the pointwise 95 % band; "
        "thin lines: the runs of one seed each; bars at the right: the 95 % interval at the end.",
        "The band is log-log, and exact where no run or every run collapsed.\n\n"
        "The log-rank test takes each run as independent, which runs of one model are not. The permutation test moves "
        "whole seeds between the arms and is the one to trust; with few seeds it cannot give a small p-value. Look for "
        "curves of one arm that keep together: a lone thin line is one bad model.",
    ),
    Item(
        "collapse_fraction",
        "Stability",
        "Collapsed runs",
        "Fraction of the runs of an arm that collapsed, with the exact (Clopper-Pearson) 95 % interval; dots: the "
        "seeds. Open diamonds: the paper, with the interval of its own count.",
        "The paper's numbers are those of Figure 2c, of 20 start frames and 5 models per arm. Runs that are shorter or "
        "cooler than the paper's collapse less often whatever the model is: a note below the figure says where "
        "conditions differ.",
    ),
    Item(
        "collapse_causes",
        "Stability",
        "What failed first",
        "The first bond or contact to fail in each run that collapsed, by GAFF types. Orange: a bond at a length, or a "
        "contact across an angle at a value, that the training frames were sampled over.",
        "Orange is where the model should know the forces. Blue: a bond or angle that failed beyond them; grey: an "
        "overlap of two atoms that share no neighbour, or a value that is not finite. A contact such as ca-ho is an "
        "angle that has closed (ca-oh-ho). A bond counts as broken only far from its mean "
        "length, for most types beyond the sampled range: blue is the rule. Look for a type that fails again and "
        "again, and for orange.",
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
        "reference bond over k of the type. Dotted: mean length. The histograms count bonds in equal bins. Look for "
        "modified bonds in the shaded segments only. Where each seed has its own data set, that of the first is drawn.",
    ),
    Item(
        "bond_angles",
        "Training frames",
        "Angles before and after sampling",
        "One panel per angle type that an arm has bent, stiffest first. All types are bent up to the same harmonic "
        "energy: the shaded ranges reach further as k falls.",
        "Grey: the frames of the GAFF run; coloured outline: the frames of an arm after sampling; ticks at the top: "
        "the values given to modified angles. Shaded: the closing and the opening segment, up to the mean minus or "
        "plus ``bend_degrees`` times the root of k of the reference angle over k of the type. A bend changes other "
        "angles at the same atom too, so that outlines also reach beyond the ticks. Of many types the 24 bent most "
        "often are drawn.",
    ),
    Item(
        "training_curves",
        "Models",
        "Training curves",
        "A line per seed. Seeds that end far apart, or a validation loss that rises again, would be a warning.",
        "Left: force error on the validation frames, which are never modified. Right: training loss (solid) and "
        "validation loss (dotted). Both axes are logarithmic; long curves are shown as medians over equal windows of "
        "epochs. The training losses of two arms are not comparable: their frames differ. Curves that still fall at "
        "the end ask for more epochs.",
    ),
    Item(
        "force_parity",
        "Models",
        "Forces, model against GFN2-xTB",
        "All force components of all seeds; points off the diagonal are errors.",
        "A row of panels per arm, training frames at the left, validation frames at the right. The colour counts "
        "components per hexagon on a logarithmic scale. RMSE, MAE and the coefficient of determination are over all "
        "components of a panel. Points off the diagonal at large forces are distorted geometries that the model has "
        "not learnt.",
    ),
    Item(
        "error_by_stretch",
        "Models",
        "Force error by stretch and bend",
        "Mean over frames with its standard error; numbers count frames. It shows what the distorted frames cost.",
        "The stretch is how far the modified bond is from the mean length of its type (of several modified bonds, the "
        "one furthest from it), in bins of 0.05 Å; the bend likewise, in bins of 10 degrees where an arm bends. "
        "A frame with both counts in both panels. Each point is the mean over frames of the RMSE within a frame, "
        "averaged over seeds first; a single frame has no error bar. Left: frames without a modification. Look for an "
        "error that grows with the stretch, and compare the validation points of the arms: they show whether the "
        "distorted frames cost accuracy near equilibrium.",
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
        "and the factor mends its size. Models that were trained on the same frames share errors that no spread shows. "
        "``reliability.csv`` beside the figure has the numbers.",
    ),
    Item(
        "label_ledger",
        "Training frames",
        "What became of each frame",
        "Outcome of the GFN2-xTB labelling by set. Only accepted frames reach training.",
        "A frame is rejected if its SCF does not converge with any electronic temperature tried, if a force is above "
        "the cap, if the Wiberg bond orders say that a bond broke or formed, or if a value is not finite. The ledger "
        "itself gives the reason of each frame.",
    ),
)
"""Of each molecule, in the order of the page."""

STRUCTURE = "structure"
"""The figure of a model that is drawn of each of its liquids."""
IF_TRAINED = "liquid_training"
"""The figure that a model has only if the study trained it."""

MODEL_FIGURES = _by_name(
    Item(
        "density_scan",
        "Correction",
        "Density against a1",
        "Runs of the liquid tuned on, a panel per alpha (Figure 4a, b of the paper). Bars and band: standard error; "
        "orange: a1 with its 95 % interval.",
        "Open points: runs too short to be judged; crosses: runs that evaporated or blew up. Line: the fit through "
        "these runs, or the curve that all runs together give by reweighting, dotted where fewer than 50 independent "
        "frames stand behind it. Dashed: the measured density; star: a new run at this a1, which was no part of the "
        "fit.\n\nLook for points on the line, for a1 between the points and not beyond them, and for the star on the "
        "dashed line. A value of a1 means nothing without its convention, which stands at the axis.",
    ),
    Item(
        "densities",
        "Liquids",
        "Densities against experiment",
        "Before and after, with standard errors. The marked row was tuned on: agreement there was put in by hand.",
        "Right: the deviation from experiment. Open symbols: runs too short to be judged. Below a liquid's name stands "
        "what became of runs that gave no density. Look at the other rows: do their deviations shrink, and do they "
        "shrink by about as much?",
    ),
    Item(
        "density_traces",
        "Liquids",
        "Density over time",
        "NPT runs, one line per replica. The thick line is the mean over the part found to be in equilibrium.",
        "Every n-th record of a long run. Faint: the part taken for equilibration, which is found for each run; the "
        "mean is broken where the run is too short to be judged; crosses: runs that were lost. Dashed: the measured "
        "density. A run that leaves the others by more than 30 % runs out of its panel. Look for traces that still "
        "drift in the part that counts, and for replicas that disagree.",
    ),
    Item(
        "viscosities",
        "Liquids",
        "Viscosities against experiment",
        "Before and after, with standard errors, on a logarithmic axis. No viscosity was tuned on.",
        'The errors are STACIE\'s. The marked liquid is the one whose density a1 was tuned on. "insufficient": the '
        "runs do not carry a trustworthy value, and none is given; the table says which length would do.",
    ),
    Item(
        "green_kubo",
        "Liquids",
        "Running Green-Kubo integrals",
        "Mean over components and replicas. Dashed with a band: STACIE's estimate, drawn only where the data suffice; "
        "triangle: the time-decomposition fit, a cross-check.",
        "The integral of the pressure fluctuations, over the five independent components of the traceless pressure "
        "tensor, with its standard error, on a logarithmic axis of time. Black: the measured viscosity. The "
        "cross-check is that of Zhang, Otani and Maginn (2015). Look for an integral that is level before its noise "
        "grows, at the height of the estimate. An integral that still rises at its end belongs to runs that are too "
        "short.",
    ),
    Item(
        "volume_scan",
        "Correction",
        "Rigid volume scan",
        "Energy (relative to the frame as it was) and forces of frames of the liquid tuned on, scaled with rigid "
        "molecules (Figure 5 of the paper).",
        "Energy per molecule, which only what acts between molecules changes; root mean square of the net force on a "
        "molecule; and the error of the forces against reference labels, or, without labels, how much the correction "
        "changes them. Means over the frames, bars: standard errors. Look for a correction that shifts the slope of "
        "the energy, which is the pressure, and hardly changes the forces.",
    ),
    Item(
        IF_TRAINED,
        "Models",
        "Training",
        "Validation errors and losses. A validation loss that rises again would be a warning.",
        "Errors of energy, forces and, where it was trained on, stress. Vertical line: the second stage begins (SWA), "
        "with other weights, so that the losses before and after it are on different scales. All axes of errors are "
        "logarithmic; long curves are shown as medians over equal windows of epochs. Curves that still fall at the end "
        "ask for more epochs.",
    ),
    Item(
        STRUCTURE,
        "Liquids",
        "Structure",
        "Radial distributions between molecules and angular ones within them, before and after.",
        "Radial distributions (COM-COM: between centres of mass) go to 1 at long range; distributions of angles, apex "
        "in the middle, are per degree. Shaded: standard errors. Look for angles that stay as they are: the correction "
        "is there to move molecules, not to bend them.",
    ),
)
"""Of each model of liquids, in the order of the page."""
DRAWN_TOGETHER = [item for name, item in MODEL_FIGURES.items() if name not in (STRUCTURE, IF_TRAINED)]
"""Those that a model has one of, and always."""

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
    Item("labels", "Tables", "Labels", "Number of labelled frames by molecule, set and outcome."),
)
LIQUID_TABLES = _by_name(
    Item(
        "densities",
        "Tables",
        "Densities",
        "Densities by liquid and model before and after the correction, with standard errors, deviation from the "
        "measured value, what became of the runs, and whether the liquid was tuned on or held out; the paper's Table 1 "
        "in rows of its own where composition and temperature are the same. A density whose status is not ``ok`` is "
        "not to be judged.",
    ),
    Item(
        "viscosities",
        "Tables",
        "Viscosities",
        "Viscosities by liquid and model before and after the correction, with standard errors and deviation from the "
        "measured value; the paper's Table 2 in rows of its own where composition and temperature are the same. Where "
        "the runs do not suffice there is no number, but the length in ps that would do.",
    ),
    Item(
        "liquid_errors",
        "Tables",
        "Mean absolute deviation from experiment",
        "Mean absolute deviation from experiment before and after the correction, by quantity, model and role, over "
        "the liquids that have a measured value and a result that counts in both cases. Held-out liquids are the "
        "evidence; the liquid tuned on stands apart.",
    ),
    Item(
        "tuning",
        "Tables",
        "Tuning",
        "The a1 of each model and alpha with its 95 % interval, or why there is none; the density and slope there, and "
        "the confirming run: the density of a new run at this a1 and its deviation from the target, in percent and in "
        "standard errors of run and tuning together.",
    ),
)
OVERVIEW = Item(
    "overview",
    "Summary",
    "Summary of the study",
    "The study in short: the answer for each molecule and each model of liquids, what limits it, the tables, settings, "
    "seeds and versions. The figures stand under the other headings of this report; ``results/<study>/summary.html`` "
    "is the same page with all of them, and needs no other file.",
)


def figures_of_model(liquids: Sequence[str], *, trained: bool) -> list[str]:
    """Names of the files that hold the figures of a model, in the order of the page."""
    names = [name for name in MODEL_FIGURES if name != STRUCTURE and (trained or name != IF_TRAINED)]
    return names + [f"{STRUCTURE}_{liquid}" for liquid in liquids]


def captions() -> dict[str, str]:
    """The texts of `workflow/report/`, by the name of the file."""
    items = [*MOLECULE_FIGURES.values(), *MODEL_FIGURES.values(), *MOLECULE_TABLES.values(), *LIQUID_TABLES.values()]
    return {item.caption_file: item.rst for item in [*items, OVERVIEW]}


def main() -> None:
    """Write them."""
    for name, text in captions().items():
        with atomic(Path("workflow/report") / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
