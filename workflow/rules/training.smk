"""MACE training: one model per arm and seed."""


rule training:
    input:
        train=given(inputs.labels_of_seed),
        validation=given(inputs.labels_of_seed, arm="validation"),
    output:
        model="results/{study}/{molecule}/training/{arm}/seed{seed}/mace.model",
        curve="results/{study}/{molecule}/training/{arm}/seed{seed}/curve.csv",
        provenance="results/{study}/{molecule}/training/{arm}/seed{seed}/provenance.json",
    log:
        "results/{study}/{molecule}/logs/training_{arm}_seed{seed}.log",
    benchmark:
        "results/{study}/{molecule}/benchmarks/training_{arm}_seed{seed}.tsv"
    conda:
        "../../envs/physembed.yaml"
    threads: 1
    resources:
        mem_mb=3000,
        runtime="24h",
        gpu=gpus(STUDY.config.training),
        gpu_percent=gpus(STUDY.config.training) * GPU_PERCENT,
    params:
        settings=given(stages.training),
        code=code("training.py"),
        restart="results/{study}/restart/training/{molecule}/{arm}/seed{seed}",
    script:
        "../scripts/training.py"
