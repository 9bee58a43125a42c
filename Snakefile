from snakemake.utils import min_version

min_version("9.27")


include: "workflow/rules/configuration.smk"


configfile: "config/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/molecule.smk"
include: "workflow/rules/topology.smk"
include: "workflow/rules/gaff_md.smk"
include: "workflow/rules/frames.smk"
include: "workflow/rules/bond_sampling.smk"
include: "workflow/rules/labels.smk"
include: "workflow/rules/conformations.smk"
include: "workflow/rules/pretraining.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/learning.smk"
include: "workflow/rules/evaluation.smk"
include: "workflow/rules/stability.smk"
include: "workflow/rules/force_metrics.smk"
include: "workflow/rules/survival.smk"
include: "workflow/rules/box.smk"
include: "workflow/rules/gaff_npt.smk"
include: "workflow/rules/reference.smk"
include: "workflow/rules/liquid_model.smk"
include: "workflow/rules/scan.smk"
include: "workflow/rules/npt.smk"
include: "workflow/rules/viscosity.smk"
include: "workflow/rules/structure.smk"
include: "workflow/rules/liquid_report.smk"
include: "workflow/rules/report.smk"


report: "workflow/report/workflow.rst"


onstart:
    in_one_line(check_writable, f"results/{STUDY.config.study}")


rule all:
    default_target: True
    input:
        expand("results/{study}/summary.html", study=STUDY.config.study),
        inputs.committees(STUDY),
