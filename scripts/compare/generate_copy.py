"""COPY and ADD: awkward trees, destinations, patterns, archives and ignore files."""
import bz2
import gzip
import io
import lzma
import tarfile

from bases import entry
from case import TIMES, Case, File

ODD = ["a", "b", "c.txt", "d.go", "x y", "é", "[z]", "st*r", "q?", "back\\slash", ".hidden", "-dash", "#hash", "tilde~", "UPPER", "a.b.c", "quote'", "dq\"", "$V", "comma,", "d", "e", "f"]
COMMON = ["a", "b", "c.txt", "d.go", "d", "e", ".hidden"]


def part(rng):
    return rng.choice(ODD if rng.random() < 0.25 else COMMON)


def tree(rng, most=8, prefix=""):
    """Entries of a folder; folders hold entries, links point about."""
    files, folders = [], [""]
    taken = set()
    for _ in range(rng.randint(2, most)):
        path = rng.choice(folders) + part(rng)
        if path in taken:
            continue
        taken.add(path)
        kind = rng.choices(["file", "dir", "link", "hardlink", "fifo"], [50, 28, 16, 4, 1])[0]
        made = File(prefix + path, kind, time=rng.choice(TIMES))
        if kind == "file":
            made.content, made.mode = rng.choice(["", path, "same\n"]).encode(), rng.choice([0o644, 0o644, 0o755, 0o600, 0o4755, 0o666, 0o1644])
        elif kind == "dir":
            folders.append(path + "/")
            made.mode = rng.choice([0o755, 0o755, 0o700, 0o2775, 0o1777, 0o711])
        elif kind == "link":
            made.target = link_target(rng, sorted(taken), path)
        elif kind == "hardlink":
            others = [f for f in files if f.kind == "file"]
            if not others:
                continue
            made.target = rng.choice(others).path
        files.append(made)
    return files


def link_target(rng, known, path):
    other = rng.choice(known)
    return rng.choice([other, "/" + other, "../" * path.count("/") + other, "nowhere", "/nowhere", "../../../../etc", path.split("/")[-1], ".", "..", "/", "./" + other, other + "/", part(rng), "/etc/passwd"])


def paths(files, root=""):
    return [f.path[len(root):] for f in files if f.path.startswith(root)]


def source(rng, known):
    known = known or ["a"]
    path = rng.choice(known)
    kind = rng.random()
    if kind < 0.45:
        return path
    if kind < 0.65:
        piece = path.split("/")
        piece[rng.randrange(len(piece))] = rng.choice(["*", "?", "*.*", "[a-d]*", "[^a]", "*t", "[[]z]", "d*", "**", ".*", "[!a]*", "*[", "\\a", "{a,b}"])
        return "/".join(piece)
    if kind < 0.8:
        return rng.choice(["/" + path, path + "/", "./" + path, path + "/.", "../" + path, path + "/..", "//" + path, path + "//", path.split("/")[0] + "/*"])
    return rng.choice([".", "/", "./", "*", "nope", "nope*", "*/*", "d/*", "", "**/a", path + "/nope", "/.", "..", "a/../b"])


DESTINATIONS = ["/out", "/out/", "/out/sub", "/out/sub/", "/deep/er/still/", ".", "./", "/", "rel", "rel/", "/t", "/t/", "/t/link", "/t/link/", "/t/absolute/", "/t/tofile", "/t/tofile/", "/t/dangling", "/t/dangling/", "/t/far/x", "/t/up/", "/t/real", "/t/real/file", "/t/sticky/", "/t/loop", "..", "/out/../x", "/.", "/out/.", "/etc/passwd", "/a/b/c", "/t/caps",
                "/t/link/new/deep", "/t/far/", "/t/fifo"]


