"""Survival statistics over all arms and seeds of a molecule."""


rule survival:
    input:
        replicas=expand(
            "results/{{study}}/{{molecule}}/stability/{arm}/seed{seed}/replicas.csv",
            arm=ARMS,
            seed=SEEDS,
        ),
    output:
        replicas="results/{study}/{molecule}/survival/replicas.csv",
        curves="results/{study}/{molecule}/survival/curves.csv",
        fractions="results/{study}/{molecule}/survival/collapse_fractions.csv",
        comparison="results/{study}/{molecule}/survival/comparison.csv",
        causes="results/{study}/{molecule}/survival/causes.csv",
        mean_times="results/{study}/{molecule}/survival/mean_times.csv",
        provenance="results/{study}/{molecule}/survival/provenance.json",
    log:
        "results/{study}/{molecule}/logs/survival.log",
    benchmark:
        "results/{study}/{molecule}/benchmarks/survival.tsv"
    conda:
        "../../envs/physembed.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime="10m",
    params:
        settings=given(stages.survival),
        code=code("survival.py"),
    script:
        "../scripts/survival.py"


rule survival_against_labels:
    input:
        fractions="results/{study}/{molecule}/survival/collapse_fractions.csv",
        ledgers=expand(
            "results/{{study}}/{{molecule}}/labels/{data_set}{labelled}_ledger.csv",
            labelled=SAMPLED,
            data_set=DATA_SETS,
        ),
    output:
        **{
            item.name: reported(
                "results/{study}/figures/{molecule}/{name}.svg",
                item,
                molecule="{molecule}",
            )
            for item in catalogue.LABEL_FIGURES.values()
        },
        png="results/{study}/figures/{molecule}/survival_against_labels.png",
        table="results/{study}/figures/{molecule}/survival_against_labels.csv",
        provenance="results/{study}/figures/{molecule}/labels_provenance.json",
    log:
        "results/{study}/{molecule}/logs/survival_against_labels.log",
    benchmark:
        "results/{study}/{molecule}/benchmarks/survival_against_labels.tsv"
    conda:
        "../../envs/physembed.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime="10m",
    params:
        settings=given(stages.survival_against_labels),
        code=code("survival_against_labels.py"),
    script:
        "../scripts/survival_against_labels.py"
