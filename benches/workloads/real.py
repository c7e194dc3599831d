"""Two real builds, from nothing but the base and after an edit of one source file. They need the network.

The program is shipped on a small base, the framework with all it needs.
The limit runs the same lines in the bare sandbox: what rbuild takes longer is its own share.
"""
import os
import shutil

import inputs


class Compile:
    rows = {"f1": "Debian, apt-get install gcc, compile C, program to a small image, cold", "f2": "the same after an edit of the source"}
    names, bases = ("f1", "f2"), ["debian", "busybox"]
    install = "apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*"
    work = "gcc -O2 -static -o /program /src/main.c && /program"
    shipped = "COPY --from=build /program /\n"

    def prepare(self, bench):
        bench.prepare_bases(self.bases)
        self.folder = bench.path(self.names[0])
        self.sources(bench)

    def sources(self, bench):
        inputs.make("program", self.folder + "/src")
        self.edited = self.folder + "/src/main.c"

    def dockerfile(self, bench):
        """What is installed depends on a token: nobody has done it yet."""
        made = f"{bench.base(self.bases[0], 'build')}RUN : {bench.token()}; {self.install}\nCOPY src /src\nRUN {self.work}\n"
        return made + (bench.base(self.bases[1]) + self.shipped if self.shipped else "")

    def turn(self, bench, builder):
        bench.context(self.names[0], self.dockerfile(bench))
        builder.fresh()
        command = builder.build(self.folder)
        bench.time(self.names[0], builder, command)
        self.edit(bench)
        bench.time(self.names[1], builder, command)
        builder.tidy()
        if builder.tidies:
            bench.prepare_bases(self.bases, [builder])

    def edit(self, bench):
        comment = "/* %s */\n" if self.edited.endswith(".c") else "# %s\n"
        with open(self.edited, "a") as file:
            file.write(comment % bench.token())

    def limit(self, bench):
        tree = bench.tree(self.bases[0])
        shutil.copy("/etc/resolv.conf", os.path.join(tree, "etc/resolv.conf"))
        bench.sandbox.fresh()
        image = bench.path("source")
        shutil.rmtree(image, ignore_errors=True)
        shutil.copytree(self.folder + "/src", image + "/src")
        steps = [self.install, f"copy {image}", self.work]
        bench.time(self.names[0], None, bench.sandbox.command(tree, steps))
        bench.sandbox.forget(1)
        bench.time(self.names[1], None, bench.sandbox.command(tree, steps, first=1))


class Framework(Compile):
    """The base has Python and pip in a virtual environment; where the machine has a certificate authority of its own, the bundle is in it too."""
    rows = {"g1": "pip install of a web framework (Flask), cold", "g2": "the same after an edit of the source"}
    names, bases, shipped = ("g1", "g2"), ["python"], ""
    install = ("/venv/bin/pip install -q --no-cache-dir --disable-pip-version-check"
               " --cert /usr/local/share/bench-ca.crt Flask==3.1.0")
    work = "/venv/bin/python -m compileall -q /src && /venv/bin/python -c 'import flask'"

    def sources(self, bench):
        os.makedirs(self.folder + "/src", exist_ok=True)
        self.edited = self.folder + "/src/app.py"
        with open(self.edited, "w") as file:
            file.write("import flask\n\napp = flask.Flask(__name__)\n")
