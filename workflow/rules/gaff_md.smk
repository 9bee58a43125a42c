"""MD of the isolated molecule with its classical force field."""


rule gaff_md:
    input:
        prmtop="results/{study}/{molecule}/topology/topology.prmtop",
        inpcrd="results/{study}/{molecule}/topology/topology.inpcrd",
        bonds="results/{study}/{molecule}/topology/bonds.csv",
    output:
        trajectory="results/{study}/{molecule}/gaff_md/trajectory.xyz",
        bond_lengths="results/{study}/{molecule}/gaff_md/bond_lengths.csv",
        provenance="results/{study}/{molecule}/gaff_md/provenance.json",
    log:
        "results/{study}/{molecule}/logs/gaff_md.log",
    benchmark:
        "results/{study}/{molecule}/benchmarks/gaff_md.tsv"
    conda:
        "../../envs/physembed.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime="4h",
    params:
        settings=given(stages.gaff_md),
        code=code("gaff_md.py"),
        restart="results/{study}/restart/gaff_md/{molecule}",
    script:
        "../scripts/gaff_md.py"
