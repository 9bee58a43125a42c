"""A study from its configuration files, merged as Snakemake merges them, for the commands beside the workflow."""

from collections.abc import Sequence

from snakemake.common.configfile import load_configfile
from snakemake.utils import update_config

from physembed.config.files import check_files
from physembed.study import Study, load_study

BASE = "config/config.yaml"


def checked_study(overlays: Sequence[str]) -> Study:
    """The study as the Snakefile sees it, with these files laid over `config/config.yaml`.

    Raises:
        PhysEmbedError: one line that names the file or key.
    """
    check_files([BASE, *overlays])
    config: dict[str, object] = {}
    for path in [BASE, *overlays]:
        update_config(config, load_configfile(path))
    return load_study(config)
