"""The model and its tuned correction -> one file to take away, its facts and its card."""

from physembed.stage import stage

with stage(snakemake):
    # Imported here, so that the output of these packages goes to the log.
    import json
    from pathlib import Path

    from physembed.models.corrected import write_corrected
    from physembed.tables import first_row

    settings, source, output = snakemake.params.settings, snakemake.input, snakemake.output

    write_corrected(
        output.model,
        output.facts,
        output.card,
        name=settings["model"],
        base_model=source.model,
        description=json.loads(Path(source.description).read_text()),
        # The corrected model uses the first alpha of the configuration.
        tuning=first_row(source.tuning),
        target_source=settings["target_source"],
        confirmation=first_row(source.confirmation),
    )
