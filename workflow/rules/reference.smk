"""Reference data of our own: frames of GAFF liquids, and their xTB labels."""


rule reference_frames:
    input:
        prmtop=given(inputs.of_components, name="topology.prmtop"),
        inpcrd=given(inputs.of_components, name="topology.inpcrd"),
    output:
        frames="results/{study}/models/{model}/reference/{liquid}.xyz",
        bonds="results/{study}/models/{model}/reference/{liquid}_bonds.csv",
        provenance="results/{study}/models/{model}/reference/{liquid}_provenance.json",
    log:
        "results/{study}/models/{model}/logs/reference_frames_{liquid}.log",
    benchmark:
        "results/{study}/models/{model}/benchmarks/reference_frames_{liquid}.tsv"
    priority: 2
    conda:
        "../../envs/physembed.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime="4h",
    params:
        settings=given(stages.reference_frames),
        code=code("reference_frames.py"),
    script:
        "../scripts/reference_frames.py"


rule liquid_round:
    input:
        model=given(inputs.model_before_round),
        frames="results/{study}/models/{model}/reference/{liquid}.xyz",
        bonds="results/{study}/models/{model}/reference/{liquid}_bonds.csv",
    output:
        frames="results/{study}/models/{model}/reference/{liquid}~{round}.xyz",
        bonds="results/{study}/models/{model}/reference/{liquid}~{round}_bonds.csv",
        runs="results/{study}/models/{model}/reference/{liquid}~{round}_runs.csv",
        provenance="results/{study}/models/{model}/reference/{liquid}~{round}_provenance.json",
    log:
        "results/{study}/models/{model}/logs/liquid_round_{liquid}~{round}.log",
    benchmark:
        "results/{study}/models/{model}/benchmarks/liquid_round_{liquid}~{round}.tsv"
    wildcard_constraints:
        round=r"\d+",
    priority: 2
    conda:
        "../../envs/physembed.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime="24h",
        gpu=gpus(STUDY.config.npt),
        gpu_percent=gpus(STUDY.config.npt) * GPU_PERCENT,
    params:
        settings=given(stages.liquid_round),
        code=code("liquid_round.py"),
        restart="results/{study}/restart/liquid_round/{model}/{liquid}~{round}",
    script:
        "../scripts/liquid_round.py"


rule reference_labels:
    input:
        frames="results/{study}/models/{model}/reference/{liquid}.xyz",
        bonds="results/{study}/models/{model}/reference/{liquid}_bonds.csv",
    output:
        frames="results/{study}/models/{model}/labels/{liquid}.xyz",
        ledger="results/{study}/models/{model}/labels/{liquid}_ledger.csv",
        provenance="results/{study}/models/{model}/labels/{liquid}_provenance.json",
    log:
        "results/{study}/models/{model}/logs/reference_labels_{liquid}.log",
    benchmark:
        "results/{study}/models/{model}/benchmarks/reference_labels_{liquid}.tsv"
    wildcard_constraints:
        liquid=f"({one_of(STUDY.liquids)})(~\\d+)?",
    priority: 2
    conda:
        "../../envs/physembed.yaml"
    threads: threads_of(16)
    resources:
        mem_mb=8000,
        runtime="24h",
    params:
        settings=given(stages.reference_labels),
        code=code("reference_labels.py"),
        restart="results/{study}/restart/reference_labels/{model}",
    script:
        "../scripts/reference_labels.py"
