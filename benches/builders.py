"""The builders that are compared: how each is told to do the same work.

`build` and `push` give the command to be measured. `fresh` runs unmeasured: afterwards the base images are there, unpacked,
and nothing that the coming work could find. rbuild gets a copy of a store that only holds the bases; the peers keep theirs
and are given work with something new in it, a token, which comes down to the same and spares them a cold start.
RUN steps use the network of the host everywhere: it is the fastest of the peers' modes.
"""
import os
import shlex
import subprocess
import time

from measure import Daemon

ARCHIVE = {"gzip": "type=oci,dest={to}", "zstd": "type=oci,dest={to},compression=zstd,force-compression=true"}


def quiet(command, **more):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, **more)
    if done.returncode:
        raise RuntimeError(f"{command}\n{done.stdout[-1000:]}{done.stderr[-2000:]}")
    return done.stdout


def remove(path):
    subprocess.run(["rm", "-rf", path], check=True)


class Rbuild:
    name, daemon, tidies = "rbuild", None, False

    def __init__(self, program, folder):
        self.program, self.store, self.seed = program, os.path.join(folder, "store"), os.path.join(folder, "seed")
        self.version = quiet([program, "version"]).strip().removeprefix("rbuild ")

    def prepare(self, contexts):
        """Has the bases of these contexts in the store that `fresh` copies."""
        remove(self.seed)
        for context in contexts:
            quiet(self.build(context, "none", store=self.seed))

    def build(self, context, output="tag", tag="bench", to=None, store=None):
        words = [self.program, "--root", store or self.store, "build", "-q", "--network=host"]
        return words + flags(output, tag, to) + [context]

    def fresh(self, seed=None):
        remove(self.store)
        quiet(["cp", "-a", seed or self.seed, self.store])

    def tidy(self):
        remove(self.store)


class BuildKit:
    name, tidies = "buildkit", True

    def __init__(self, prefix, prunes):
        self.prefix, self.prunes = prefix, prunes
        quiet(prefix + ["docker", "version"])
        socket = quiet(prefix + ["sh", "-c", "echo ${DOCKER_HOST:-}"]).strip()
        self.daemon = Daemon.of("dockerd", socket)

    def versions(self):
        line = "{{.Server.Version}} go {{.Server.GoVersion}}"
        runc = quiet(self.prefix + ["sh", "-c", "runc --version | head -1"]).split()[-1]
        return {"docker": quiet(self.prefix + ["docker", "version", "--format", line]).strip(),
                "buildx": quiet(self.prefix + ["docker", "buildx", "version"]).split()[1], "runc": runc}

    def prepare(self, contexts):
        for context in contexts:
            quiet(self.build(context, "none"))

    def build(self, context, output="tag", tag="bench", to=None):
        words = self.prefix + ["docker", "buildx", "build", "-q", "--provenance=false", "--network=host"]
        return words + flags(output, "rbuild-bench-" + tag if output == "tag" else tag, to) + [context]

    def fresh(self):
        pass

    def tidy(self):
        """Our images go and, where that is allowed, all of BuildKit's cache: its records do not say whose they are."""
        subprocess.run(self.prefix + ["sh", "-c", "docker images -q 'rbuild-bench-*' | sort -u | xargs -r docker rmi -f"],
                       capture_output=True)
        if self.prunes:
            subprocess.run(self.prefix + ["docker", "buildx", "prune", "-af"], capture_output=True)
            time.sleep(1)


class Buildah:
    name, daemon, tidies = "buildah", None, True

    def __init__(self, prefix, folder):
        self.folder = os.path.join(folder, "buildah")
        self.words = prefix + ["buildah", "--root", self.folder + "/root", "--runroot", self.folder + "/run"]
        quiet(prefix + ["buildah", "version"])
        self.prefix = prefix

    def versions(self):
        crun = quiet(self.prefix + ["sh", "-c", "crun --version | head -1"]).split()[-1]
        return {"buildah": quiet(self.prefix + ["buildah", "--version"]).split()[2], "crun": crun}

    def prepare(self, contexts):
        for context in contexts:
            quiet(self.build(context))

    def build(self, context, output="tag", tag="bench", to=None, jobs=None):
        words = self.words + ["build", "-q", "--layers", "--tls-verify=false", "--network=host"]
        return words + (["--jobs", str(jobs)] if jobs else []) + ["-t", tag, context]

    def push(self, output, tag, to):
        words = self.words + ["push", "-q", "--tls-verify=false"]
        if output == "zstd":
            words += ["--compression-format", "zstd", "--force-compression"]
        return words + [tag, "docker://" + to if output == "push" else "oci-archive:" + to]

    def fresh(self):
        pass

    def tidy(self):
        subprocess.run(self.words + ["rmi", "-af"], capture_output=True)


def flags(output, tag, to):
    """What `docker buildx build` and rbuild both understand."""
    if output == "none":
        return ["-o", "type=cacheonly"]
    if output == "tag":
        return ["-t", tag]
    if output == "push":
        return ["-t", to, "--push"]
    return ["-o", ARCHIVE[output].format(to=to)]


def installed(prefix, folder, prunes):
    """The peers that answer, and a line about each that does not."""
    found, missing = [], []
    if subprocess.run(prefix + ["test", "-d", folder], capture_output=True).returncode:
        return [], [f"all peers: {folder} is not seen by `{shlex.join(prefix)}`, see --tmp"]
    for make in (lambda: BuildKit(prefix, prunes), lambda: Buildah(prefix, folder)):
        try:
            found.append(make())
        except (OSError, RuntimeError) as error:
            missing.append(str(error).splitlines()[0])
    return found, missing


def shown(command, hidden):
    """The command as a reader would type it: no prefix, no paths of this machine."""
    text = command if isinstance(command, str) else shlex.join(command)
    for what, instead in hidden:
        text = text.replace(what, instead)
    return " ".join(text.split())
