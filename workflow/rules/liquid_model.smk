"""The model of a liquid: a file as it is, or one that is trained."""


rule liquid_training:
    input:
        frames=given(inputs.training_frames),
    output:
        train="results/{study}/models/{model}/{training}/train.xyz",
        validation="results/{study}/models/{model}/{training}/validation.xyz",
        model="results/{study}/models/{model}/{training}/mace.model",
        curve="results/{study}/models/{model}/{training}/curve.csv",
        provenance="results/{study}/models/{model}/{training}/provenance.json",
    log:
        "results/{study}/models/{model}/logs/{training}.log",
    benchmark:
        "results/{study}/models/{model}/benchmarks/{training}.tsv"
    wildcard_constraints:
        training=r"training(~\d+)?",
    priority: 2
    conda:
        "../../envs/physembed.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime="48h",
        gpu=training_gpus,
        gpu_percent=training_gpu_percent,
    params:
        settings=given(stages.liquid_training),
        code=code("liquid_training.py"),
        restart="results/{study}/restart/liquid_training/{model}",
    script:
        "../scripts/liquid_training.py"


rule liquid_model:
    input:
        model=given(inputs.model_file),
    output:
        model="results/{study}/models/{model}/model/mace.model",
        description="results/{study}/models/{model}/model/model.json",
        provenance="results/{study}/models/{model}/model/provenance.json",
    log:
        "results/{study}/models/{model}/logs/model.log",
    benchmark:
        "results/{study}/models/{model}/benchmarks/model.tsv"
    priority: 2
    conda:
        "../../envs/physembed.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime="10m",
    params:
        settings=given(stages.liquid_model),
        code=code("liquid_model.py"),
    script:
        "../scripts/liquid_model.py"
