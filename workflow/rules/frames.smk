"""Frames of the GAFF run: for training and validation, and for the starts of the stability runs."""


rule frames:
    input:
        trajectory="results/{study}/{molecule}/gaff_md/trajectory.xyz",
    output:
        train="results/{study}/{molecule}/frames/train.xyz",
        validation="results/{study}/{molecule}/frames/validation.xyz",
        provenance="results/{study}/{molecule}/frames/provenance.json",
    log:
        "results/{study}/{molecule}/logs/frames.log",
    benchmark:
        "results/{study}/{molecule}/benchmarks/frames.tsv"
    conda:
        "../../envs/physembed.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime="10m",
    params:
        settings=given(stages.frames),
        code=code("frames.py"),
    script:
        "../scripts/frames.py"


rule starts:
    input:
        trajectory="results/{study}/{molecule}/gaff_md/trajectory.xyz",
    output:
        starts="results/{study}/{molecule}/frames/starts.xyz",
        provenance="results/{study}/{molecule}/frames/starts_provenance.json",
    log:
        "results/{study}/{molecule}/logs/starts.log",
    benchmark:
        "results/{study}/{molecule}/benchmarks/starts.tsv"
    conda:
        "../../envs/physembed.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime="10m",
    params:
        settings=given(stages.starts),
        code=code("starts.py"),
    script:
        "../scripts/starts.py"
