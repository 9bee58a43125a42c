"""All that is known of a model of liquids -> its figures, each as SVG and PNG."""

from pathlib import Path

import pandas as pd

from physembed.gathered import read_by_liquid
from physembed.report import comparison_figures, liquid_figures, scan_figures
from physembed.report.liquid_tables import LiquidFacts, of_model
from physembed.report.style import save
from physembed.stage import stage
from physembed.tables import read_table

with stage(snakemake):
    source, settings, model = snakemake.input, snakemake.params.settings, snakemake.wildcards.model
    liquids = [LiquidFacts(**facts) for facts in settings["liquids"]]

    def of_liquids(files: list[str]) -> pd.DataFrame:
        return read_by_liquid(files, {model: [liquid.name for liquid in liquids]})

    integrals, viscosities = (
        read_by_liquid(files, {model: settings["viscous"]}) for files in (source.integrals, source.viscosities)
    )

    figures = {
        "density_scan": scan_figures.density_scan(
            *map(read_table, (source.scan_runs, source.tuning, source.curve, source.confirming))
        ),
        "volume_scan": scan_figures.volume_scan(read_table(source.volume_scan)),
        "densities": comparison_figures.densities(of_model(read_table(source.density_table), model)),
        "viscosities": comparison_figures.viscosities(of_model(read_table(source.viscosity_table), model)),
        "density_traces": liquid_figures.density_traces(
            of_liquids(source.series), of_liquids(source.replicas), liquids
        ),
        "green_kubo": liquid_figures.green_kubo(integrals, viscosities, liquids),
    }
    for name, figure in figures.items():
        save(figure, Path(snakemake.output[name]).with_suffix(""))
