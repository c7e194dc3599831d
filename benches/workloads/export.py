"""A built image to an OCI archive or a registry. The image is in the store as files; its layer has to be packed.

rbuild works on a copy of a store that has built it without output; BuildKit has just built it, with something new in it;
buildah packs at every push. The registry is empty before every push.
"""
import glob
import os
import shutil

from builders import remove
import inputs
import limits


def packed(store):
    """Bytes of packed layers, those of the base too."""
    blobs = glob.glob(store + "/*/blobs/**", recursive=True)
    return sum(os.path.getsize(path) for path in blobs if os.path.isfile(path))


class Export:
    rows = {
        "e1": "1 GiB image, half text half incompressible, to an OCI archive, gzip",
        "e2": "the same, zstd",
        "e3": "the same, pushed to a loopback registry, gzip",
    }
    outputs = {"e1": "gzip", "e2": "zstd", "e3": "push"}
    packers = {"e1": "gzip -1", "e2": "zstd -3 -q", "e3": "gzip -1"}

    def prepare(self, bench):
        dockerfile = bench.base("busybox") + "COPY data /data\n"
        self.contexts = {builder.name: bench.context("export-" + builder.name, dockerfile) for builder in bench.builders}
        self.data = bench.path("data")
        inputs.make("data", int(bench.scale * (1 << 30)), self.data)
        for context in self.contexts.values():
            shutil.copytree(self.data, context + "/data")
        self.built = bench.path("built")
        for builder in bench.builders:
            if builder.name == "rbuild":
                remove(self.built)
                bench.quiet(builder.build(self.contexts["rbuild"], "none", store=self.built))
                assert packed(self.built) < os.path.getsize(self.data + "/file000"), "the layer is packed already"
            elif builder.name == "buildah":
                bench.quiet(builder.build(self.contexts["buildah"]))

    def turn(self, bench, builder):
        for row, output in self.outputs.items():
            to = bench.target.host + "/bench:1" if output == "push" else bench.path("image.tar")
            bench.target.empty()
            command = self.ready(bench, builder, output, to)
            bench.time(row, builder, command)
            bench.size(row, builder, bench.target.size() if output == "push" else os.path.getsize(to))
            if output != "push":
                os.unlink(to)
        if builder.name != "buildah":
            builder.tidy()

    def ready(self, bench, builder, output, to):
        """Has the image in the store as files and nothing packed; the command that packs."""
        context = self.contexts[builder.name]
        if builder.name == "buildah":
            return builder.push(output, "bench", to)
        if builder.name == "rbuild":
            builder.fresh(self.built)
        else:
            with open(context + "/data/token", "w") as file:
                file.write(bench.token())
            bench.quiet(builder.build(context, "none"))
        return builder.build(context, output, to=to)

    def limit(self, bench):
        for row, output in self.outputs.items():
            target, packer = bench.path("packed"), self.packers[row]
            bench.target.empty()
            line = limits.archive(self.data, target, packer)
            if output == "push":
                line = limits.push(self.data, target, packer, bench.target.host)
            bench.time(row, None, line)
            made = [name for name in os.listdir(bench.folder) if name.startswith("packed.")]
            bench.size(row, None, sum(os.path.getsize(bench.path(name)) for name in made))
            for name in made:
                os.unlink(bench.path(name))
