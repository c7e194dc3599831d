"""What is measured. A workload has rows; `prepare` runs once, `turn` once for each builder and repetition, alternating.

In a turn everything that is not the work itself happens before the command that `bench.time` measures.
"""
from . import context, export, pull, real, size, steps

ALL = {"a": steps.Again, "b": steps.Runs, "c": steps.Stages, "d": context.Context, "e": export.Export, "f": real.Compile,
       "g": real.Framework, "h": pull.Pull, "i": size.Size}
