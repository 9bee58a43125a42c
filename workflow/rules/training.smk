"""MACE training: one model per arm and seed, and the models of an arm as one file."""


rule weights:
    input:
        labels=given(inputs.labels_of_seed),
        bonds="results/{study}/{molecule}/topology/bonds.csv",
        conformations="results/{study}/{molecule}/conformations/conformations.npz",
        model=given(inputs.first_model),
    output:
        frames="results/{study}/{molecule}/training/{arm}/seed{seed}/weighted.xyz",
        provenance="results/{study}/{molecule}/training/{arm}/seed{seed}/weights_provenance.json",
    log:
        "results/{study}/{molecule}/logs/weights_{arm}_seed{seed}.log",
    benchmark:
        "results/{study}/{molecule}/benchmarks/weights_{arm}_seed{seed}.tsv"
    wildcard_constraints:
        arm=one_of(WEIGHTED),
    conda:
        "../../envs/physembed.yaml"
    threads: 1
    resources:
        mem_mb=3000,
        runtime="20m",
    params:
        settings=given(stages.weights),
        code=code("weights.py"),
    script:
        "../scripts/weights.py"


rule training:
    input:
        train=given(inputs.training_set),
        validation=given(inputs.of_data_set, stage="labels", name="validation.xyz"),
        base=given(inputs.base_model),
    output:
        model="results/{study}/{molecule}/training/{arm}/seed{seed}/mace.model",
        curve="results/{study}/{molecule}/training/{arm}/seed{seed}/curve.csv",
        provenance="results/{study}/{molecule}/training/{arm}/seed{seed}/provenance.json",
    log:
        "results/{study}/{molecule}/logs/training_{arm}_seed{seed}.log",
    benchmark:
        "results/{study}/{molecule}/benchmarks/training_{arm}_seed{seed}.tsv"
    wildcard_constraints:
        arm=one_of(TRAINED_AT_ONCE),
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


rule given_model:
    input:
        model=given(inputs.base_model),
    output:
        model="results/{study}/{molecule}/training/{arm}/seed{seed}/mace.model",
        provenance="results/{study}/{molecule}/training/{arm}/seed{seed}/provenance.json",
    log:
        "results/{study}/{molecule}/logs/given_model_{arm}_seed{seed}.log",
    benchmark:
        "results/{study}/{molecule}/benchmarks/given_model_{arm}_seed{seed}.tsv"
    wildcard_constraints:
        arm=one_of(GIVEN),
    conda:
        "../../envs/physembed.yaml"
    threads: 1
    resources:
        mem_mb=3000,
        runtime="10m",
    params:
        settings=given(stages.given_model),
        code=code("given_model.py"),
    script:
        "../scripts/given_model.py"


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
