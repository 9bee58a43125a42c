"""The configuration files, checked before Snakemake merges them."""

import sys

# Scripts run with the search path of this process, so that they find the library in any environment.
sys.path.insert(0, str(workflow.basedir))

from physembed.config.files import check_files
from physembed.errors import PhysEmbedError
from physembed.files import check_python


def in_one_line(check, argument):
    """What a check returns; what it complains of ends Snakemake with one line and no traceback."""
    try:
        return check(argument)
    except PhysEmbedError as error:
        sys.exit(str(error))


in_one_line(check_python, sys.executable)
in_one_line(check_files, ["config/config.yaml", *workflow.configfiles])
