"""Figures of each molecule, tables of the study, and its summary page."""


rule figures:
    input:
        # If there are several data sets, the bond lengths are those of the first.
        train=f"results/{{study}}/{{molecule}}/frames/{DATA_SETS[0]}train.xyz",
        bonds="results/{study}/{molecule}/topology/bonds.csv",
        angles="results/{study}/{molecule}/topology/angles.csv",
        sampled=expand(
            f"results/{{{{study}}}}/{{{{molecule}}}}/bond_sampling/{DATA_SETS[0]}{{arm}}.xyz",
            arm=SAMPLED,
        ),
        ranges=expand(
            f"results/{{{{study}}}}/{{{{molecule}}}}/bond_sampling/{DATA_SETS[0]}{{arm}}_ranges.csv",
            arm=SAMPLED,
        ),
        angle_ranges=expand(
            f"results/{{{{study}}}}/{{{{molecule}}}}/bond_sampling/{DATA_SETS[0]}{{arm}}_angle_ranges.csv",
            arm=SAMPLED,
        ),
        ledgers=expand(
            "results/{{study}}/{{molecule}}/labels/{data_set}{labelled}_ledger.csv",
            labelled=LABELLED,
            data_set=DATA_SETS,
        ),
        curves=expand(
            "results/{{study}}/{{molecule}}/training/{arm}/seed{seed}/curve.csv",
            arm=TRAINED,
            seed=SEEDS,
        ),
        frame_errors=expand(
            "results/{{study}}/{{molecule}}/evaluation/{arm}_frames.csv", arm=ARMS
        ),
        forces=expand(
            "results/{{study}}/{{molecule}}/evaluation/{arm}_forces.parquet", arm=ARMS
        ),
        replicas="results/{study}/{molecule}/survival/replicas.csv",
        survival="results/{study}/{molecule}/survival/curves.csv",
        fractions="results/{study}/{molecule}/survival/collapse_fractions.csv",
        comparison="results/{study}/{molecule}/survival/comparison.csv",
    output:
        **{
            item.name: reported(
                "results/{study}/figures/{molecule}/{name}.svg",
                item,
                molecule="{molecule}",
            )
            for item in catalogue.CHAIN_FIGURES.values()
        },
        png=expand(
            "results/{{study}}/figures/{{molecule}}/{name}.png",
            name=catalogue.CHAIN_FIGURES,
        ),
        reliability_table="results/{study}/figures/{molecule}/reliability.csv",
        provenance="results/{study}/figures/{molecule}/provenance.json",
    log:
        "results/{study}/{molecule}/logs/figures.log",
    benchmark:
        "results/{study}/{molecule}/benchmarks/figures.tsv"
    conda:
        "../../envs/physembed.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime="20m",
    params:
        settings=given(stages.figures),
        code=code("figures.py", "report/paper_stability.csv"),
    script:
        "../scripts/figures.py"


rule viewer:
    input:
        replicas="results/{study}/{molecule}/survival/replicas.csv",
        bonds="results/{study}/{molecule}/topology/bonds.csv",
        trajectories=expand(
            "results/{{study}}/{{molecule}}/stability/{arm}/seed{seed}/trajectories",
            arm=ARMS,
            seed=SEEDS,
        ),
    output:
        movies="results/{study}/figures/{molecule}/viewer.json",
        provenance="results/{study}/figures/{molecule}/viewer_provenance.json",
    log:
        "results/{study}/{molecule}/logs/viewer.log",
    benchmark:
        "results/{study}/{molecule}/benchmarks/viewer.tsv"
    conda:
        "../../envs/physembed.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime="10m",
    params:
        settings=given(stages.viewer),
        code=code("viewer.py"),
    script:
        "../scripts/viewer.py"


rule tables:
    input:
        fractions=expand(
            "results/{{study}}/{molecule}/survival/collapse_fractions.csv",
            molecule=MOLECULES,
        ),
        frames=expand(
            "results/{{study}}/{molecule}/evaluation/{arm}_frames.csv",
            molecule=MOLECULES,
            arm=ARMS,
        ),
        forces=expand(
            "results/{{study}}/{molecule}/evaluation/{arm}_forces.parquet",
            molecule=MOLECULES,
            arm=ARMS,
        ),
        errors=expand(
            "results/{{study}}/{molecule}/metrics/{arm}_errors.csv",
            molecule=MOLECULES,
            arm=ARMS,
        ),
        ledgers=expand(
            "results/{{study}}/{molecule}/labels/{data_set}{labelled}_ledger.csv",
            molecule=MOLECULES,
            labelled=LABELLED,
            data_set=DATA_SETS,
        ),
    output:
        **{
            item.name: reported("results/{study}/tables/{name}.csv", item)
            for item in catalogue.MOLECULE_TABLES.values()
        },
        provenance="results/{study}/tables/provenance.json",
    log:
        "results/{study}/logs/tables.log",
    benchmark:
        "results/{study}/benchmarks/tables.tsv"
    conda:
        "../../envs/physembed.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime="20m",
    params:
        settings=given(stages.tables),
        code=code("tables.py", "report/paper_stability.csv"),
    script:
        "../scripts/tables.py"


rule summary:
    input:
        **inputs.of_summary(STUDY),
    output:
        html="results/{study}/summary.html",
        # The same page without figures: Snakemake's report cannot show a page of several megabytes.
        overview=reported("results/{study}/{name}.html", catalogue.OVERVIEW),
        provenance="results/{study}/provenance.json",
    log:
        "results/{study}/logs/summary.log",
    benchmark:
        "results/{study}/benchmarks/summary.tsv"
    conda:
        "../../envs/physembed.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime="10m",
    params:
        settings=given(stages.summary),
        code=code(
            "summary.py",
            "report/summary.html",
            "report/viewer.js",
            "report/paper_stability.csv",
            "report/paper_density.csv",
            "report/paper_viscosity.csv",
        ),
    script:
        "../scripts/summary.py"
