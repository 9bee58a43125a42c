"""Stability runs: all replicas of one model in one batch."""


rule stability:
    input:
        model="results/{study}/{molecule}/training/{arm}/seed{seed}/mace.model",
        starts=given(inputs.of_data_set, stage="frames", name="starts.xyz"),
        bonds="results/{study}/{molecule}/topology/bonds.csv",
        bond_lengths="results/{study}/{molecule}/gaff_md/bond_lengths.csv",
        ranges=given(inputs.ranges_of_seed, name="ranges.csv"),
        angle_ranges=given(inputs.ranges_of_seed, name="angle_ranges.csv"),
    output:
        replicas="results/{study}/{molecule}/stability/{arm}/seed{seed}/replicas.csv",
        thermo="results/{study}/{molecule}/stability/{arm}/seed{seed}/thermo.csv",
        trajectories=directory(
            "results/{study}/{molecule}/stability/{arm}/seed{seed}/trajectories"
        ),
        provenance="results/{study}/{molecule}/stability/{arm}/seed{seed}/provenance.json",
    log:
        "results/{study}/{molecule}/logs/stability_{arm}_seed{seed}.log",
    benchmark:
        "results/{study}/{molecule}/benchmarks/stability_{arm}_seed{seed}.tsv"
    conda:
        "../../envs/physembed.yaml"
    threads: 1
    resources:
        mem_mb=3000,
        runtime="24h",
        gpu=gpus(STUDY.config.stability),
        gpu_percent=gpus(STUDY.config.stability) * GPU_PERCENT,
    params:
        settings=given(stages.stability),
        code=code("stability.py"),
        restart="results/{study}/restart/stability/{molecule}/{arm}/seed{seed}",
    script:
        "../scripts/stability.py"
