"""Structure of a liquid with and without the correction, and the rigid volume scan."""


rule structure:
    input:
        trajectories=expand(
            "results/{{study}}/models/{{model}}/npt/{{liquid}}/{variant}/trajectory.xyz",
            variant=VARIANTS,
        ),
        replicas=expand(
            "results/{{study}}/models/{{model}}/npt/{{liquid}}/{variant}/replicas.csv",
            variant=VARIANTS,
        ),
        bonds="results/{study}/liquids/{liquid}/box/bonds.csv",
    output:
        rdf="results/{study}/models/{model}/structure/{liquid}/rdf.csv",
        adf="results/{study}/models/{model}/structure/{liquid}/adf.csv",
        provenance="results/{study}/models/{model}/structure/{liquid}/provenance.json",
    log:
        "results/{study}/models/{model}/logs/structure_{liquid}.log",
    benchmark:
        "results/{study}/models/{model}/benchmarks/structure_{liquid}.tsv"
    conda:
        "../../envs/physembed.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime="2h",
    params:
        settings=given(stages.structure),
        code=code("structure.py"),
    script:
        "../scripts/structure.py"


rule volume_scan:
    input:
        model="results/{study}/models/{model}/model/mace.model",
        tuning="results/{study}/models/{model}/tuning/tuning.csv",
        frames=given(inputs.of_tuning_liquid, name="gaff_npt/trajectory.xyz"),
    output:
        scan="results/{study}/models/{model}/volume_scan/volume_scan.csv",
        provenance="results/{study}/models/{model}/volume_scan/provenance.json",
    log:
        "results/{study}/models/{model}/logs/volume_scan.log",
    benchmark:
        "results/{study}/models/{model}/benchmarks/volume_scan.tsv"
    conda:
        "../../envs/physembed.yaml"
    threads: threads_of(2)
    resources:
        mem_mb=8000,
        runtime="12h",
        gpu=gpus(STUDY.config.npt),
        gpu_percent=gpus(STUDY.config.npt) * GPU_PERCENT,
    params:
        settings=given(stages.volume_scan),
        code=code("volume_scan.py"),
        restart="results/{study}/restart/volume_scan/{model}",
    script:
        "../scripts/volume_scan.py"
