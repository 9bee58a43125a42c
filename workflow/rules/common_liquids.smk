"""What each rule about liquids is given of the study."""

from physembed.liquids.table import elements

MODELS = {model.name: model for model in STUDY.models}
LIQUIDS = STUDY.liquids
VARIANTS = ["uncorrected", "corrected"]
REFERENCE_LIQUIDS = sorted({name for model in STUDY.models for name in model.reference})


wildcard_constraints:
    liquid=one_of(LIQUIDS),
    model=one_of(MODELS),
    variant=one_of(VARIANTS),


def conditions(liquid):
    return {
        "temperature_K": LIQUIDS[liquid].temperature_K,
        "pressure_bar": LIQUIDS[liquid].pressure_bar,
    }


def section(name, *without):
    """A section of the configuration as plain values, without some of its keys."""
    return getattr(STUDY.config, name).model_dump(mode="json", exclude=set(without))


def task_seed(*names):
    return derive_seed(STUDY.config.seed, *names)


# box


def composition(liquid):
    return [[c.name, c.smiles, c.mass_fraction] for c in LIQUIDS[liquid].components]


def component_files(name):
    """Input function: a file of each component's topology, in the order of the composition."""

    def files(wildcards):
        components = LIQUIDS[wildcards.liquid].components
        return [
            f"results/{{study}}/{component.name}/topology/{name}"
            for component in components
        ]

    return files


def box_settings(wildcards):
    return {
        "components": composition(wildcards.liquid),
        "molecules": LIQUIDS[wildcards.liquid].molecules,
        "packing_density_g_cm3": STUDY.config.gaff_npt.packing_density_g_cm3,
        "seed": task_seed("box", wildcards.liquid),
    }


# gaff_npt


def gaff_npt_settings(wildcards):
    return {
        "gaff_npt": section("gaff_npt", "packing_density_g_cm3"),
        **conditions(wildcards.liquid),
        "seed": task_seed("gaff_npt", wildcards.liquid),
    }


# reference


def reference_settings(wildcards):
    reference = MODELS[wildcards.model].settings.reference
    return {
        "reference": reference.model_dump(mode="json", exclude={"liquids", "method"}),
        "components": composition(wildcards.liquid),
        "parameter_set": STUDY.config.topology.parameter_set,
        "seed": task_seed("reference", wildcards.model, wildcards.liquid),
    }


def reference_label_settings(wildcards):
    method = MODELS[wildcards.model].settings.reference.method
    return {"labels": section("labels") | {"method": method}}


# liquid_training


def training_frames(wildcards):
    model = MODELS[wildcards.model]
    if model.settings.data:
        return [model.settings.data]
    return expand(
        "results/{{study}}/models/{{model}}/labels/{liquid}.xyz", liquid=model.reference
    )


def liquid_training_settings(wildcards):
    settings = MODELS[wildcards.model].settings
    return {
        "training": settings.training.model_dump(mode="json"),
        "sha256": settings.sha256,
    }


def training_gpus(wildcards):
    return 0 if MODELS[wildcards.model].settings.training.device == "cpu" else 1


def training_gpu_percent(wildcards):
    return training_gpus(wildcards) * GPU_PERCENT


# liquid_model


def model_file(wildcards):
    return (
        MODELS[wildcards.model].settings.file
        or "results/{study}/models/{model}/training/mace.model"
    )


def model_settings(wildcards):
    model = MODELS[wildcards.model]
    settings = model.settings
    kind = "file" if settings.file else "data" if settings.data else "reference"
    return {
        "kind": kind,
        "source": settings.file or settings.data,
        "sha256": settings.sha256 if settings.file else None,
        # All of them together, so that one more liquid of the same elements changes nothing.
        "elements": sorted(
            set().union(*(elements(LIQUIDS[name]) for name in model.liquids))
        ),
    }


# scan


def tuning_start(wildcards):
    liquid = MODELS[wildcards.model].settings.tune_on
    return f"results/{{study}}/liquids/{liquid}/gaff_npt/trajectory.xyz"


