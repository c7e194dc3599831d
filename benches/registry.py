"""A registry of this run on a loopback address, and images put there byte by byte.

An image of layers is made new for every turn at little cost: its layers are deflate streams left open, to each of which one
small file and the end of the archive are added. So nobody has its layers already, and all fetch the same bytes.
"""
import hashlib
import http.client
import json
import os
import shutil
import socket
import struct
import subprocess
import time
import zlib

import inputs

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class Registry:
    """`docker-registry` (Debian) in a folder of ours, with nothing in it at first."""

    def __init__(self, folder):
        self.folder, self.child = folder, None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.host = "127.0.0.1:%d" % free.getsockname()[1]
        self.start()

    def start(self):
        os.makedirs(self.folder, exist_ok=True)
        settings = os.path.join(self.folder, "config.yml")
        with open(settings, "w") as file:
            file.write(f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {self.folder}/blobs}}}}\n"
                       f"http: {{addr: '{self.host}'}}\nlog: {{level: error}}\n")
        with open(os.path.join(self.folder, "log"), "ab") as log:
            self.child = subprocess.Popen(["docker-registry", "serve", settings], stdout=log, stderr=log)
        for _ in range(200):
            try:
                return self.request("GET", "/v2/")
            except OSError:
                time.sleep(0.05)
        raise RuntimeError("docker-registry does not answer")

    def stop(self):
        self.child.terminate()
        self.child.wait()

    def empty(self):
        self.stop()
        shutil.rmtree(self.folder)
        self.start()

    def size(self):
        """Bytes of everything that is kept."""
        return sum(os.path.getsize(os.path.join(folder, name)) for folder, _, names in os.walk(self.folder + "/blobs") for name in names)

    def requests(self):
        """How many manifests were asked for by HEAD or GET so far."""
        with open(os.path.join(self.folder, "log"), errors="replace") as log:
            return sum('"HEAD /v2/' in line or '"GET /v2/' in line and "/manifests/" in line for line in log)

    def request(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection(self.host, timeout=120)
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status}")
        return answer

    def ask(self, name, tag="latest"):
        """How many seconds it takes to ask where a tag leads."""
        begin = time.perf_counter()
        self.request("HEAD", f"/v2/{name}/manifests/{tag}", headers={"Accept": MANIFEST})
        return time.perf_counter() - begin

    def put_blob(self, name, content):
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        place = self.request("POST", f"/v2/{name}/blobs/uploads/").headers["Location"]
        place = place[place.index("/v2/"):]
        self.request("PUT", f"{place}{'&' if '?' in place else '?'}digest={digest}", content,
                     {"Content-Type": "application/octet-stream"})
        return {"digest": digest, "size": len(content)}

    def put_image(self, name, tag, layers):
        """`layers` gives (packed bytes, diff-id) pairs. The digests of the layers."""
        stored = [(self.put_blob(name, packed), diff_id) for packed, diff_id in layers]
        config = json.dumps(configuration([diff_id for _, diff_id in stored])).encode()
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST,
                    "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **self.put_blob(name, config)},
                    "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", **blob} for blob, _ in stored]}
        self.request("PUT", f"/v2/{name}/manifests/{tag}", json.dumps(manifest), {"Content-Type": MANIFEST})
        return [blob["digest"] for blob, _ in stored]


def configuration(diff_ids):
    created = "2024-01-01T00:00:00Z"
    return {"architecture": machine(), "os": "linux", "created": created,
            "config": {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["sh"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": [{"created": created, "created_by": "benches/run"} for _ in diff_ids]}


def machine():
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)


def finished_layers(folder, count, token):
    """The layers of `inputs.layers`, ended with a small file that holds the token."""
    for number in range(count):
        tail = inputs.entry(f"usr/share/part{number}/token", token.encode()) + bytes(10240)
        with open(os.path.join(folder, f"{number}.tar"), "rb") as file:
            tar = file.read()
        with open(os.path.join(folder, f"{number}.deflate"), "rb") as file:
            packed = zlib.compressobj(5, zlib.DEFLATED, -15)
            body = file.read() + packed.compress(tail) + packed.flush()
        sums = struct.pack("<II", zlib.crc32(tail, zlib.crc32(tar)), (len(tar) + len(tail)) & 0xFFFFFFFF)
        plain = hashlib.sha256(tar)
        plain.update(tail)
        yield b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + body + sums, "sha256:" + plain.hexdigest()


def layout_layers(layout):
    """The layers of an OCI layout with one image, as `put_image` wants them."""
    def blob(descriptor):
        with open(os.path.join(layout, "blobs", descriptor["digest"].replace(":", "/")), "rb") as file:
            return file.read()
    with open(os.path.join(layout, "index.json")) as file:
        manifest = json.loads(blob(json.load(file)["manifests"][0]))
    diff_ids = json.loads(blob(manifest["config"]))["rootfs"]["diff_ids"]
    return [(blob(layer), diff_id) for layer, diff_id in zip(manifest["layers"], diff_ids)]
