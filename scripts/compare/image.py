"""An image read from an OCI archive: configuration, history, layers, and the tree they make; and how two are compared."""
import hashlib
import io
import json
import os
import re
import tarfile
import zlib

from case import TIMES

KNOWN_LAYERS = {}


class Node:
    def __init__(self, member, content, attributes):
        self.kind = {tarfile.DIRTYPE: "dir", tarfile.SYMTYPE: "link", tarfile.CHRTYPE: "char", tarfile.BLKTYPE: "block",
                     tarfile.FIFOTYPE: "fifo"}.get(member.type, "file")
        self.mode = "%04o" % (member.mode & 0o7777) if self.kind != "link" else None
        self.owner = "%d:%d" % (member.uid, member.gid)
        self.size = member.size if self.kind == "file" else None
        self.content = hashlib.sha256(content).hexdigest()[:12] if content is not None else None
        self.target = member.linkname if self.kind == "link" else None
        self.device = (member.devmajor, member.devminor) if self.kind in ("char", "block") else None
        self.attributes = attributes or None
        self.time = int(member.mtime)
        self.names = None


class Image:
    def __init__(self, manifest, config, layers):
        self.manifest, self.config, self.layers = manifest, config, layers
        self.tree = tree_of(layers)


def read(path):
    with tarfile.open(path) as archive:
        blobs = {os.path.normpath(m.name): archive.extractfile(m).read() for m in archive if m.isreg()}
    blob = lambda d: blobs["blobs/" + d.replace(":", "/")]
    descriptor = json.loads(blobs["index.json"])["manifests"][0]
    manifest = json.loads(blob(descriptor["digest"]))
    while "manifests" in manifest:
        manifest = json.loads(blob(manifest["manifests"][0]["digest"]))
    layers = [layer(d["digest"], blob(d["digest"])) for d in manifest["layers"] or []]
    return Image(manifest, json.loads(blob(manifest["config"]["digest"])), layers)


def layer(digest, blob):
    """[(path, node, hard link's target)] in the order of the archive"""
    if digest in KNOWN_LAYERS:
        return KNOWN_LAYERS[digest]
    raw = zlib.decompress(blob, 31) if blob[:2] == b"\x1f\x8b" else blob
    out = []
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        for member in tar:
            path = os.path.normpath("/" + member.name)
            attributes = {k[13:]: v for k, v in member.pax_headers.items() if k.startswith("SCHILY.xattr.")}
            content = tar.extractfile(member).read() if member.isreg() else None
            target = os.path.normpath("/" + member.linkname) if member.islnk() else None
            out.append((path, None if target else Node(member, content, attributes), target))
    if len(out) > 100:
        KNOWN_LAYERS[digest] = out
    return out


def tree_of(layers):
    """{path: node}; nodes that are one file are one object"""
    tree = {}
    for entries in layers:
        below = lambda p: [q for q in tree if q.startswith(p.rstrip("/") + "/")]
        for path, _, _ in entries:
            folder, name = os.path.split(path)
            if name == ".wh..wh..opq":
                for gone in below(folder):
                    del tree[gone]
            elif name.startswith(".wh."):
                hidden = os.path.join(folder, name[4:])
                for gone in below(hidden) + [hidden]:
                    tree.pop(gone, None)
        for path, node, target in entries:
            if os.path.basename(path).startswith(".wh.") or path == "/":
                continue
            if target:
                node = tree.get(target)
                if node is None:
                    continue
            if node.kind != "dir" and path in tree and tree[path].kind == "dir":
                for gone in below(path):
                    del tree[gone]
            tree[path] = node
    names = {}
    for path, node in tree.items():
        names.setdefault(id(node), []).append(path)
    return {path: (node, sorted(names[id(node)])) for path, node in tree.items()}


def compare(ours, theirs):
    out = compare_config(ours.config, theirs.config) + compare_manifest(ours.manifest, theirs.manifest)
    out += compare_trees(ours.tree, theirs.tree)
    if len(ours.layers) == len(theirs.layers):
        for number, (a, b) in enumerate(zip(ours.layers, theirs.layers)):
            a, b = {p for p, _, _ in a}, {p for p, _, _ in b}
            for path in sorted(a ^ b):
                out.append(("layer", "%s is in layer %d of %s only" % (path, number, "ours" if path in a else "theirs")))
    return out


def compare_config(ours, theirs):
    out = []
    a, b = dict(ours.get("config") or {}), dict(theirs.get("config") or {})
    for key in sorted(set(a) | set(b)):
        if a.get(key, "absent") != b.get(key, "absent"):
            out.append(("config", "%s ours: %s, theirs: %s" % (key, json.dumps(a.get(key, "absent"), ensure_ascii=False), json.dumps(b.get(key, "absent"), ensure_ascii=False))))
    for key in sorted(set(ours) | set(theirs) - {"created"}):
        if key in ("config", "history", "created"):
            continue
        x, y = ours.get(key), theirs.get(key)
        if key == "rootfs":
            x, y = ({"type": v["type"], "layers": len(v.get("diff_ids") or [])} for v in (x, y))
        if x != y:
            out.append(("config", "top-level %s ours: %s, theirs: %s" % (key, json.dumps(x), json.dumps(y))))
    a, b = ([(made_by(h), h.get("empty_layer"), h.get("comment"), h.get("author")) for h in c.get("history") or []] for c in (ours, theirs))
    if len(a) != len(b):
        out.append(("history", "%d entries of ours, %d of theirs" % (len(a), len(b))))
    for x, y in zip(a, b):
        if x != y:
            out.append(("history", "ours: %s\n    theirs: %s" % (x, y)))
            break
    return out


def made_by(entry):
    # a builder of 2025 writes this one as a Go structure
    text = entry.get("created_by") or ""
    return "HEALTHCHECK" if text.startswith("HEALTHCHECK") else text


def compare_manifest(ours, theirs):
    out = []
    for key in sorted((set(ours) | set(theirs)) - {"config", "layers"}):
        if ours.get(key) != theirs.get(key):
            out.append(("manifest", "%s ours: %s, theirs: %s" % (key, ours.get(key), theirs.get(key))))
    a, b = ([d["mediaType"] for d in m["layers"] or []] for m in (ours, theirs))
    return out + ([("manifest", "layers ours: %s, theirs: %s" % (a, b))] if a != b else [])


def compare_trees(ours, theirs):
    out = []
    for path in sorted(set(ours) | set(theirs)):
        if path not in theirs or path not in ours:
            out.append(("tree", "%s is in the tree of %s only" % (path, "ours" if path in ours else "theirs")))
            continue
        (a, names_a), (b, names_b) = ours[path], theirs[path]
        for key in ("kind", "mode", "owner", "size", "content", "target", "device", "attributes"):
            if getattr(a, key) != getattr(b, key):
                out.append(("tree", "%s: %s ours: %s, theirs: %s" % (key, path, getattr(a, key), getattr(b, key))))
        if names_a != names_b:
            out.append(("tree", "hard links of %s ours: %s, theirs: %s" % (path, names_a, names_b)))
        if a.time != b.time and (b.time in TIMES or a.time in TIMES and a.kind != "dir"):
            out.append(("time", "%s %s ours: %d, theirs: %d" % (a.kind, path, a.time, b.time)))
    return out
