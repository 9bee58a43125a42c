"""Pressure of replicas at the mean NPT density, and the viscosity that follows from it."""


rule viscosity_run:
    input:
        model="results/{study}/models/{model}/model/mace.model",
        tuning=given(inputs.tuning_of_variant),
        trajectory="results/{study}/models/{model}/npt/{liquid}/{variant}/trajectory.xyz",
        replicas="results/{study}/models/{model}/npt/{liquid}/{variant}/replicas.csv",
        density="results/{study}/models/{model}/npt/{liquid}/{variant}/density.csv",
        bonds="results/{study}/liquids/{liquid}/box/bonds.csv",
    output:
        pressure="results/{study}/models/{model}/viscosity/{liquid}/{variant}/pressure.npz",
        runs="results/{study}/models/{model}/viscosity/{liquid}/{variant}/runs.csv",
        provenance="results/{study}/models/{model}/viscosity/{liquid}/{variant}/pressure_provenance.json",
    log:
        "results/{study}/models/{model}/logs/viscosity_run_{liquid}_{variant}.log",
    benchmark:
        "results/{study}/models/{model}/benchmarks/viscosity_run_{liquid}_{variant}.tsv"
    conda:
        "../../envs/physembed.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime="96h",
        gpu=gpus(STUDY.config.viscosity),
        gpu_percent=gpus(STUDY.config.viscosity) * GPU_PERCENT,
    params:
        settings=given(stages.viscosity_run),
        code=code("viscosity_run.py"),
        restart="results/{study}/restart/viscosity/{model}/{liquid}/{variant}",
    script:
        "../scripts/viscosity_run.py"


rule viscosity:
    input:
        pressure="results/{study}/models/{model}/viscosity/{liquid}/{variant}/pressure.npz",
    output:
        viscosity="results/{study}/models/{model}/viscosity/{liquid}/{variant}/viscosity.csv",
        running="results/{study}/models/{model}/viscosity/{liquid}/{variant}/running_integral.csv",
        provenance="results/{study}/models/{model}/viscosity/{liquid}/{variant}/provenance.json",
    log:
        "results/{study}/models/{model}/logs/viscosity_{liquid}_{variant}.log",
    benchmark:
        "results/{study}/models/{model}/benchmarks/viscosity_{liquid}_{variant}.tsv"
    conda:
        "../../envs/physembed.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime="60m",
    params:
        settings=given(stages.viscosity),
        code=code("viscosity.py"),
    script:
        "../scripts/viscosity.py"
