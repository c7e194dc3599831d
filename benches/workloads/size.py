"""How the cost grows with the size of the input: files of a context, layers of an image, instructions. rbuild alone."""
import inputs
from builders import remove

FILES = [1_000, 10_000, 100_000, 500_000]
LAYERS = [1, 10, 100]
INSTRUCTIONS = [10, 100, 1_000]


class Size:
    alone = True
    rows = {"i-files": "context of that many files, first time", "i-again": "the same again, unchanged",
            "i-layers": "image of that many layers of 20 files, built and written as OCI archive",
            "i-instructions": "that many instructions, one in ten a RUN", "i-cached": "the same again"}

    def prepare(self, bench):
        bench.prepare_bases(["busybox"])
        for count in sizes(FILES, bench):
            context = bench.context(f"size-{count}", bench.base("busybox") + "COPY . /app\n")
            inputs.make("files", count, 400, context + "/src")

    def turn(self, bench, builder):
        """Three times are enough, the largest context once."""
        if bench.turn < 3:
            for count in sizes(FILES if bench.turn == 0 else FILES[:-1], bench):
                self.files(bench, builder, count)
            for count in sizes(LAYERS, bench):
                self.layers(bench, builder, count)
            for count in sizes(INSTRUCTIONS, bench):
                self.instructions(bench, builder, count)
        builder.tidy()

    def files(self, bench, builder, count):
        context = bench.path(f"size-{count}")
        builder.fresh()
        command = builder.build(context, "none")
        bench.time(f"i-files {count}", builder, command)
        bench.time(f"i-again {count}", builder, command)

    def layers(self, bench, builder, count):
        context = bench.context("layers-context", bench.base("busybox") + "".join(f"COPY {n} /{n}\n" for n in range(count)))
        for number in range(count):
            inputs.make("files", 20, 4000, f"{context}/{number}")
        builder.fresh()
        bench.time(f"i-layers {count}", builder, builder.build(context, "gzip", to=bench.path("image.tar")))
        remove(context)

    def instructions(self, bench, builder, count):
        lines = [f"RUN echo {n} > /f\n" if n % 10 == 0 else f"ENV V{n}={n}\n" for n in range(1, count)]
        context = bench.context("instructions", bench.base("busybox") + "".join(lines))
        builder.fresh()
        command = builder.build(context)
        bench.time(f"i-instructions {count}", builder, command)
        bench.time(f"i-cached {count}", builder, command)


def sizes(numbers, bench):
    return sorted({bench.scaled(number) for number in numbers})
