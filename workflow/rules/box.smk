"""Packed boxes of liquids."""


rule box:
    input:
        prmtop=given(inputs.of_components, name="topology.prmtop"),
        inpcrd=given(inputs.of_components, name="topology.inpcrd"),
    output:
        prmtop="results/{study}/liquids/{liquid}/box/topology.prmtop",
        inpcrd="results/{study}/liquids/{liquid}/box/topology.inpcrd",
        bonds="results/{study}/liquids/{liquid}/box/bonds.csv",
        composition="results/{study}/liquids/{liquid}/box/composition.csv",
        provenance="results/{study}/liquids/{liquid}/box/provenance.json",
    log:
        "results/{study}/liquids/{liquid}/logs/box.log",
    benchmark:
        "results/{study}/liquids/{liquid}/benchmarks/box.tsv"
    priority: 2
    conda:
        "../../envs/physembed.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime="30m",
    params:
        settings=given(stages.box),
        code=code("box.py"),
    script:
        "../scripts/box.py"
