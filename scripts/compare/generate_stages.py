"""Graphs of stages, and what a change makes run again."""
import random

from case import EPOCH, Case, File

NAMES = ["one", "two", "Three", "four.x", "five-5", "deps"]


def stages(rng):
    known, pieces = [], []
    folders, files = [], [File("f", content="f\n"), File("d", "dir"), File("d/e", content="e\n")]
    flags = []
    if rng.random() < 0.4:
        pieces.append(rng.choice(["ARG BASE=base", "ARG BASE=base\nARG NEXT=$BASE", "ARG BASE", "ARG TARGETARCH=x", "ARG BASE=base VERSION=1", "ARG BUILDPLATFORM"]))
    for number in range(rng.randint(2, 5)):
        name = rng.choice(NAMES)
        source = rng.choice(known) if known and rng.random() < 0.55 else rng.choice(["base", "scratch", "rich", "plain", "trees", "triggers"])
        if rng.random() < 0.12:
            source = rng.choice(["$BASE", "${BASE:-base}", "${NEXT}", "0", "ONE", "three", "nope.invalid/x", "${TARGETARCH:-base}", "extra", "Base"])
        if rng.random() < 0.15:
            source = rng.choice(["--platform=linux/amd64 ", "--platform=$BUILDPLATFORM ", "--platform=$TARGETPLATFORM ", "--platform=linux/arm64 ", "--platform=bogus/ ", "--platform=${UNSET} "]) + source
        pieces.append("FROM %s" % source + (" AS %s" % name if rng.random() < 0.8 else ""))
        pieces += [instruction(rng, known, number) for _ in range(rng.randint(0, 3))]
        known.append(name if rng.random() < 0.85 else str(number))
    if rng.random() < 0.4:
        flags.append("--target=" + rng.choice(known + ["nope", "0", "THREE", "1", ""]))
    if rng.random() < 0.25:
        folders.append("extra")
        files += [File("extra/x", content="x\n", mode=0o600), File("extra/d", "dir", mode=0o700), File("extra/.dockerignore", content="ig*\n"), File("extra/ignored", content="i")]
    if rng.random() < 0.15:
        name = rng.choice(NAMES)
        flags.append("--build-arg=%s=%s" % rng.choice([("BASE", "rich"), ("BASE", ""), ("NEXT", "one"), ("VERSION", "2"), ("TARGETARCH", "base")]))
    return Case(pieces, files, flags, folders)


def instruction(rng, known, number):
    other = rng.choice(known + ["0", "base", "trees", "extra"]) if known else "base"
    if rng.random() < 0.04:
        other = rng.choice(["nope.invalid/y", "99", "-1", "later", "ONE", "two", "scratch", "context", "00", "1", str(number)])
    return rng.choice([
        "COPY --from=%s /etc/passwd /p%d" % (other, number), "COPY --from=%s / /all%d/" % (other, number), "COPY --from=%s x /x" % other, "COPY f /f%d" % number, "ENV S%d=$S0" % number, "ENV S%d=%d" % (number, number), "ARG V=%d" % number, "ARG TARGETPLATFORM",
        "ENV P=$TARGETPLATFORM-$TARGETOS-$TARGETARCH-$TARGETVARIANT-$BUILDPLATFORM", "ARG TARGETOS TARGETARCH TARGETVARIANT BUILDPLATFORM BUILDOS TARGETSTAGE", "ENV T=$TARGETSTAGE", "ONBUILD ENV O=$V", "ONBUILD COPY f /onbuild", "ONBUILD RUN echo onbuild > /o", "ONBUILD COPY --from=%s /etc/group /og" % other, "CMD [\"c%d\"]" % number, "ENTRYPOINT [\"e%d\"]" % number,
        "WORKDIR w%d" % number, "USER u%d" % number, "RUN echo %d > /r%d" % (number, number), "RUN --mount=from=%s,target=/m ls -a /m > /listed" % other, "LABEL l%d=$V" % number, "SHELL [\"/bin/sh\", \"-ec\"]", "ARG BASE", "ENV B=$BASE", "ENV B=${BASE:-unset}", "EXPOSE %d" % (number + 1), "VOLUME /v%d" % number, "ONBUILD ARG X=1", "ONBUILD ENTRYPOINT [\"x\"]", "HEALTHCHECK NONE", "COPY --from=%s /listed /again" % other])