def flags(rng, add=False):
    out = []
    if rng.random() < 0.25:
        out.append("--chown=" + rng.choice(["1", "1:2", "app", "app:users", "1000:extra", "nope", "app:nope", ":5", "5:", "daemon:", "short", "root", "0:0", "4294967295", "-1", "app:1", "99999:app", ":app", "broken"]))
    if rng.random() < 0.2:
        out.append("--chmod=" + rng.choice(["600", "0755", "4755", "u=rwX,go=rX", "+x", "a-w", "777", "0", "7777", "u+s", "g=u", "go-rwx", "1777", "10000", "a=X", "u=rw,g=r,o="]))
    if rng.random() < 0.12:
        out.append("--link")
    if rng.random() < 0.12:
        out += ["--exclude=" + rng.choice(["a", "*.txt", "d", "d/*", "**/a", "!a", "*", "/a", "e/", ".hidden", "**", "d/**/b", "[a", "b/.."]) for _ in range(rng.randint(1, 2))]
    return out


def instruction(rng, known, keyword="COPY", stages=()):
    words = flags(rng, keyword == "ADD")
    if stages and keyword == "COPY" and rng.random() < 0.5:
        words.append("--from=" + rng.choice(stages))
        known = known + ["t", "t/link", "t/absolute", "t/tofile", "t/real", "t/dangling", "t/loop", "t/up", "t/real/file", "etc/passwd", "t/fifo", "t/caps", "opaque", "out", "t/sticky", "t/link/file", "t/up/group", "t/far"]
    sources = [source(rng, known) for _ in range(rng.choice([1, 1, 1, 1, 2, 3]))]
    destination = rng.choice(DESTINATIONS)
    everything = sources + [destination]
    if rng.random() < 0.3 or any(" " in w or not w for w in everything):
        listed = ", ".join("\"%s\"" % w.replace("\\", "\\\\").replace("\"", "\\\"") for w in everything)
        return " ".join([keyword] + words + ["[%s]" % listed])
    return " ".join([keyword] + words + [w.replace("'", "\\'").replace("\"", "\\\"").replace("$", "\\$") for w in everything])


BEFORE = ["RUN mkdir -p /out/sub && echo old > /out/a && ln -s sub /out/d", "WORKDIR /w/d", "WORKDIR /t/link", "USER app", "USER 5:6", "RUN ln -s /tmp /rel", "RUN mkdir -p /out/d/e /out/b && touch /out/d/a", "RUN echo file > /out", "RUN mkdir -p -m 1777 /out && ln -s /t /deep", "ENV V=a"]


def copy(rng):
    files = tree(rng)
    pieces = ["FROM trees AS other", "RUN mkdir -p /made/e && echo x > /made/a && ln -s e /made/d && chown 1:2 /made/a /made/e && chmod 4711 /made/a", "FROM " + rng.choice(["base", "trees", "trees", "scratch", "rich"])]
    if rng.random() < 0.5:
        piece = rng.choice(BEFORE)
        if not (pieces[-1].endswith(("scratch", "rich")) and piece.startswith("RUN")):
            pieces.append(piece)
    for _ in range(rng.randint(1, 3)):
        pieces.append(instruction(rng, paths(files), rng.choice(["COPY", "COPY", "COPY", "ADD"]), ["other", "base", "0", "trees"]))
    return Case(pieces, files)


def fill(rng):
    def write(tar):
        made = []
        for _ in range(rng.randint(1, 6)):
            path = "/".join(part(rng) for _ in range(rng.randint(1, 3)))
            path = rng.choice([path] * 12 + ["./" + path, "/" + path, "../" + path, "d/../" + path, path + "/", ".", "./", "d/./a", ".wh.a", "d/.wh..wh..opq"])
            kind = rng.choices([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.CONTTYPE], [50, 25, 18, 8, 2, 2, 1])[0]
            target = ""
            if kind == tarfile.SYMTYPE:
                target = rng.choice(["a", "/a", "../a", "/etc", "nowhere", "..", "d", "/", "."])
            if kind == tarfile.LNKTYPE:
                target = rng.choice(made or ["a"])
            content = rng.choice([b"", b"x\n", path.encode()]) if kind in (tarfile.REGTYPE, tarfile.CONTTYPE) else None
            attributes = {"user.note": "v"} if rng.random() < 0.05 else {"security.capability": "\x01\x00\x00\x02\x20\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"} if rng.random() < 0.04 else None
            entry(tar, path, content, rng.choice([0o644, 0o755, 0o600, 0o4755, 0o2775, 0o1777, 0o000]), kind, target, rng.choice([(0, 0), (0, 0), (1, 2), (1000, 1001), (70000, 5), (2000000, 2000000)]), attributes)
            made.append(path)
    return write


