"""How well the models of an arm reproduce their labels."""


rule evaluation:
    input:
        models=expand(
            "results/{{study}}/{{molecule}}/training/{{arm}}/seed{seed}/mace.model",
            seed=SEEDS,
        ),
        train=given(inputs.of_data_sets, stage="labels", name=".xyz"),
        validation=expand(
            "results/{{study}}/{{molecule}}/labels/{data_set}validation.xyz",
            data_set=DATA_SETS,
        ),
        ranges=given(inputs.of_data_sets, stage="bond_sampling", name="_ranges.csv"),
        angle_ranges=given(
            inputs.of_data_sets, stage="bond_sampling", name="_angle_ranges.csv"
        ),
    output:
        frames="results/{study}/{molecule}/evaluation/{arm}_frames.csv",
        forces="results/{study}/{molecule}/evaluation/{arm}_forces.parquet",
        provenance="results/{study}/{molecule}/evaluation/{arm}_provenance.json",
    log:
        "results/{study}/{molecule}/logs/evaluation_{arm}.log",
    benchmark:
        "results/{study}/{molecule}/benchmarks/evaluation_{arm}.tsv"
    conda:
        "../../envs/physembed.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime="60m",
    params:
        settings=given(stages.evaluation),
        code=code("evaluation.py"),
    script:
        "../scripts/evaluation.py"
