"""A model file, given or trained -> the model that all later stages use, and what it is."""

from physembed.stage import stage

with stage(snakemake):
    # Imported here, so that the output of these packages goes to the log.
    import json
    import shutil
    from dataclasses import asdict

    from physembed.files import atomic
    from physembed.model_files.given import check_model_file
    from physembed.models.check import examine_file

    settings, file, output = snakemake.params.settings, snakemake.input.model, snakemake.output
    key = f"models.{snakemake.wildcards.model}"
    description = check_model_file(key, file, settings["sha256"], {"of the study": settings["elements"]})
    verdict = examine_file(file, key)
    with atomic(output.model) as temporary:
        shutil.copyfile(file, temporary)
    with atomic(output.description) as temporary:
        facts = {"kind": settings["kind"], "source": settings["source"], **description, **asdict(verdict)}
        temporary.write_text(json.dumps(facts, indent=1) + "\n")
