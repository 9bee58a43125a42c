"""MACE training: one model per arm and seed, and the models of an arm as one file."""


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


rule committee:
    input:
        models=expand(
            "results/{{study}}/{{molecule}}/training/{{arm}}/seed{seed}/mace.model",
            seed=SEEDS,
        ),
    output:
        committee="results/{study}/{molecule}/training/{arm}/committee.pt",
        provenance="results/{study}/{molecule}/training/{arm}/committee_provenance.json",
    log:
        "results/{study}/{molecule}/logs/committee_{arm}.log",
    benchmark:
        "results/{study}/{molecule}/benchmarks/committee_{arm}.tsv"
    conda:
        "../../envs/physembed.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime="10m",
    params:
        settings=given(stages.committee),
        code=code("committee.py"),
    script:
        "../scripts/committee.py"