class Changing(Case):
    """Built, changed, and built again. The steps are new to both builders the first time: each stage holds a file with a name of this run."""

    compares_steps = True
    change = 0

    def states(self, unique):
        fresh = []
        for piece in self.pieces:
            fresh.append(piece)
            if piece.startswith("FROM ") and not piece.split()[1] in ("one", "two"):
                fresh.append("COPY <<E /unique\n%s\nE" % unique)
        first = self.copy(pieces=fresh)
        yield "", first
        yield "after the change: ", first.changed(random.Random(self.change))

    def changed(self, rng):
        files = [other(f) for f in self.files]
        pieces, flags = list(self.pieces), list(self.flags)
        chosen = [rng.choice(files)] if files else []
        kind = rng.choice(["touch", "chmod", "edit", "rename", "drop", "new", "same", "comment", "swap", "value", "flag", "ignore", "relink", "metadata", "text", "copychange"])
        for file in chosen:
            if kind == "touch":
                file.time += 100000
            elif kind == "chmod":
                file.mode ^= 0o050
            elif kind == "edit" and file.kind == "file":
                file.content += b"more\n"
            elif kind == "rename" and file.kind == "file":
                file.path += ".new"
            elif kind == "drop":
                files = [f for f in files if f is not file and not f.path.startswith(file.path + "/")]
            elif kind == "relink" and file.kind == "link":
                file.target += "x"
            elif kind == "ignore":
                files.append(File(".dockerignore", content=file.path + "\n"))
        if kind == "new":
            files.append(File(rng.choice(["unused", "d/new", "a.new", "e/g"]), content="new\n"))
        if kind == "comment":
            pieces.insert(rng.randrange(len(pieces) + 1), "# comment")
        if kind == "flag":
            flags = ["--build-arg=V=%d" % rng.randint(5, 9)]
        if kind == "metadata":
            pieces.append(rng.choice(["LABEL z=1", "CMD z", "EXPOSE 99", "VOLUME /z"]))
        if kind == "text":
            pieces = [p.replace("RUN echo", "RUN  echo", 1) for p in pieces]
        places = [i for i, p in enumerate(pieces) if p.startswith("ENV ") or p.startswith("ARG ")]
        if kind == "value" and places:
            pieces[rng.choice(places)] += "9"
        if kind == "swap" and len(places) > 1:
            a, b = rng.sample(places, 2)
            pieces[a], pieces[b] = pieces[b], pieces[a]
        copies = [i for i, p in enumerate(pieces) if p.startswith("COPY ") and "<<" not in p]
        if kind == "copychange" and copies:
            i = rng.choice(copies)
            pieces[i] = rng.choice([pieces[i].replace("COPY ", "COPY --chown=3:4 ", 1), pieces[i] + "2", pieces[i].replace("COPY ", "ADD ", 1) if "--from" not in pieces[i] else pieces[i] + "/", pieces[i].replace("COPY ", "COPY --chmod=700 ", 1)])
        return self.copy(pieces=pieces, files=files, flags=flags)

    def reproduction(self):
        return super().reproduction() + "\n  then the change of random.Random(%d)" % self.change


def other(file):
    made = File.__new__(File)
    made.__dict__.update(file.__dict__)
    return made


def cache(rng):
    files = [File("a", content="a\n"), File("b.txt", content="b\n"), File("d", "dir"), File("d/x", content="x\n"), File("d/y.txt", content="y\n"), File("d/l", "link", target="x"), File("e", "dir"), File("e/f", content="f\n")]
    lines = ["COPY a /a", "COPY b.txt /b/", "COPY d /d", "COPY d/ /dd/", "COPY *.txt /t/", "COPY d/*.txt /t/", "COPY . /all/", "COPY a b.txt /both/", "ADD a /added", "COPY --chown=1:2 a /own", "RUN echo 1 > /r1", "RUN cat /a/* > /r2 2>/dev/null; true", "RUN echo $V > /v", "ENV V=1", "ENV W=2 X=3", "ARG V=1", "ARG U", "WORKDIR /w", "WORKDIR x", "USER app", "LABEL a=b", "CMD c", "COPY d/l /l",
             "COPY d* /ds/", "RUN --mount=target=/m ls /m > /listed", "RUN --mount=source=d,target=/m cat /m/x > /mx", "RUN --mount=type=cache,target=/c echo x >> /c/x", "COPY --link a /linked", "COPY --exclude=*.txt d /ex", "COPY e /e", "COPY e/f d/x /two/", "SHELL [\"/bin/sh\", \"-ec\"]", "COPY --chmod=600 a /mode", "COPY <<E /doc\ndoc $V\nE", "ADD d/x e/f /af/", "RUN <<E\necho $V > /hd\nE"]
    pieces = ["FROM base AS one"] + [rng.choice(lines) for _ in range(rng.randint(1, 4))]
    if rng.random() < 0.6:
        pieces += ["FROM base AS two"] + [rng.choice(lines) for _ in range(rng.randint(0, 3))]
        pieces += ["COPY --from=one " + rng.choice(["/ /one/", "/a /fa", "/d /fd", "/r1 /r1x", "/v /vx", "/etc/passwd /pw", "/all/a /x", "/t* /ts/"])]
        pieces += [rng.choice(lines) for _ in range(rng.randint(0, 2))]
    case = Changing(pieces, files)
    case.change = rng.randrange(1 << 30)
    return case
