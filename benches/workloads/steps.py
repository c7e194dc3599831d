"""Steps: none to do, fifty small ones in a row, eight slow ones side by side."""


class Again:
    """Nothing changed. The base is a tag of a registry on the loopback address: who asks it is counted, and one
    question is timed: a build that asks takes that much longer."""
    rows = {"a": "no-op rebuild, 15 cached instructions, kept as `-t`"}

    def prepare(self, bench):
        runs = "".join(f"RUN echo {number} > /f{number}\n" for number in range(14))
        self.context = bench.context("again", bench.base("busybox") + runs)
        for builder in bench.builders:
            bench.quiet(builder.build(self.context))

    def turn(self, bench, builder):
        before = bench.registry.requests()
        bench.time("a", builder, builder.build(self.context))
        is_checked = bench.registry.requests() > before
        bench.note("a", builder, "tag checked" if is_checked else "tag not checked")
        if is_checked:
            bench.trip("a", builder, bench.registry.ask("busybox"))

    def limit(self, bench):
        bench.time("a", None, ["cat", self.context + "/Dockerfile"])


class Runs:
    rows = {"b": "50 RUN steps FROM busybox, each writing a small file"}

    def prepare(self, bench):
        self.count = bench.scaled(50)
        bench.prepare_bases(["busybox"])

    def turn(self, bench, builder):
        runs = "".join(f"RUN echo {bench.token()} > /f{number}\n" for number in range(self.count))
        context = bench.context("runs", bench.base("busybox") + runs)
        builder.fresh()
        bench.time("b", builder, builder.build(context))

    def limit(self, bench):
        bench.sandbox.fresh()
        steps = [f"echo {bench.token()} > /f{number}" for number in range(self.count)]
        bench.time("b", None, bench.sandbox.command(bench.tree("busybox"), steps))


class Stages:
    rows = {"c": "8 independent stages sleeping 1 s, copied together"}

    def prepare(self, bench):
        bench.prepare_bases(["busybox"])

    def turn(self, bench, builder):
        stages = [bench.base("busybox", f"s{number}") + f"RUN sleep 1; echo {bench.token()} > /o{number}\n" for number in range(8)]
        copies = [f"COPY --from=s{number} /o{number} /\n" for number in range(8)]
        context = bench.context("stages", "".join(stages) + bench.base("busybox") + "".join(copies))
        builder.fresh()
        more = {"jobs": 8} if builder.name == "buildah" else {}
        bench.time("c", builder, builder.build(context, **more))

    def limit(self, bench):
        bench.sandbox.fresh()
        steps = [f"sleep 1; echo {number} > /o{number}" for number in range(8)]
        bench.time("c", None, bench.sandbox.command(bench.tree("busybox"), steps, together=True))
