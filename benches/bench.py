"""One run of the suite: its folder, its registries, its builders, and what was measured."""
import os
import subprocess
import sys
import time

import builders as kinds
from limits import Sandbox
from measure import Failed, Meter
from registry import Registry, layout_layers

TAGS = {"busybox": "latest", "debian": "bookworm-slim", "python": "3"}


class Skipped(Exception):
    """A workload that this machine has no means for; the text says what is missing."""


class Bench:
    def __init__(self, folder, bases, scale, rbuild):
        self.folder, self.bases, self.scale, self.rbuild = folder, bases, scale, rbuild
        self.everybody, self.builders, self.rows, self.turn = [rbuild], [rbuild], {}, 0
        self.tokens, self.run, self.trees, self.pushed = 0, os.urandom(4).hex(), {}, set()
        self.registry, self.target = Registry(self.path("registry")), Registry(self.path("target"))
        self.sandbox, self.meter = Sandbox(folder), Meter(folder)
        self.hidden = [("--root " + rbuild.store, ""), (rbuild.program, "rbuild"), (self.registry.host, "REGISTRY"),
                       (self.target.host, "REGISTRY"), (self.sandbox.program, "sandbox"), (self.run, "x"), (folder + "/", "")]

    def close(self):
        self.registry.stop()
        self.target.stop()

    def leave_out(self, names):
        """The next workload goes without these."""
        self.builders = [builder for builder in self.everybody if builder.name not in names]

    # What workloads build from.

    def path(self, name):
        return os.path.join(self.folder, name)

    def token(self):
        self.tokens += 1
        return f"{self.run}-{self.tokens}"

    def scaled(self, count):
        return max(1, round(count * self.scale))

    def context(self, name, dockerfile):
        folder = self.path(name)
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "Dockerfile"), "w") as file:
            file.write(dockerfile)
        return folder

    def base(self, name, stage=None):
        """The line that begins a stage, of a base that is then in the registry."""
        if name not in self.pushed:
            if name == "python":
                self.push_python()
            else:
                self.registry.put_image(name, TAGS[name], self.layers(name))
            self.pushed.add(name)
        return f"FROM {self.registry.host}/{name}:{TAGS[name]}" + (f" AS {stage}" if stage else "") + "\n"

    def layers(self, base):
        return layout_layers(os.path.join(self.bases, base))

    def push_python(self):
        """Debian with Python, and the certificates of this machine where downloads are checked against them."""
        install = "apt-get update && apt-get install -y --no-install-recommends python3-venv && python3 -m venv /venv"
        context = self.context("python", self.base("debian") + f"RUN {install}\nCOPY bundle /usr/local/share/bench-ca.crt\n")
        bundle = os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt")
        subprocess.run(["cp", bundle, context + "/bundle"], check=True)
        self.needs_network(self.rbuild.build(context, "push", to=f"{self.registry.host}/python:{TAGS['python']}"))

    def needs_network(self, command):
        try:
            self.quiet(command)
        except RuntimeError as error:
            raise Skipped("needs the network: " + str(error).strip().splitlines()[-1]) from None

    def tree(self, name):
        """The files of a base in a folder."""
        if name not in self.trees:
            self.trees[name] = self.path("tree-" + name)
            context = self.context("tree", self.base(name))
            command = self.rbuild.build(context, "none")
            self.quiet([*command[:-3], "-o", "type=local,dest=" + self.trees[name], context])
            for folder in ["proc", "dev"]:
                os.makedirs(os.path.join(self.trees[name], folder), exist_ok=True)
        return self.trees[name]

    def prepare_bases(self, names, builders=None):
        """Has the bases, unpacked, where the builders find them before they are measured."""
        contexts = [self.context("base-" + name, self.base(name) + "RUN :\n") for name in names]
        for builder in builders or self.builders:
            builder.prepare(contexts)

    def quiet(self, command):
        return kinds.quiet(command, cwd=self.folder)

    # What is measured.

    def samples(self, row, builder):
        name = builder.name if builder else "limit"
        return self.rows.setdefault(row, {}).setdefault(name, {"command": "", "runs": []})

    def time(self, row, builder, command):
        """Measures the command as one sample of the row."""
        found = self.samples(row, builder)
        hidden = self.hidden + [(" ".join(builder.prefix) + " ", "")] if getattr(builder, "prefix", None) else self.hidden
        os.sync()  # what was written before is not to be paid for now
        found["command"] = kinds.shown(command, hidden)
        found["runs"].append(self.meter.measured(command, builder.daemon if builder else None))

    def repeat(self, row, other):
        """The limit of this row is that of another."""
        found = self.samples(other, None)
        self.samples(row, None).update(command=found["command"], runs=list(found["runs"]))

    def note(self, row, builder, text):
        self.samples(row, builder)["note"] = text

    def trip(self, row, builder, seconds):
        """Notes how long a question to the registry takes, once for each sample."""
        self.samples(row, builder).setdefault("trips", []).append(round(seconds, 6))

    def size(self, row, builder, size):
        self.samples(row, builder)["bytes"] = size

    def alternate(self, workload, times):
        """Every builder and the limit in turn, `times` times. One that fails is left out from then on, and named."""
        alone = getattr(workload, "alone", False)
        taking_part = [self.rbuild] if alone else [None, *self.builders]
        for self.turn in range(times):
            for builder in list(taking_part):
                try:
                    begin = time.perf_counter()
                    workload.limit(self) if builder is None else workload.turn(self, builder)
                    name = builder.name if builder else "limit"
                    print(f"  turn {self.turn + 1} {name}: {time.perf_counter() - begin:.1f} s", file=sys.stderr, flush=True)
                except (Failed, RuntimeError) as error:
                    if builder is self.rbuild:
                        raise
                    taking_part.remove(builder)
                    print(f"left out: {builder.name if builder else 'limit'}: {error}", file=sys.stderr)
                time.sleep(0.2)
