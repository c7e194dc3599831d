"""A base image that nobody has yet: 500 MB in eight layers from a registry on the loopback address."""
import os

from builders import remove
import inputs
import limits
from registry import finished_layers

LAYERS = 7  # and the base with a shell below them


class Pull:
    rows = {"h": "FROM a 500 MB image of 8 layers on a loopback registry, cold"}

    def prepare(self, bench):
        self.layers, self.turns = bench.path("layers"), {}
        inputs.make("layers", LAYERS, int(bench.scale * 500e6), self.layers)
        bench.prepare_bases(["busybox"])

    def image(self, bench):
        """A new image for each turn; the turn before it is nobody's any more."""
        if bench.turn not in self.turns:
            layers = bench.layers("busybox") + list(finished_layers(self.layers, LAYERS, bench.token()))
            tag = bench.token()
            self.turns = {bench.turn: (tag, bench.registry.put_image("big", tag, layers))}
        return self.turns[bench.turn]

    def turn(self, bench, builder):
        tag, _ = self.image(bench)
        context = bench.context("pull", f"FROM {bench.registry.host}/big:{tag}\nRUN true\n")
        builder.fresh()
        # A step that needs the files makes all of them unpack the base.
        bench.time("h", builder, builder.build(context, "none"))
        builder.tidy()

    def limit(self, bench):
        _, digests = self.image(bench)
        target = bench.path("unpacked")
        os.makedirs(target)
        bench.time("h", None, limits.pull(bench.registry.host, "big", digests, target))
        remove(target)
