"""All that is known of a molecule -> its figures, each as SVG and PNG."""

from pathlib import Path

import ase.io

from physembed.analysis.reliability import reliability
from physembed.gathered import read_by_arm, read_by_arm_and_seed, read_by_set
from physembed.molecules.angles import read_angle_table
from physembed.molecules.bonds import read_bond_table
from physembed.report import sampling_figures, survival_figures, training_figures
from physembed.report.style import save
from physembed.report.tables import paper_stability
from physembed.stage import stage
from physembed.tables import read_table

with stage(snakemake):
    settings, paths = snakemake.params.settings, snakemake.input
    arms, conditions = settings["arms"], (settings["duration_ps"], settings["temperature_K"])
    paper = paper_stability().query("molecule == @snakemake.wildcards.molecule")
    ledgers = read_by_set(paths.ledgers, settings["labelled"])
    sampled = {arm: ase.io.read(path, ":") for arm, path in zip(settings["sampled"], paths.sampled, strict=True)}
    ranges, angle_ranges = (
        {arm: read_table(path) for arm, path in zip(sampled, files, strict=True)}
        for files in (paths.ranges, paths.angle_ranges)
    )
    train = ase.io.read(paths.train, ":")
    curves = read_by_arm_and_seed(paths.curves, settings["trained"], settings["seeds"])
    comparison, forces = read_table(paths.comparison), read_by_arm(paths.forces, arms)
    trusted = reliability(forces[forces["arm"].isin(settings["trained"])])
    trusted.to_csv(snakemake.output.reliability_table, index=False)
    figures = {
        "bond_lengths": sampling_figures.bond_lengths(train, sampled, read_bond_table(paths.bonds), ranges),
        "bond_angles": sampling_figures.bond_angles(train, sampled, read_angle_table(paths.angles), angle_ranges),
        "label_ledger": training_figures.label_ledger(ledgers),
        "training_curves": training_figures.training_curves(curves),
        "force_parity": training_figures.force_parity(forces),
        "error_by_stretch": training_figures.error_by_stretch(read_by_arm(paths.frame_errors, arms)),
        "reliability": training_figures.reliability_diagram(trusted, arms),
        "survival": survival_figures.survival(read_table(paths.survival), comparison, conditions[0]),
        "collapse_fraction": survival_figures.collapse_fraction(read_table(paths.fractions), paper, *conditions),
        "collapse_causes": survival_figures.collapse_causes(read_table(paths.replicas)),
    }
    for name, figure in figures.items():
        save(figure, Path(snakemake.output[name]).with_suffix(""))
