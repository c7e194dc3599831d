"""A context of many small files: copied the first time, again unchanged, and with one file changed.

Measured twice: without a result beyond the cache, and with a tag (what buildah always makes). Before each first time the
folder gets a new name and a new file in it, so that no builder finds parts of it; the store of rbuild is new.
"""
import os

from builders import remove
import inputs
import limits


class Context:
    rows = {
        "d1": "context of 50,000 small files, first time, no output",
        "d2": "the same again, unchanged, no output",
        "d3": "the same, one file changed, no output",
        "d1t": "context of 50,000 small files, first time, tagged",
        "d2t": "the same again, unchanged, tagged",
        "d3t": "the same, one file changed, tagged",
    }

    def prepare(self, bench):
        bench.prepare_bases(["busybox"])
        self.context = bench.context("context", bench.base("busybox") + "COPY . /app\n")
        inputs.make("files", bench.scaled(50_000), 4640, self.context + "/src")

    def turn(self, bench, builder):
        for output in ["none", "tag"] if builder.name != "buildah" else ["tag"]:
            self.three(bench, builder, output, "t" if output == "tag" else "")
        builder.tidy()
        if builder.tidies:
            bench.prepare_bases(["busybox"], [builder])

    def three(self, bench, builder, output, mark):
        builder.fresh()
        self.renew(bench)
        command = builder.build(self.context, output)
        bench.time("d1" + mark, builder, command)
        bench.time("d2" + mark, builder, command)
        self.edit(bench)
        bench.time("d3" + mark, builder, command)

    def renew(self, bench):
        name = bench.path("context-" + bench.token())
        os.rename(self.context, name)
        self.context = name
        self.edit(bench)

    def edit(self, bench):
        with open(self.context + "/src/d0000/e0/f000000.txt", "a") as file:
            file.write(bench.token() + "\n")

    def limit(self, bench):
        target = bench.path("copy")
        bench.time("d1", None, limits.copy(self.context, target))
        remove(target)
        bench.time("d2", None, limits.walk(self.context))
        bench.time("d3", None, limits.walk(self.context))
        bench.repeat("d1t", "d1"), bench.repeat("d2t", "d2"), bench.repeat("d3t", "d3")
