"""Classical topology: GAFF from AmberTools, or the user's own files."""


rule gaff_topology:
    input:
        sdf="results/{study}/{molecule}/molecule/molecule.sdf",
    output:
        prmtop="results/{study}/{molecule}/topology/topology.prmtop",
        inpcrd="results/{study}/{molecule}/topology/topology.inpcrd",
        bonds="results/{study}/{molecule}/topology/bonds.csv",
        angles="results/{study}/{molecule}/topology/angles.csv",
        provenance="results/{study}/{molecule}/topology/provenance.json",
    log:
        "results/{study}/{molecule}/logs/topology.log",
    benchmark:
        "results/{study}/{molecule}/benchmarks/topology.tsv"
    wildcard_constraints:
        molecule=one_of(MADE_TOPOLOGY),
    conda:
        "../../envs/physembed.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime="4h",
    params:
        settings=given(stages.gaff_topology),
        code=code("gaff_topology.py"),
    script:
        "../scripts/gaff_topology.py"


rule given_topology:
    input:
        unpack(given(inputs.topology_files)),
    output:
        prmtop="results/{study}/{molecule}/topology/topology.prmtop",
        inpcrd="results/{study}/{molecule}/topology/topology.inpcrd",
        bonds="results/{study}/{molecule}/topology/bonds.csv",
        angles="results/{study}/{molecule}/topology/angles.csv",
        provenance="results/{study}/{molecule}/topology/provenance.json",
    log:
        "results/{study}/{molecule}/logs/topology.log",
    benchmark:
        "results/{study}/{molecule}/benchmarks/topology.tsv"
    wildcard_constraints:
        molecule=one_of(GIVEN_TOPOLOGY),
    conda:
        "../../envs/physembed.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime="10m",
    params:
        settings=given(stages.given_topology),
        code=code("given_topology.py"),
    script:
        "../scripts/given_topology.py"
