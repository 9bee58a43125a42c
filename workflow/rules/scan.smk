"""Scan of the correction's a1 against the density of one liquid, its tuning, and the corrected model."""


rule scan:
    input:
        model="results/{study}/models/{model}/model/mace.model",
        starts=given(inputs.of_tuning_liquid, name="gaff_npt/trajectory.xyz"),
        bonds=given(inputs.of_tuning_liquid, name="box/bonds.csv"),
    output:
        series="results/{study}/models/{model}/scan/series.csv",
        runs="results/{study}/models/{model}/scan/runs.csv",
        provenance="results/{study}/models/{model}/scan/provenance.json",
    log:
        "results/{study}/models/{model}/logs/scan.log",
    benchmark:
        "results/{study}/models/{model}/benchmarks/scan.tsv"
    priority: 2
    conda:
        "../../envs/physembed.yaml"
    threads: threads_of(2)
    resources:
        mem_mb=8000,
        runtime="48h",
        gpu=gpus(STUDY.config.npt),
        gpu_percent=gpus(STUDY.config.npt) * GPU_PERCENT,
    params:
        settings=given(stages.scan),
        code=code("scan.py"),
        code_of_runs=code_of_runs("npt.py"),
        restart="results/{study}/restart/scan/{model}",
    script:
        "../scripts/scan.py"


rule tuning:
    input:
        series="results/{study}/models/{model}/scan/series.csv",
        runs="results/{study}/models/{model}/scan/runs.csv",
        starts=given(inputs.of_tuning_liquid, name="gaff_npt/trajectory.xyz"),
    output:
        tuning="results/{study}/models/{model}/tuning/tuning.csv",
        runs="results/{study}/models/{model}/tuning/runs.csv",
        curve="results/{study}/models/{model}/tuning/curve.csv",
        provenance="results/{study}/models/{model}/tuning/provenance.json",
    log:
        "results/{study}/models/{model}/logs/tuning.log",
    benchmark:
        "results/{study}/models/{model}/benchmarks/tuning.tsv"
    priority: 2
    conda:
        "../../envs/physembed.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime="30m",
    params:
        settings=given(stages.tuning),
        code=code("tuning.py"),
    script:
        "../scripts/tuning.py"


rule corrected_model:
    input:
        model="results/{study}/models/{model}/model/mace.model",
        description="results/{study}/models/{model}/model/model.json",
        tuning="results/{study}/models/{model}/tuning/tuning.csv",
        confirmation=given(inputs.confirming_density),
    output:
        model="results/{study}/models/{model}/corrected/corrected_model.pt",
        facts="results/{study}/models/{model}/corrected/corrected_model.json",
        card="results/{study}/models/{model}/corrected/card.md",
        provenance="results/{study}/models/{model}/corrected/provenance.json",
    log:
        "results/{study}/models/{model}/logs/corrected_model.log",
    benchmark:
        "results/{study}/models/{model}/benchmarks/corrected_model.tsv"
    priority: 1
    conda:
        "../../envs/physembed.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime="10m",
    params:
        settings=given(stages.corrected_model),
        code=code("corrected_model.py"),
    script:
        "../scripts/corrected_model.py"


rule certificate:
    input:
        model="results/{study}/models/{model}/corrected/corrected_model.pt",
        frames=given(inputs.confirming_frames),
    output:
        table="results/{study}/models/{model}/corrected/certificate.csv",
        page="results/{study}/models/{model}/corrected/certificate.md",
        provenance="results/{study}/models/{model}/corrected/certificate_provenance.json",
    log:
        "results/{study}/models/{model}/logs/certificate.log",
    benchmark:
        "results/{study}/models/{model}/benchmarks/certificate.tsv"
    conda:
        "../../envs/physembed.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime="24h",
        gpu=gpus(STUDY.config.npt),
        gpu_percent=gpus(STUDY.config.npt) * GPU_PERCENT,
    params:
        settings=given(stages.certificate),
        code=code("certificate.py"),
    script:
        "../scripts/certificate.py"
