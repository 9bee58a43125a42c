"""Pre-training on the force field: frames of MD and their labels, and one model per seed."""


rule pretraining_frames:
    input:
        prmtop="results/{study}/{molecule}/topology/topology.prmtop",
        inpcrd="results/{study}/{molecule}/topology/topology.inpcrd",
        bonds="results/{study}/{molecule}/topology/bonds.csv",
        angles="results/{study}/{molecule}/topology/angles.csv",
    output:
        train="results/{study}/{molecule}/pretraining/train.xyz",
        validation="results/{study}/{molecule}/pretraining/validation.xyz",
        provenance="results/{study}/{molecule}/pretraining/provenance.json",
    log:
        "results/{study}/{molecule}/logs/pretraining_frames.log",
    benchmark:
        "results/{study}/{molecule}/benchmarks/pretraining_frames.tsv"
    conda:
        "../../envs/physembed.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime="4h",
    params:
        settings=given(stages.pretraining_frames),
        code=code("pretraining_frames.py"),
        restart="results/{study}/restart/pretraining_frames/{molecule}",
    script:
        "../scripts/pretraining_frames.py"


rule pretraining:
    input:
        train="results/{study}/{molecule}/pretraining/train.xyz",
        validation="results/{study}/{molecule}/pretraining/validation.xyz",
    output:
        model="results/{study}/{molecule}/pretraining/seed{seed}/mace.model",
        curve="results/{study}/{molecule}/pretraining/seed{seed}/curve.csv",
        provenance="results/{study}/{molecule}/pretraining/seed{seed}/provenance.json",
    log:
        "results/{study}/{molecule}/logs/pretraining_seed{seed}.log",
    benchmark:
        "results/{study}/{molecule}/benchmarks/pretraining_seed{seed}.tsv"
    conda:
        "../../envs/physembed.yaml"
    threads: 1
    resources:
        mem_mb=3000,
        runtime="24h",
        gpu=gpus(STUDY.config.training),
        gpu_percent=gpus(STUDY.config.training) * GPU_PERCENT,
    params:
        settings=given(stages.pretraining),
        code=code("pretraining.py"),
        restart="results/{study}/restart/pretraining/{molecule}/seed{seed}",
    script:
        "../scripts/pretraining.py"
