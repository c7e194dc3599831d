"""A case: the files of a context, the pieces of a Dockerfile, flags; and how it is written down and made smaller."""
import io
import os
import shlex
import tarfile

EPOCH = 1704067200
TIMES = (EPOCH, EPOCH + 86400, EPOCH + 3 * 86400)


class File:
    """An entry of a context. `kind` is one of file, dir, link, hardlink, fifo."""

    def __init__(self, path, kind="file", content=b"", mode=None, target="", time=EPOCH):
        self.path, self.kind, self.target, self.time = path, kind, target, time
        self.content = content.encode() if isinstance(content, str) else content
        self.mode = mode if mode is not None else (0o755 if kind == "dir" else 0o644)

    def write(self, root):
        path = os.path.join(root, self.path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if self.kind == "dir":
            os.makedirs(path, exist_ok=True)
        elif os.path.lexists(path):
            return
        elif self.kind == "link":
            os.symlink(self.target, path)
        elif self.kind == "hardlink":
            os.link(os.path.join(root, self.target), path)
        elif self.kind == "fifo":
            os.mkfifo(path)
        else:
            with open(path, "wb") as file:
                file.write(self.content)
        if self.kind not in ("link", "hardlink"):
            os.chmod(path, self.mode)

    def stamp(self, root):
        path = os.path.join(root, self.path)
        os.utime(path, (self.time, self.time), follow_symlinks=False)

    def command(self):
        name = shlex.quote(self.path)
        made = {
            "dir": "mkdir -p %s" % name,
            "link": "ln -s %s %s" % (shlex.quote(self.target), name),
            "hardlink": "ln %s %s" % (shlex.quote(self.target), name),
            "fifo": "mkfifo %s" % name,
        }.get(self.kind)
        if made is None:
            made = "printf %%b %s > %s" % (shlex.quote(escaped(self.content)), name)
            if len(self.content) > 400:
                made = "# %s: %d bytes: %s" % (name, len(self.content), describe(self.content))
        return made if self.kind in ("link", "hardlink") else "%s; chmod %o %s" % (made, self.mode, name)


def escaped(content):
    return "".join(chr(b) if 32 <= b < 127 and b != 92 else "\\0%03o" % b for b in content)


def describe(content):
    """The entries of an archive, for a reader."""
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            return "; ".join("%s %s %o %d:%d %s %s" % (m.type.decode(), m.name, m.mode, m.uid, m.gid, m.linkname, m.size) for m in tar)
    except (tarfile.TarError, OSError, EOFError):
        return repr(content[:60])


class Case:
    compares_steps = False
    # The name of its folder. Builders know again by it what they have of a context, and trust sizes and times.
    context = "context"

    def __init__(self, pieces, files=(), flags=(), folders=(), ending="\n", before=b""):
        self.pieces, self.files, self.flags = list(pieces), list(files), list(flags)
        self.folders, self.ending, self.before = list(folders), ending, before

    def states(self, unique):
        """The states to build one after the other, each with a label."""
        yield "", self

    def dockerfile(self):
        return self.before + (self.ending.join(self.pieces) + self.ending).encode()

    def write(self, folder, turn=0):
        context = os.path.join(folder, self.context)
        os.makedirs(context, exist_ok=True)
        for name in self.folders:
            os.makedirs(os.path.join(folder, name), exist_ok=True)
        places = [(folder if file.path.split("/")[0] in self.folders else context, file) for file in self.files]
        for root, file in places:
            file.write(root)
        for root, file in reversed(places):
            if os.path.lexists(os.path.join(root, file.path)):
                file.stamp(root)
        stamp_folders(context)
        with open(os.path.join(folder, "Dockerfile"), "wb") as file:
            file.write(self.dockerfile())
        # the other builder may know an unchanged file by its size and time only
        os.utime(os.path.join(folder, "Dockerfile"), (EPOCH + turn, EPOCH + turn))

    def copy(self, **changed):
        made = self.__class__.__new__(self.__class__)
        made.__dict__.update(self.__dict__)
        made.__dict__.update(changed)
        return made

    def without_one(self):
        """Cases with less in them."""
        for i in range(len(self.pieces)):
            yield self.copy(pieces=self.pieces[:i] + self.pieces[i + 1:])
        if len(self.files) > 3:
            half = len(self.files) // 2
            yield self.copy(files=self.files[:half])
            yield self.copy(files=self.files[half:])
        for i in range(len(self.files)):
            yield self.copy(files=self.files[:i] + self.files[i + 1:])
        for i in range(len(self.flags)):
            yield self.copy(flags=self.flags[:i] + self.flags[i + 1:])
        for i, piece in enumerate(self.pieces):
            words = piece.split(" ")
            for j in range(1, len(words) if len(words) > 2 else 0):
                yield self.copy(pieces=self.pieces[:i] + [" ".join(words[:j] + words[j + 1:])] + self.pieces[i + 1:])

    def reproduction(self):
        lines = ["  | " + file.command() for file in self.files]
        if self.flags:
            lines.append("  | flags: " + " ".join(shlex.quote(f) for f in self.flags))
        text = self.dockerfile()
        shown = text.decode("utf-8", "replace") if self.ending == "\n" and not self.before else repr(text)
        return "\n".join(lines + ["  Dockerfile:"] + ["    " + line for line in shown.rstrip("\n").split("\n")])


def stamp_folders(context):
    """Folders that came to be on the way of a file have a fixed time as well."""
    for folder, _, _ in os.walk(context):
        if os.lstat(folder).st_mtime > EPOCH + 10 * 86400:
            os.utime(folder, (EPOCH, EPOCH))
