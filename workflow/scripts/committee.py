"""The models of an arm -> one file that gives their mean and spread."""

from physembed.stage import stage

with stage(snakemake):
    # Imported here, so that the output of these packages goes to the log.
    from physembed.models.committee import write_committee

    write_committee(snakemake.output.committee, snakemake.input.models)
