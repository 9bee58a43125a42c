"""Equilibration of a box with GAFF at constant pressure."""


rule gaff_npt:
    input:
        prmtop="results/{study}/liquids/{liquid}/box/topology.prmtop",
        inpcrd="results/{study}/liquids/{liquid}/box/topology.inpcrd",
    output:
        trajectory="results/{study}/liquids/{liquid}/gaff_npt/trajectory.xyz",
        series="results/{study}/liquids/{liquid}/gaff_npt/series.csv",
        provenance="results/{study}/liquids/{liquid}/gaff_npt/provenance.json",
    log:
        "results/{study}/liquids/{liquid}/logs/gaff_npt.log",
    benchmark:
        "results/{study}/liquids/{liquid}/benchmarks/gaff_npt.tsv"
    priority: 2
    conda:
        "../../envs/physembed.yaml"
    threads: threads_of(4)
    resources:
        mem_mb=2000,
        runtime="12h",
    params:
        settings=given(stages.gaff_npt),
        code=code("gaff_npt.py"),
        restart="results/{study}/restart/gaff_npt/{liquid}",
    script:
        "../scripts/gaff_npt.py"
