"""Figures of each model of liquids, and the tables of densities, viscosities and corrections."""


rule liquid_tables:
    input:
        densities=given(inputs.of_all_liquids, stage="npt", name="density.csv"),
        viscosities=given(
            inputs.of_all_liquids, stage="viscosity", name="viscosity.csv"
        ),
        tunings=expand(
            "results/{{study}}/models/{model}/tuning/tuning.csv", model=MODELS
        ),
    output:
        **{
            item.name: reported("results/{study}/tables/{name}.csv", item)
            for item in catalogue.LIQUID_TABLES.values()
        },
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
        settings=given(stages.liquid_tables),
        code=code(
            "liquid_tables.py",
            "report/paper_density.csv",
            "report/paper_viscosity.csv",
        ),
    script:
        "../scripts/liquid_tables.py"


rule liquid_figures:
    input:
        scan_runs="results/{study}/models/{model}/tuning/runs.csv",
        tuning="results/{study}/models/{model}/tuning/tuning.csv",
        curve="results/{study}/models/{model}/tuning/curve.csv",
        confirming=given(inputs.confirming_density),
        volume_scan="results/{study}/models/{model}/volume_scan/volume_scan.csv",
        series=given(inputs.of_liquids, stage="npt", name="series.csv"),
        replicas=given(inputs.of_liquids, stage="npt", name="replicas.csv"),
        integrals=given(
            inputs.of_liquids, stage="viscosity", name="running_integral.csv"
        ),
        viscosities=given(inputs.of_liquids, stage="viscosity", name="viscosity.csv"),
        density_table="results/{study}/tables/densities.csv",
        viscosity_table="results/{study}/tables/viscosities.csv",
    output:
        **{
            item.name: reported(
                "results/{study}/figures/models/{model}/{name}.svg",
                item,
                model="{model}",
            )
            for item in catalogue.DRAWN_TOGETHER
        },
        png=expand(
            "results/{{study}}/figures/models/{{model}}/{item.name}.png",
            item=catalogue.DRAWN_TOGETHER,
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
        settings=given(stages.liquid_figures),
        code=code("liquid_figures.py"),
    script:
        "../scripts/liquid_figures.py"


rule structure_figure:
    input:
        rdf="results/{study}/models/{model}/structure/{liquid}/rdf.csv",
        adf="results/{study}/models/{model}/structure/{liquid}/adf.csv",
    output:
        svg=reported(
            "results/{study}/figures/models/{model}/structure_{liquid}.svg",
            catalogue.MODEL_FIGURES["structure"],
            model="{model}",
            liquid="{liquid}",
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
        settings=given(stages.structure_figure),
        code=code("structure_figure.py"),
    script:
        "../scripts/structure_figure.py"


rule liquid_training_figure:
    input:
        curve="results/{study}/models/{model}/training/curve.csv",
    output:
        svg=reported(
            "results/{study}/figures/models/{model}/liquid_training.svg",
            catalogue.MODEL_FIGURES["liquid_training"],
            model="{model}",
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
        settings=given(stages.liquid_training_figure),
        code=code("liquid_training_figure.py"),
    script:
        "../scripts/liquid_training_figure.py"
