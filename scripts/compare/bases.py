"""Base images of the cases, as OCI layouts: `base` (busybox), `rich` (every field set), `plain` (few fields, no PATH), `trees` (odd files)."""
import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile

from case import EPOCH

PASSWD = ("root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\nwww-data:x:33:33::/var/www:/bin/false\n"
          "app:x:1000:1001:app:/home/app:/bin/sh\n# a comment\n\nbroken\nshort:x:7\nnobody:x:65534:65534:nobody:/home:/bin/false\n")
GROUP = "root:x:0:\ndaemon:x:1:app\nwww-data:x:33:\napp:x:1001:\nusers:x:100:app,www-data\nextra:x:2000:app\nbad\nnogroup:x:65534:\n"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
RICH = {
    "Env": [PATH, "FOO=of the base", "EMPTY=", "A=base=a", "NOVALUE"],
    "Cmd": ["base", "command"],
    "Entrypoint": ["/bin/base", "-x"],
    "WorkingDir": "/srv/base",
    "User": "app",
    "Labels": {"base": "yes", "quoted": "a \"b\" 'c'"},
    "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
    "Volumes": {"/data": {}},
    "StopSignal": "SIGQUIT",
    "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 5000000000, "Retries": 2},
    "Shell": ["/bin/sh", "-ec"],
    "Hostname": "there",
    "Domainname": "domain",
    "AttachStdout": True,
    "Tty": True,
    "OnBuild": [],
}


def entry(tar, name, content=None, mode=0o644, kind=tarfile.REGTYPE, target="", owner=(0, 0), attributes=None):
    member = tarfile.TarInfo(name)
    member.mode, member.type, member.linkname, member.mtime = mode, kind, target, EPOCH
    member.uid, member.gid = owner
    if attributes:
        member.pax_headers = {"SCHILY.xattr." + k: v for k, v in attributes.items()}
    data = content.encode() if isinstance(content, str) else content
    member.size = len(data) if data is not None else 0
    tar.addfile(member, io.BytesIO(data) if data is not None else None)


def archive(fill):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        fill(tar)
    return buffer.getvalue()


def busybox_layer(path):
    def fill(tar):
        for name, mode in (("bin", 0o755), ("etc", 0o755), ("home", 0o755), ("root", 0o700), ("tmp", 0o1777), ("usr", 0o755), ("var", 0o755)):
            entry(tar, name, kind=tarfile.DIRTYPE, mode=mode)
        entry(tar, "home/app", kind=tarfile.DIRTYPE, mode=0o750, owner=(1000, 1001))
        with open(path, "rb") as program:
            entry(tar, "bin/busybox", program.read(), 0o755)
        applets = subprocess.run([path, "--list"], check=True, capture_output=True, text=True).stdout.split()
        for name in sorted(set(applets) - {"busybox"}):
            entry(tar, "bin/" + name, kind=tarfile.LNKTYPE, target="bin/busybox", mode=0o755)
        entry(tar, "etc/passwd", PASSWD)
        entry(tar, "etc/group", GROUP)
    return archive(fill)


def tree_layer():
    def fill(tar):
        d, l = tarfile.DIRTYPE, tarfile.SYMTYPE
        entry(tar, "t", kind=d, mode=0o2750, owner=(5, 6))
        entry(tar, "t/real", kind=d, mode=0o700, owner=(7, 8))
        entry(tar, "t/real/file", "real", 0o4755, owner=(7, 8))
        entry(tar, "t/real/hard", kind=tarfile.LNKTYPE, target="t/real/file", mode=0o4755, owner=(7, 8))
        entry(tar, "t/link", kind=l, target="real", mode=0o777, owner=(9, 9))
        entry(tar, "t/absolute", kind=l, target="/t/real", mode=0o777)
        entry(tar, "t/tofile", kind=l, target="real/file", mode=0o777)
        entry(tar, "t/dangling", kind=l, target="nowhere", mode=0o777)
        entry(tar, "t/far", kind=l, target="/not/there/yet", mode=0o777)
        entry(tar, "t/loop", kind=l, target="loop", mode=0o777)
        entry(tar, "t/up", kind=l, target="../../../../etc", mode=0o777)
        entry(tar, "t/fifo", kind=tarfile.FIFOTYPE, mode=0o600)
        entry(tar, "t/caps", "c", 0o755, attributes={"security.capability": "\x01\x00\x00\x02\x20\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"})
        entry(tar, "t/sticky", kind=d, mode=0o1777)
        entry(tar, "t/sticky/x", "x", 0o666, owner=(1000, 1001))
    return archive(fill)


def over_layer():
    """Takes away and replaces things of the layer below."""
    def fill(tar):
        entry(tar, "t/sticky/.wh.x", "")
        entry(tar, "t/sticky/y", "y", owner=(3, 3))
        entry(tar, "t/real2", kind=tarfile.DIRTYPE)
        entry(tar, "t/real2/hard", "not hard", 0o600)
        entry(tar, "opaque", kind=tarfile.DIRTYPE)
        entry(tar, "opaque/.wh..wh..opq", "")
        entry(tar, "opaque/new", "new")
    return archive(fill)


def write_layout(folder, layers, config, history):
    blobs = os.path.join(folder, "blobs", "sha256")
    os.makedirs(blobs)

    def blob(data, kind, **more):
        name = hashlib.sha256(data).hexdigest()
        with open(os.path.join(blobs, name), "wb") as file:
            file.write(data)
        return dict({"mediaType": "application/vnd.oci.image." + kind, "digest": "sha256:" + name, "size": len(data)}, **more)

    descriptors = [blob(gzip.compress(raw, 6, mtime=0), "layer.v1.tar+gzip") for raw in layers]
    document = {"created": "2024-01-01T00:00:00Z", "author": "someone", "architecture": "amd64", "os": "linux", "config": config,
                "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(raw).hexdigest() for raw in layers]},
                "history": history}
    described = blob(json.dumps(document).encode(), "config.v1+json")
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": described, "layers": descriptors}
    top = blob(json.dumps(manifest).encode(), "manifest.v1+json", platform={"os": "linux", "architecture": "amd64"},
               annotations={"org.opencontainers.image.ref.name": "latest"})
    with open(os.path.join(folder, "index.json"), "w") as file:
        json.dump({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [top]}, file)
    with open(os.path.join(folder, "oci-layout"), "w") as file:
        file.write('{"imageLayoutVersion":"1.0.0"}')


def write(folder, busybox):
    """{name: path of its layout}"""
    layer = busybox_layer(busybox)
    made = lambda text, **more: dict({"created": "2024-01-01T00:00:00Z", "created_by": text}, **more)
    triggers = dict(RICH, OnBuild=["ENV FROM_TRIGGER=$FOO", "RUN echo triggered > /triggered", "COPY --chown=1:2 . /onbuild/"])
    images = {
        "base": ([layer], {"Env": [PATH], "Cmd": ["sh"]}, [made("ADD rootfs.tar / # buildkit")]),
        "rich": ([layer, tree_layer()], RICH, [made("first"), made("ENV a", empty_layer=True), made("second", comment="c", author="a"), made("CMD", empty_layer=True)]),
        "plain": ([layer], {}, []),
        "trees": ([layer, tree_layer(), over_layer()], {"Env": [PATH], "WorkingDir": "/t"}, [made("one"), made("two"), made("three")]),
        "triggers": ([layer], triggers, [made("one")]),
    }
    for name, (layers, config, history) in images.items():
        write_layout(os.path.join(folder, name), layers, config, history)
    return {name: os.path.join(folder, name) for name in images}
