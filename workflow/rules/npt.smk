"""NPT runs of a liquid with a model, uncorrected and corrected, and the density they give."""


rule npt:
    input:
        model="results/{study}/models/{model}/model/mace.model",
        tuning=given(inputs.tuning_of_variant),
        starts="results/{study}/liquids/{liquid}/gaff_npt/trajectory.xyz",
        bonds="results/{study}/liquids/{liquid}/box/bonds.csv",
    output:
        series="results/{study}/models/{model}/npt/{liquid}/{variant}/series.csv",
        runs="results/{study}/models/{model}/npt/{liquid}/{variant}/runs.csv",
        trajectory="results/{study}/models/{model}/npt/{liquid}/{variant}/trajectory.xyz",
        provenance="results/{study}/models/{model}/npt/{liquid}/{variant}/provenance.json",
    log:
        "results/{study}/models/{model}/logs/npt_{liquid}_{variant}.log",
    benchmark:
        "results/{study}/models/{model}/benchmarks/npt_{liquid}_{variant}.tsv"
    priority: 1
    conda:
        "../../envs/physembed.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime="48h",
        gpu=gpus(STUDY.config.npt),
        gpu_percent=gpus(STUDY.config.npt) * GPU_PERCENT,
    params:
        settings=given(stages.npt),
        # Only where a run goes on until its density is known has the analysis a say.
        code=code("npt.py") if STUDY.config.npt.longest_ps else code_of_runs("npt.py"),
        code_of_runs=code_of_runs("npt.py"),
        restart="results/{study}/restart/npt/{model}/{liquid}/{variant}",
    script:
        "../scripts/npt.py"


rule density:
    input:
        series="results/{study}/models/{model}/npt/{liquid}/{variant}/series.csv",
        runs="results/{study}/models/{model}/npt/{liquid}/{variant}/runs.csv",
    output:
        density="results/{study}/models/{model}/npt/{liquid}/{variant}/density.csv",
        replicas="results/{study}/models/{model}/npt/{liquid}/{variant}/replicas.csv",
        provenance="results/{study}/models/{model}/npt/{liquid}/{variant}/density_provenance.json",
    log:
        "results/{study}/models/{model}/logs/density_{liquid}_{variant}.log",
    benchmark:
        "results/{study}/models/{model}/benchmarks/density_{liquid}_{variant}.tsv"
    conda:
        "../../envs/physembed.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime="20m",
    params:
        settings=given(stages.density),
        code=code("density.py"),
    script:
        "../scripts/density.py"