def packed(rng):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=rng.choice([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])) as tar:
        fill(rng)(tar)
    raw = buffer.getvalue()
    kind = rng.choice(["plain", "plain", "gz", "bz2", "xz", "cut", "cutgz", "text", "gztext", "twice", "lzma", "empty", "zeros", "gzgz"])
    return {
        "plain": raw, "gz": gzip.compress(raw, mtime=0), "bz2": bz2.compress(raw), "xz": lzma.compress(raw), "cut": raw[:700], "cutgz": gzip.compress(raw, mtime=0)[:-9],
        "text": b"not an archive\n", "gztext": gzip.compress(b"hello\n", mtime=0), "twice": raw + raw, "lzma": lzma.compress(raw, format=lzma.FORMAT_ALONE), "empty": b"", "zeros": b"\0" * 1024, "gzgz": gzip.compress(gzip.compress(raw, mtime=0), mtime=0),
    }[kind]


def archive(rng):
    files = [File("one.tar", content=packed(rng)), File("two.tgz", content=packed(rng)), File("a", content="a\n"), File("d", "dir"), File("d/in.tar", content=packed(rng)), File("ln", "link", target="one.tar")]
    pieces = ["FROM " + rng.choice(["base", "trees", "scratch", "trees"])]
    if rng.random() < 0.4 and "scratch" not in pieces[0]:
        pieces.append(rng.choice(BEFORE))
    for _ in range(rng.randint(1, 2)):
        words = [w for w in flags(rng, True) if rng.random() < 0.7]
        if rng.random() < 0.15:
            words.append(rng.choice(["--unpack=true", "--unpack=false", "--unpack"]))
        sources = [rng.choice(["one.tar", "one.tar", "two.tgz", "*.t*", "ln", "d", "d/in.tar", "a", ".", "d/"]) for _ in range(rng.choice([1, 1, 1, 2]))]
        pieces.append(" ".join(["ADD"] + words + sources + [rng.choice(DESTINATIONS)]))
    return Case(pieces, files)


def ignore(rng):
    files = tree(rng, 12)
    known = paths(files)
    lines = []
    for _ in range(rng.randint(1, 5)):
        path = rng.choice(known)
        pattern = rng.choice([path, path, "/" + path, path + "/", "./" + path, "**/" + path.split("/")[-1], path.split("/")[0] + "/**", "*", "**", "*/*", "*.txt", "d", "d/*", "**/*.go", "[a-c]*", "?", "d/**/a", "# comment", "", "  a  ", "../a", "a/..", ".", "/", "**/.hidden", "Dockerfile", ".dockerignore",
                               "\\#hash", "[", "a/**/b", "**/d/**", "!", "\\!a", "*/", "d/../a", "a\\b", "st\\*r", "[[]z]", "[^a]", "**a", "a**", "d**/a", "***", "x y"])
        lines.append(("!" if rng.random() < 0.35 else "") + pattern)
    text = rng.choice(["", "", "", "\ufeff"]) + rng.choice(["\n", "\n", "\n", "\r\n"]).join(lines) + rng.choice(["\n", ""])
    files = files + [File(".dockerignore", content=text)]
    pieces = ["FROM scratch", rng.choice(["COPY . /out/", "COPY . /out/", "COPY . /", "COPY %s /out/" % source(rng, [k for k in known if not set(k) & set(" '\"$\\")]), "COPY * /out/", "COPY d /out/", "COPY d* /out/"])]
    if rng.random() < 0.2:
        pieces.append("COPY %s /more/" % rng.choice(["Dockerfile", ".dockerignore", "a", "d/a", "e"]))
    return Case(pieces, files)
