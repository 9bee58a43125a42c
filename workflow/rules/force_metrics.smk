"""Fine-grained errors of the forces, where the stability runs go, and errors before collapses."""


rule force_metrics:
    input:
        conformations="results/{study}/{molecule}/conformations/conformations.npz",
        bonds="results/{study}/{molecule}/topology/bonds.csv",
        forces="results/{study}/{molecule}/evaluation/{arm}_forces.parquet",
        train=given(inputs.of_data_sets, stage="labels", name=".xyz"),
        validation=expand(
            "results/{{study}}/{{molecule}}/labels/{data_set}validation.xyz",
            data_set=DATA_SETS,
        ),
        models=expand(
            "results/{{study}}/{{molecule}}/training/{{arm}}/seed{seed}/mace.model",
            seed=SEEDS,
        ),
        trajectories=expand(
            "results/{{study}}/{{molecule}}/stability/{{arm}}/seed{seed}/trajectories",
            seed=SEEDS,
        ),
    output:
        errors="results/{study}/{molecule}/metrics/{arm}_errors.csv",
        explored="results/{study}/{molecule}/metrics/{arm}_explored.csv",
        map="results/{study}/{molecule}/metrics/{arm}_map.csv",
        provenance="results/{study}/{molecule}/metrics/{arm}_provenance.json",
    log:
        "results/{study}/{molecule}/logs/force_metrics_{arm}.log",
    benchmark:
        "results/{study}/{molecule}/benchmarks/force_metrics_{arm}.tsv"
    conda:
        "../../envs/physembed.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime="2h",
    params:
        settings=given(stages.force_metrics),
        code=code("force_metrics.py"),
    script:
        "../scripts/force_metrics.py"


rule before_collapse:
    input:
        prmtop="results/{study}/{molecule}/topology/topology.prmtop",
        inpcrd="results/{study}/{molecule}/topology/topology.inpcrd",
        models=expand(
            "results/{{study}}/{{molecule}}/training/{{arm}}/seed{seed}/mace.model",
            seed=SEEDS,
        ),
        trajectories=expand(
            "results/{{study}}/{{molecule}}/stability/{{arm}}/seed{seed}/trajectories",
            seed=SEEDS,
        ),
        replicas=expand(
            "results/{{study}}/{{molecule}}/stability/{{arm}}/seed{seed}/replicas.csv",
            seed=SEEDS,
        ),
    output:
        table="results/{study}/{molecule}/metrics/{arm}_before_collapse.csv",
        provenance="results/{study}/{molecule}/metrics/{arm}_before_collapse_provenance.json",
    log:
        "results/{study}/{molecule}/logs/before_collapse_{arm}.log",
    benchmark:
        "results/{study}/{molecule}/benchmarks/before_collapse_{arm}.tsv"
    conda:
        "../../envs/physembed.yaml"
    threads: 1
    resources:
        mem_mb=3000,
        runtime="4h",
    params:
        settings=given(stages.before_collapse),
        code=code("before_collapse.py"),
    script:
        "../scripts/before_collapse.py"


rule metric_figures:
    input:
        conformations="results/{study}/{molecule}/conformations/conformations.npz",
        errors=expand(
            "results/{{study}}/{{molecule}}/metrics/{arm}_errors.csv", arm=ARMS
        ),
        explored=expand(
            "results/{{study}}/{{molecule}}/metrics/{arm}_explored.csv", arm=ARMS
        ),
        maps=expand("results/{{study}}/{{molecule}}/metrics/{arm}_map.csv", arm=ARMS),
        collapses=expand(
            "results/{{study}}/{{molecule}}/metrics/{arm}_before_collapse.csv",
            arm=ARMS,
        ),
    output:
        **{
            item.name: reported(
                "results/{study}/figures/{molecule}/{name}.svg",
                item,
                molecule="{molecule}",
            )
            for item in catalogue.METRIC_FIGURES.values()
        },
        png=expand(
            "results/{{study}}/figures/{{molecule}}/{name}.png",
            name=catalogue.METRIC_FIGURES,
        ),
        provenance="results/{study}/figures/{molecule}/metric_provenance.json",
    log:
        "results/{study}/{molecule}/logs/metric_figures.log",
    benchmark:
        "results/{study}/{molecule}/benchmarks/metric_figures.tsv"
    conda:
        "../../envs/physembed.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime="20m",
    params:
        settings=given(stages.metric_figures),
        code=code("metric_figures.py"),
    script:
        "../scripts/metric_figures.py"
