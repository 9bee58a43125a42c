"""Molecule: a 3D structure from a SMILES or a structure file."""


rule molecule:
    input:
        structure=structure_file,
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
        settings=molecule_source,
        code=code("molecule.py"),
    script:
        "../scripts/molecule.py"
