"""Frames of the GAFF run: for training and validation, and for the starts of the stability runs."""


rule frames:
    input:
        trajectory="results/{study}/{molecule}/gaff_md/trajectory.xyz",
    output:
        train="results/{study}/{molecule}/frames/{data_set}train.xyz",
        validation="results/{study}/{molecule}/frames/{data_set}validation.xyz",
        provenance="results/{study}/{molecule}/frames/{data_set}provenance.json",
    log:
        "results/{study}/{molecule}/logs/{data_set}frames.log",
    benchmark:
        "results/{study}/{molecule}/benchmarks/{data_set}frames.tsv"
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
        starts="results/{study}/{molecule}/frames/{data_set}starts.xyz",
        provenance="results/{study}/{molecule}/frames/{data_set}starts_provenance.json",
    log:
        "results/{study}/{molecule}/logs/{data_set}starts.log",
    benchmark:
        "results/{study}/{molecule}/benchmarks/{data_set}starts.tsv"
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
