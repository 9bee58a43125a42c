"""Stability runs: all replicas of one model in one batch."""


rule stability:
    input:
        model="results/{study}/{molecule}/training/{arm}/seed{seed}/mace.model",
        starts="results/{study}/{molecule}/frames/starts.xyz",
        bonds="results/{study}/{molecule}/topology/bonds.csv",
        bond_lengths="results/{study}/{molecule}/gaff_md/bond_lengths.csv",
        ranges="results/{study}/{molecule}/bond_sampling/{arm}_ranges.csv",
        angle_ranges="results/{study}/{molecule}/bond_sampling/{arm}_angle_ranges.csv",
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