def tuning_bonds(wildcards):
    liquid = MODELS[wildcards.model].settings.tune_on
    return f"results/{{study}}/liquids/{liquid}/box/bonds.csv"


def target_density(model):
    return STUDY.measurements[model.settings.tune_on].density_g_cm3


def scan_settings(wildcards):
    """The target is part of it only where the runs depend on it."""
    model, scan = MODELS[wildcards.model], STUDY.config.scan
    if scan.method == "direct":
        points = {"alphas": model.settings.alphas, "a1": scan.a1}
    else:
        points = {
            "alphas": model.settings.alphas,
            "start_a1": scan.start_a1,
            "a1_range": model.settings.a1_range,
            "target_g_cm3": target_density(model),
            "max_runs": scan.max_runs,
            "minimum_effective_samples": scan.minimum_effective_samples,
        }
    return {
        "npt": section("npt", "duration_ps", "window_ps", "replicas"),
        "duration_ps": scan.duration_ps,
        scan.method: points,
        "convention": model.settings.convention,
        **conditions(model.settings.tune_on),
        "seed": task_seed("scan", wildcards.model),
    }


# tuning


def tuning_settings(wildcards):
    model, scan = MODELS[wildcards.model], STUDY.config.scan
    return {
        "method": scan.method,
        "alphas": model.settings.alphas,
        "a1_range": model.settings.a1_range,
        "convention": model.settings.convention,
        "tuned_on": model.settings.tune_on,
        "target_g_cm3": target_density(model),
        "minimum_effective_samples": scan.minimum_effective_samples,
        **conditions(model.settings.tune_on),
    }


# corrected_model


def confirmation(wildcards):
    """The density of the corrected model on the liquid that it was tuned on, from a run of its own."""
    liquid = MODELS[wildcards.model].settings.tune_on
    return f"results/{{study}}/models/{{model}}/npt/{liquid}/corrected/density.csv"


def correction_settings(wildcards):
    model = MODELS[wildcards.model]
    return {
        "model": wildcards.model,
        "convention": model.settings.convention,
        "target_source": STUDY.measurements[model.settings.tune_on].source,
    }


# npt


def tuning_of_variant(wildcards):
    """The uncorrected runs do not wait for the tuning, nor change with it."""
    corrected = wildcards.variant == "corrected"
    return "results/{study}/models/{model}/tuning/tuning.csv" if corrected else []


def npt_settings(wildcards):
    return {
        "npt": section("npt", "window_ps"),
        "convention": MODELS[wildcards.model].settings.convention,
        **conditions(wildcards.liquid),
        "seed": task_seed("npt", wildcards.model, wildcards.liquid, wildcards.variant),
    }


# viscosity


def viscosity_run_settings(wildcards):
    return {
        "viscosity": section("viscosity", "relative_error"),
        "convention": MODELS[wildcards.model].settings.convention,
        **conditions(wildcards.liquid),
        "seed": task_seed(
            "viscosity", wildcards.model, wildcards.liquid, wildcards.variant
        ),
    }


# structure


VOLUME_SCAN = ("volume_scan_scales", "volume_scan_frames", "volume_scan_labels")


def structure_settings(wildcards):
    return {"structure": section("structure", *VOLUME_SCAN)}


def volume_scan_settings(wildcards):
    structure = STUDY.config.structure
    values = {key: getattr(structure, key) for key in VOLUME_SCAN}
    values |= {
        "convention": MODELS[wildcards.model].settings.convention,
        "dtype": STUDY.config.npt.dtype,
        "device": STUDY.config.npt.device,
    }
    labels = reference_label_settings(wildcards)
    return values | labels if structure.volume_scan_labels else values


# report


MODEL_FIGURES = {
    "density_scan": ("Correction", "Density against a1"),
    "volume_scan": ("Correction", "Rigid volume scan"),
    "densities": ("Liquids", "Densities against experiment"),
    "density_traces": ("Liquids", "Density over time"),
    "viscosities": ("Liquids", "Viscosities against experiment"),
    "green_kubo": ("Liquids", "Running Green-Kubo integrals"),
}
EVALUATED = [
    name for name in LIQUIDS if any(name in model.liquids for model in STUDY.models)
]
TRAINED = [name for name, model in MODELS.items() if not model.settings.file]


