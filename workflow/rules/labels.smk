"""GFN2-xTB labels: the validation frames, and the training frames of each arm."""


rule labels:
    input:
        frames=given(inputs.frames_to_label),
        prmtop="results/{study}/{molecule}/topology/topology.prmtop",
        inpcrd="results/{study}/{molecule}/topology/topology.inpcrd",
        bonds="results/{study}/{molecule}/topology/bonds.csv",
    output:
        frames="results/{study}/{molecule}/labels/{data_set}{labelled}.xyz",
        ledger="results/{study}/{molecule}/labels/{data_set}{labelled}_ledger.csv",
        provenance="results/{study}/{molecule}/labels/{data_set}{labelled}_provenance.json",
    log:
        "results/{study}/{molecule}/logs/{data_set}labels_{labelled}.log",
    benchmark:
        "results/{study}/{molecule}/benchmarks/{data_set}labels_{labelled}.tsv"
    conda:
        "../../envs/physembed.yaml"
    threads: threads_of(16)
    resources:
        mem_mb=4000,
        runtime="4h",
    params:
        settings=given(stages.labels),
        code=code("labels.py"),
        restart="results/{study}/restart/labels/{molecule}",
    script:
        "../scripts/labels.py"
