"""Self-adaptive bond-length sampling: the training frames of one arm."""


def arm_settings(wildcards):
    arm = STUDY.config.arms[wildcards.arm].model_dump(mode="json")
    seed = derive_seed(
        STUDY.config.seed, "bond_sampling", wildcards.molecule, wildcards.arm
    )
    return {
        "arm": arm,
        "parameter_set": STUDY.config.topology.parameter_set,
        "seed": seed,
    }


rule bond_sampling:
    input:
        frames="results/{study}/{molecule}/frames/train.xyz",
        bonds="results/{study}/{molecule}/topology/bonds.csv",
    output:
        frames="results/{study}/{molecule}/bond_sampling/{arm}.xyz",
        ranges="results/{study}/{molecule}/bond_sampling/{arm}_ranges.csv",
        provenance="results/{study}/{molecule}/bond_sampling/{arm}_provenance.json",
    log:
        "results/{study}/{molecule}/logs/bond_sampling_{arm}.log",
    benchmark:
        "results/{study}/{molecule}/benchmarks/bond_sampling_{arm}.tsv"
    conda:
        "../../envs/physembed.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime="10m",
    params:
        settings=arm_settings,
        code=code("bond_sampling.py"),
    script:
        "../scripts/bond_sampling.py"
