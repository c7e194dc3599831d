"""The limit of a workload: what plain programs need that do its essential work and nothing else.

They are given as lines for the shell, so that everybody can see and repeat them.
"""
import os
import shlex
import subprocess

from measure import compiled

CORES = len(os.sched_getaffinity(0))


class Sandbox:
    """sandbox.c: clone, overlay, exec for each step."""

    def __init__(self, folder):
        self.program, self.work = compiled("sandbox", folder), os.path.join(folder, "steps")

    def command(self, base, steps, together=False, first=0):
        more = ["-j"] * together + (["-f", str(first)] if first else [])
        return [self.program, *more, base, self.work, *steps]

    def fresh(self):
        subprocess.run(["rm", "-rf", self.work], check=True)
        os.makedirs(self.work)

    def forget(self, first):
        """What the steps from this one on have changed."""
        for name in os.listdir(self.work):
            if int(name) >= first:
                subprocess.run(["rm", "-rf", os.path.join(self.work, name)], check=True)


def copy(source, target):
    return ["cp", "-a", source, target]


def walk(folder):
    return f"find {shlex.quote(folder)} -printf '%i %s %T@ %C@ %m %U %G %p\\n' | sha256sum"


def archive(folder, target, packer):
    """The files of a folder, in as many archives as there are cores, packed at the same time."""
    line = f'tar -cf - "$@" | {packer} | tee "{target}.$$" | sha256sum'
    return f"cd {shlex.quote(folder)} && ls | xargs -P {CORES} -n {{each}} sh -c {shlex.quote(line)} sh".format(
        each=max(1, -(-len(os.listdir(folder)) // CORES)))


def push(folder, target, packer, registry):
    """The same, then sent to the registry."""
    upload = (f'd=sha256:$(sha256sum < "$1" | cut -d" " -f1); u=$(curl -sf -X POST -D - -o /dev/null http://{registry}/v2/limit/blobs/uploads/'
              " | tr -d '\\r' | sed -n 's/^[Ll]ocation: //p'); curl -sf -T \"$1\" \"$u&digest=$d\"")
    return f"{archive(folder, target, packer)} && ls {target}.* | xargs -P {CORES} -n 1 sh -c {shlex.quote(upload)} sh"


def pull(registry, name, digests, target):
    """Every layer fetched, checked and unpacked, all at the same time."""
    line = (f'mkdir "{target}/$1" && curl -sf http://{registry}/v2/{name}/blobs/$1 | '
            f'{{ tee /dev/fd/3 | sha256sum; }} 3>&1 >/dev/null | tar -xzf - -C "{target}/$1"')
    return f"echo {' '.join(digests)} | xargs -P {len(digests)} -n 1 sh -c {shlex.quote(line)} sh"