def of_liquids(file):
    """Input function: a file of each liquid and variant of a model, liquids in the order of the model's."""

    def files(wildcards):
        return expand(
            f"results/{{{{study}}}}/models/{{{{model}}}}/{file}",
            liquid=MODELS[wildcards.model].liquids,
            variant=VARIANTS,
        )

    return files


def of_all_liquids(file):
    """The same file of every model, liquid and variant."""
    return [
        f"results/{{study}}/models/{model.name}/{file}".replace(
            "{liquid}", liquid
        ).replace("{variant}", variant)
        for model in STUDY.models
        for liquid in model.liquids
        for variant in VARIANTS
    ]


def drawn_of_model(name):
    """A figure of a model as an output that stands in Snakemake's report."""
    category, title = MODEL_FIGURES[name]
    return report(
        f"results/{{study}}/figures/models/{{model}}/{name}.svg",
        caption=f"../report/{name}.rst",
        category=category,
        labels={"model": "{model}", "figure": title},
    )


def liquid_facts(name):
    """What the tables state of a liquid."""
    liquid, measured = LIQUIDS[name], STUDY.measurements[name]
    return {
        "name": name,
        "components": " ".join(
            f"{c.name} {c.mass_fraction:.3g}" if len(liquid.components) > 1 else c.name
            for c in liquid.components
        ),
        "composition": {c.smiles: c.mass_fraction for c in liquid.components},
        "temperature_K": liquid.temperature_K,
        "density_g_cm3": measured and measured.density_g_cm3,
        "density_source": measured.source if measured else "",
        "viscosity_mPa_s": measured and measured.viscosity_mPa_s,
        "viscosity_source": measured.source if measured else "",
    }


def liquid_figure_settings(wildcards):
    liquids = MODELS[wildcards.model].liquids
    return {"liquids": [liquid_facts(name) for name in liquids]}


def liquid_table_settings(wildcards):
    return {
        "liquids": [liquid_facts(name) for name in EVALUATED],
        "models": {model.name: model.liquids for model in STUDY.models},
        "tuned_on": {model.name: model.settings.tune_on for model in STUDY.models},
    }


# What the summary needs of the liquids; nothing where the study has none.
LIQUID_TABLES = {
    "densities": ("density_table", "Densities"),
    "viscosities": ("viscosity_table", "Viscosities"),
    "liquid_errors": ("liquid_errors_table", "Mean deviations"),
    "tuning": ("tuning_table", "Tuning"),
}


def tabled(name):
    """A table of the liquids as an output that stands in Snakemake's report."""
    caption, title = LIQUID_TABLES[name]
    return report(
        f"results/{{study}}/tables/{name}.csv",
        caption=f"../report/{caption}.rst",
        category="Tables",
        labels={"table": title},
    )


def liquid_summary_files():
    """Input of the summary, by name, for the models of liquids."""
    if not MODELS:
        return {}
    base = "results/{study}"
    return {
        "liquid_tables": [f"{base}/tables/{name}.csv" for name in LIQUID_TABLES],
        "descriptions": [f"{base}/models/{name}/model/model.json" for name in MODELS],
        "compositions": [
            f"{base}/liquids/{name}/box/composition.csv" for name in EVALUATED
        ],
        "boxes": [f"{base}/liquids/{name}/gaff_npt/series.csv" for name in EVALUATED],
        "cards": [f"{base}/models/{name}/corrected/card.md" for name in MODELS],
        "model_figures": [
            f"{base}/figures/models/{name}/{figure}.svg"
            for name in MODELS
            for figure in [*MODEL_FIGURES]
            + ["liquid_training"] * (name in TRAINED)
            + [f"structure_{liquid}" for liquid in MODELS[name].liquids]
        ],
    }
