"""Collapse fractions and ledgers -> survival against the number of labels, as a table and a figure."""

from pathlib import Path

from physembed.gathered import read_by_set
from physembed.report import label_figures
from physembed.report.style import save
from physembed.report.tables import labels_spent
from physembed.stage import stage
from physembed.tables import read_table

with stage(snakemake):
    settings, paths, output = snakemake.params.settings, snakemake.input, snakemake.output
    spent = labels_spent(read_by_set(paths.ledgers, settings["sampled"]), settings["sources"])
    # Every model is trained on the labels of one data set.
    labels = {arm: count // settings["data_sets"] for arm, count in spent.items()}
    table = label_figures.survival_table(read_table(paths.fractions), settings["series"], labels)
    table.to_csv(output.table, index=False)
    figure = label_figures.survival_against_labels(table, settings["duration_ps"], settings["temperature_K"])
    save(figure, Path(output.survival_against_labels).with_suffix(""))
