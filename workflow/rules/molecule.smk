"""Molecule: a 3D structure from a SMILES or a structure file."""


rule molecule:
    input:
        structure=given(inputs.structure_file),
    output:
        sdf="results/{study}/{molecule}/molecule/molecule.sdf",
        provenance="results/{study}/{molecule}/molecule/provenance.json",
    log:
        "results/{study}/{molecule}/logs/molecule.log",
    benchmark:
        "results/{study}/{molecule}/benchmarks/molecule.tsv"
    conda:
        "../../envs/physembed.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime="30m",
    params:
        settings=given(stages.molecule),
        code=code("molecule.py"),
    script:
        "../scripts/molecule.py"
