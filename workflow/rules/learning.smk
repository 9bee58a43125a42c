"""Rounds of active learning: hot MD with a committee and the choice of frames, the training on them, and a table."""


rule learning:
    input:
        models=given(inputs.committee_before),
        frames=given(inputs.frames_before),
        round=given(inputs.round_before),
        starts="results/{study}/{molecule}/frames/train.xyz",
        validation="results/{study}/{molecule}/labels/validation.xyz",
        bonds="results/{study}/{molecule}/topology/bonds.csv",
        angles="results/{study}/{molecule}/topology/angles.csv",
        bond_lengths="results/{study}/{molecule}/gaff_md/bond_lengths.csv",
    output:
        frames="results/{study}/{molecule}/learning/{arm}/frames.xyz",
        round="results/{study}/{molecule}/learning/{arm}/round.csv",
        records="results/{study}/{molecule}/learning/{arm}/records.csv",
        replicas="results/{study}/{molecule}/learning/{arm}/replicas.csv",
        trajectories=directory("results/{study}/{molecule}/learning/{arm}/trajectories"),
        provenance="results/{study}/{molecule}/learning/{arm}/provenance.json",
    log:
        "results/{study}/{molecule}/logs/learning_{arm}.log",
    benchmark:
        "results/{study}/{molecule}/benchmarks/learning_{arm}.tsv"
    wildcard_constraints:
        arm=one_of(ROUNDS),
    conda:
        "../../envs/physembed.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime="24h",
        gpu=gpus(STUDY.config.stability),
        gpu_percent=gpus(STUDY.config.stability) * GPU_PERCENT,
    params:
        settings=given(stages.learning),
        code=code("learning.py"),
        code_of_runs=code("../../physembed/learning/hot_md.py"),
        restart="results/{study}/restart/learning/{molecule}/{arm}",
    script:
        "../scripts/learning.py"


rule round_training:
    input:
        train=given(inputs.training_set),
        train_before=given(inputs.training_set_before),
        model_before=given(inputs.trained_of_round_before, name="mace.model"),
        curve_before=given(inputs.trained_of_round_before, name="curve.csv"),
        validation="results/{study}/{molecule}/labels/validation.xyz",
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
        arm=one_of(TRAINED_IN_ROUNDS),
    conda:
        "../../envs/physembed.yaml"
    threads: 1
    resources:
        mem_mb=3000,
        runtime="24h",
        gpu=gpus(STUDY.config.training),
        gpu_percent=gpus(STUDY.config.training) * GPU_PERCENT,
    params:
        settings=given(stages.round_training),
        code=code("round_training.py"),
        restart="results/{study}/restart/training/{molecule}/{arm}/seed{seed}",
    script:
        "../scripts/round_training.py"


rule rounds:
    input:
        rounds=expand(
            "results/{{study}}/{molecule}/learning/{round}/round.csv",
            molecule=MOLECULES,
            round=ROUNDS,
        ),
    output:
        rounds=reported(
            "results/{study}/tables/{name}.csv", catalogue.ROUND_TABLES["rounds"]
        ),
        provenance="results/{study}/tables/rounds_provenance.json",
    log:
        "results/{study}/logs/rounds.log",
    benchmark:
        "results/{study}/benchmarks/rounds.tsv"
    conda:
        "../../envs/physembed.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime="10m",
    params:
        settings=given(stages.rounds),
        code=code("rounds.py"),
    script:
        "../scripts/rounds.py"
