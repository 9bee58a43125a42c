"""A model that is run as it is -> the model of an arm, after a comparison with MACE's own calculator."""

from physembed.stage import stage

with stage(snakemake):
    # Imported here, so that what these packages print on their way goes to the log.
    import shutil

    from physembed.files import atomic
    from physembed.models.check import examine_file

    examine_file(snakemake.input.model, f"arms.{snakemake.wildcards.arm}.base")
    with atomic(snakemake.output.model) as temporary:
        shutil.copyfile(snakemake.input.model, temporary)
