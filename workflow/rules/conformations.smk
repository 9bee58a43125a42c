"""Clusters of the conformations of a molecule, and a map of them."""


rule conformations:
    input:
        frames=expand(
            "results/{{study}}/{{molecule}}/frames/{data_set}train.xyz",
            data_set=DATA_SETS,
        ),
        bonds="results/{study}/{molecule}/topology/bonds.csv",
    output:
        conformations="results/{study}/{molecule}/conformations/conformations.npz",
        provenance="results/{study}/{molecule}/conformations/provenance.json",
    log:
        "results/{study}/{molecule}/logs/conformations.log",
    benchmark:
        "results/{study}/{molecule}/benchmarks/conformations.tsv"
    conda:
        "../../envs/physembed.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime="10m",
    params:
        settings=given(stages.conformations),
        code=code("conformations.py"),
    script:
        "../scripts/conformations.py"
