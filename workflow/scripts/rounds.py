"""The row of each round of learning -> a table of the rounds of all arms and molecules."""

from physembed.learning.rounds import rounds_table
from physembed.stage import stage
from physembed.tables import read_table

with stage(snakemake):
    rows = zip(snakemake.params.settings["rounds"], snakemake.input.rounds, strict=True)
    table = rounds_table([(*of, read_table(path)) for of, path in rows])
    table.to_csv(snakemake.output.rounds, index=False)
