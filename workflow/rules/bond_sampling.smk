"""Self-adaptive sampling of bond lengths and angles: the training frames of one arm."""


rule bond_sampling:
    input:
        frames="results/{study}/{molecule}/frames/{data_set}train.xyz",
        bonds="results/{study}/{molecule}/topology/bonds.csv",
        angles="results/{study}/{molecule}/topology/angles.csv",
    output:
        frames="results/{study}/{molecule}/bond_sampling/{data_set}{arm}.xyz",
        ranges="results/{study}/{molecule}/bond_sampling/{data_set}{arm}_ranges.csv",
        angle_ranges="results/{study}/{molecule}/bond_sampling/{data_set}{arm}_angle_ranges.csv",
        provenance="results/{study}/{molecule}/bond_sampling/{data_set}{arm}_provenance.json",
    log:
        "results/{study}/{molecule}/logs/{data_set}bond_sampling_{arm}.log",
    benchmark:
        "results/{study}/{molecule}/benchmarks/{data_set}bond_sampling_{arm}.tsv"
    wildcard_constraints:
        arm=one_of(SAMPLED),
    conda:
        "../../envs/physembed.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime="10m",
    params:
        settings=given(stages.bond_sampling),
        code=code("bond_sampling.py"),
    script:
        "../scripts/bond_sampling.py"
