"""Fine-grained errors of all arms -> their figures, each as SVG and PNG."""

from pathlib import Path

from physembed.analysis.conformations import Conformations
from physembed.gathered import read_by_arm
from physembed.report import metric_figures
from physembed.report.style import save
from physembed.stage import stage

with stage(snakemake):
    paths, arms = snakemake.input, snakemake.params.settings["arms"]
    explained = Conformations.read(paths.conformations).explained
    errors = read_by_arm(paths.errors, arms).astype({"part": str})
    figures = {
        "conformations": metric_figures.conformation_map(read_by_arm(paths.maps, arms), explained),
        "fine_errors": metric_figures.fine_errors(errors),
        "explored": metric_figures.explored_shares(read_by_arm(paths.explored, arms)),
        "before_collapse": metric_figures.errors_before_collapse(read_by_arm(paths.collapses, arms)),
    }
    for name, figure in figures.items():
        save(figure, Path(snakemake.output[name]).with_suffix(""))
