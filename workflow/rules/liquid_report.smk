"""Figures of each model of liquids, and the tables of densities, viscosities and corrections."""


rule liquid_tables:
    input:
        densities=of_all_liquids("npt/{liquid}/{variant}/density.csv"),
        viscosities=of_all_liquids("viscosity/{liquid}/{variant}/viscosity.csv"),
        tunings=expand(
            "results/{{study}}/models/{model}/tuning/tuning.csv", model=MODELS
        ),
    output:
        **{name: tabled(name) for name in LIQUID_TABLES},
        provenance="results/{study}/tables/liquids_provenance.json",
    log:
        "results/{study}/logs/liquid_tables.log",
    benchmark:
        "results/{study}/benchmarks/liquid_tables.tsv"
    conda:
        "../../envs/physembed.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime="20m",
    params:
        settings=liquid_table_settings,
        code=code(
            "liquid_tables.py",
            "report/paper_density.csv",
            "report/paper_viscosity.csv",
        ),
    script:
        "../scripts/liquid_tables.py"


rule liquid_figures:
    input:
        scan_runs="results/{study}/models/{model}/scan/runs.csv",
        tuning="results/{study}/models/{model}/tuning/tuning.csv",
        curve="results/{study}/models/{model}/tuning/curve.csv",
        confirming=confirmation,
        volume_scan="results/{study}/models/{model}/volume_scan/volume_scan.csv",
        series=of_liquids("npt/{liquid}/{variant}/series.csv"),
        runs=of_liquids("npt/{liquid}/{variant}/runs.csv"),
        integrals=of_liquids("viscosity/{liquid}/{variant}/running_integral.csv"),
        viscosities=of_liquids("viscosity/{liquid}/{variant}/viscosity.csv"),
        density_table="results/{study}/tables/densities.csv",
        viscosity_table="results/{study}/tables/viscosities.csv",
    output:
        **{name: drawn_of_model(name) for name in MODEL_FIGURES},
        png=expand(
            "results/{{study}}/figures/models/{{model}}/{name}.png", name=MODEL_FIGURES
        ),
        provenance="results/{study}/figures/models/{model}/provenance.json",
    log:
        "results/{study}/models/{model}/logs/figures.log",
    benchmark:
        "results/{study}/models/{model}/benchmarks/figures.tsv"
    conda:
        "../../envs/physembed.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime="30m",
    params:
        settings=liquid_figure_settings,
        code=code("liquid_figures.py"),
    script:
        "../scripts/liquid_figures.py"


rule structure_figure:
    input:
        rdf="results/{study}/models/{model}/structure/{liquid}/rdf.csv",
        adf="results/{study}/models/{model}/structure/{liquid}/adf.csv",
    output:
        svg=report(
            "results/{study}/figures/models/{model}/structure_{liquid}.svg",
            caption="../report/structure.rst",
            category="Liquids",
            labels={"model": "{model}", "figure": "Structure of {liquid}"},
        ),
        png="results/{study}/figures/models/{model}/structure_{liquid}.png",
        provenance="results/{study}/figures/models/{model}/structure_{liquid}_provenance.json",
    log:
        "results/{study}/models/{model}/logs/structure_figure_{liquid}.log",
    benchmark:
        "results/{study}/models/{model}/benchmarks/structure_figure_{liquid}.tsv"
    conda:
        "../../envs/physembed.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime="20m",
    params:
        settings={},
        code=code("structure_figure.py"),
    script:
        "../scripts/structure_figure.py"


rule liquid_training_figure:
    input:
        curve="results/{study}/models/{model}/training/curve.csv",
    output:
        svg=report(
            "results/{study}/figures/models/{model}/liquid_training.svg",
            caption="../report/liquid_training.rst",
            category="Models",
            labels={"model": "{model}", "figure": "Training"},
        ),
        png="results/{study}/figures/models/{model}/liquid_training.png",
        provenance="results/{study}/figures/models/{model}/liquid_training_provenance.json",
    log:
        "results/{study}/models/{model}/logs/liquid_training_figure.log",
    benchmark:
        "results/{study}/models/{model}/benchmarks/liquid_training_figure.tsv"
    conda:
        "../../envs/physembed.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime="20m",
    params:
        settings={},
        code=code("liquid_training_figure.py"),
    script:
        "../scripts/liquid_training_figure.py"
