"""What came to the language late: mounts, documents, triggers, and the flags of COPY, many of each in a case."""
from case import Case, File

FILES = (
    ("f", "file", "f\n", 0o644), ("d", "dir", "", 0o755), ("d/e", "file", "e\n", 0o640), ("d/sub", "dir", "", 0o700), ("d/sub/x.txt", "file", "x\n", 0o4755),
    ("d/sub/y.go", "file", "y\n", 0o755), ("d/l", "link", "sub/x.txt", 0), ("d/.hidden", "file", "h", 0o600), ("out.txt", "file", "o", 0o666), ("ln", "link", "d", 0),
    ("script", "file", "#!/bin/sh\necho script \"$@\"\n", 0o755), ("d/dir.txt", "dir", "", 0o1777), ("d/dir.txt/z", "file", "z", 0o444),
)
LIST = "{ ls -laR %s | awk '{print $1,$2,$3,$4,$NF}' | grep -v -e '^total' -e '\\.\\.$'; } > /seen%d 2>&1"


def files():
    made = []
    for path, kind, text, mode in FILES:
        made.append(File(path, kind, target=text) if kind == "link" else File(path, kind, text, mode))
    return made


def mount(rng, stages):
    kind = rng.choice(["bind", "bind", "bind", "cache", "cache", "tmpfs", "secret"])
    target = rng.choice(["/m", "/m", "/m/deep/er", "rel", "/t/link/m", "/t/far/m", "/etc", "/tmp", "/m/../n", "$WHERE", "/home/app", "/m/", "/t/up", "/t/real/file", "/f"])
    fields = ["type=" + kind] if kind != "bind" or rng.random() < 0.5 else []
    if kind != "secret" or rng.random() < 0.6:
        fields.append(rng.choice(["target", "target", "dst", "destination", "Target"]) + "=" + target)
    if kind in ("bind", "cache") and rng.random() < 0.5:
        fields.append("from=" + rng.choice(stages + ["base", "trees"]))
    if kind == "bind" and rng.random() < 0.6 or kind == "cache" and any(f.startswith("from") for f in fields):
        fields.append(rng.choice(["source", "src"]) + "=" + rng.choice(["d", "/d", "d/sub", "f", "ln", "d/l", "t/link", "t/absolute", "t/tofile", "t/up", "nope", "/", ".", "../d", "d/", "t/real", "made", "$WHERE"]))
    if rng.random() < 0.25:
        fields.append(rng.choice(["ro", "rw", "readonly", "readwrite", "ro=false", "rw=false", "readonly=true", "rw=true", "ro=maybe"]))
    if kind == "cache":
        fields += rng.sample(["id=one", "id=$WHERE", "sharing=locked", "sharing=private", "sharing=shared", "uid=5", "gid=6", "mode=0700", "mode=1777", "mode=8", "uid=app", "mode=u+x"], rng.choice([0, 0, 1, 1, 2]))
    if kind == "tmpfs" and rng.random() < 0.3:
        fields.append(rng.choice(["size=1m", "size=64k", "size=0", "size=x", "size=-1", "source=d", "mode=0700"]))
    if kind == "secret":
        fields += rng.sample(["id=s", "id=s", "id=nope", "required", "required=false", "env=SECRET", "env", "uid=5", "gid=6", "mode=0444", "mode=u=r", "source=s"], rng.choice([1, 1, 2, 3]))
    rng.shuffle(fields)
    return "--mount=" + ",".join(fields)


def mounts(rng):
    pieces = ["FROM base AS made", "RUN mkdir -p /made/x && echo 1 > /made/x/1 && chown -R 5:6 /made && chmod 700 /made && ln -s x /made/l", "FROM " + rng.choice(["base", "trees", "trees", "rich", "made"])]
    pieces += rng.sample(["USER app", "USER 5:6", "USER root", "WORKDIR /w", "WORKDIR /m", "ENV WHERE=/else", "ARG WHERE=/arg", "RUN mkdir -p /m /n && touch /m/was", "RUN touch /f", "SHELL [\"/bin/sh\", \"-ec\"]", "RUN mkdir -m 777 /out"], rng.randint(0, 4))
    for number in range(rng.randint(1, 3)):
        asked = " ".join(mount(rng, ["made", "made"]) for _ in range(rng.choice([1, 1, 1, 2, 2, 3])))
        what = rng.choice([LIST % ("/m", number), LIST % ("/n rel /w /else /arg", number), LIST % ("/run /etc", number), "ls -a / > /seen%d" % number,
                           "cat /run/secrets/* /s /m > /seen%d 2>&1; echo $SECRET >> /seen%d" % (number, number), "{ touch /m/new; echo $?; } > /seen%d 2>&1" % number, "echo x >> /m/count; cat /m/count > /seen%d; true" % number, "rm -rf /m/* /m; ls -ld /m > /seen%d 2>&1; true" % number,
                           "mkdir -p /m/k && touch /m/k/x && cp -a /m/k /kept%d; true" % number, "cp -r /m /copy%d; true" % number, "{ stat -c '%%a %%u %%g %%F' /m /m/deep /m/deep/er rel /n /t/real/m; } > /seen%d 2>&1; true" % number, "{ cat /f /t/real/file; } > /seen%d 2>&1; true" % number, "echo over > /t/real/file; echo over > /f; true"])
        pieces.append("RUN %s %s" % (asked, what))
    flags = rng.choice([[], [], ["--build-arg=WHERE=/given"]]) + rng.choice([[], ["--secret=id=s,src={context}/f"]])
    return Case(pieces, files(), flags)


BODIES = ("echo $V\\nif true; then\\n\\techo in\\nfi", "$V ${V} ${V:-d} $$ \\\\$V \\$V", "\\ta\\n\\t\\tb\\n c", "", "# comment\\nreal", "'quoted $V' \\\"$V\\\"", "line \\\\\\ncontinued", "$(id) `id`", "é ü", "#!/bin/sh\\necho program $0 $# > /prog", "#!/bin/cat", "set -e\\nfalse\\necho never", "a\\n\\n\\nb\\n", "<<INNER\\nx\\nINNER", "${V", "exit 3", "cat > /inner <<I\\ninner $V\\nI", "EOF \\n EOF", "echo a > /a1; echo b > /b1", "#!/nope\\nx", "echo $0 $- > /how; pwd > /where")


def document(rng):
    """The word that begins one, and the document."""
    name = rng.choice(["EOF", "EOF", "A", "a.txt", "b-2", "end"])
    mark = rng.choice([name, name, "'%s'" % name, "\"%s\"" % name])
    dash = rng.choice(["", "", "-"])
    body = rng.choice(BODIES).replace("\\\\", "\0").replace("\\n", "\n").replace("\\t", "\t").replace("\\\"", "\"").replace("\0", "\\")
    closing = rng.choice(["", "", "\t"]) + name if dash else name
    return "<<" + dash + mark, (body + "\n" if body else "") + closing


def documents(rng):
    pieces = ["FROM base", rng.choice(["ENV V=value", "ARG V=arg", "ENV V='a b'", "ARG V", "USER app", "WORKDIR /w"])]
    for number in range(rng.randint(1, 3)):
        count = rng.choice([1, 1, 1, 2, 3])
        words, texts = zip(*[document(rng) for _ in range(count)])
        if rng.random() < 0.5:
            before = rng.choice(["", "", "", "cat ", "cat - > /c%d " % number, "sh ", "--mount=type=tmpfs,target=/m ", "tee /x ", "V=2 sh -s a b ", "cat | tr a-z A-Z > /up "]) if count == 1 else "cat "
            after = rng.choice(["", "", " > /h%d" % number, " && echo then", " | cat > /p%d" % number, " 3> /dev/null"])
            pieces.append("RUN " + before + " ".join(words) + after + "\n" + "\n".join(texts))
        else:
            flags = rng.choice(["", "", "", "--chmod=755 ", "--chown=app ", "--chmod=u=rw,go= ", "--link ", "--chmod=+x "])
            other = rng.choice(["", "", "", "f ", "d/sub "])
            destination = rng.choice(["/out%d" % number, "/out/", "/o/deep/", "rel", ".", "/$V/", "/bin/"]) if count == 1 and not other else "/out%d/" % number
            pieces.append(rng.choice(["COPY ", "COPY ", "ADD "]) + flags + other + " ".join(words) + " " + destination + "\n" + "\n".join(texts))
    return Case(pieces, files(), rng.choice([[], [], ["--build-arg=V=cli"]]))


ONBUILD = ("ENV O=$V", "ENV O=${O:-first}", "RUN echo $V > /o", "COPY f /of", "COPY --from=other /etc/group /og", "COPY --from=0 /etc/passwd /op", "ADD d /od/", "WORKDIR ow", "WORKDIR /ow", "USER app", "ARG V=trigger", "LABEL o=$V", "CMD o", "ENTRYPOINT [\"o\"]", "EXPOSE 99", "VOLUME /ov", "HEALTHCHECK CMD true", "STOPSIGNAL 9", "SHELL [\"/bin/sh\", \"-ec\"]", "RUN --mount=type=bind,target=/m ls /m > /om",
           "RUN --mount=from=other,target=/m ls /m > /om2", "COPY --chown=app --chmod=600 f /oc", "COPY --exclude=*.txt d /oe/", "COPY --link f /olink", "RUN [\"touch\", \"/oj\"]", "FROM base", "ONBUILD RUN x", "MAINTAINER x", "COPY nope /x", "run echo low > /low", "env low=1", "COPY <<E /h", "RUN <<E", "COPY --from=later /f /x", "COPY --from=base /etc/passwd /image", "bogus x", "ENV", "RUN  two   blanks", "LABEL \"a b\"='c d'", "COPY [\"f\", \"/json f\"]")


def triggers(rng):
    pieces = [rng.choice(["FROM base AS other", "FROM trees AS other", "ARG G=1\nFROM base AS other"])]
    pieces += [rng.choice(["ENV V=parent", "ARG V=parent", "USER 5", "WORKDIR /pw", "LABEL p=1", "RUN true"]) for _ in range(rng.randint(0, 2))]
    pieces.append(rng.choice(["FROM base AS parent", "FROM base AS parent", "FROM triggers AS parent", "FROM scratch AS parent", "FROM other AS parent"]))
    pieces += ["ONBUILD " + rng.choice(ONBUILD) for _ in range(rng.randint(1, 4))]
    pieces += rng.sample(["ENV V=p", "WORKDIR /p", "CMD p", "COPY f /pf"], rng.randint(0, 2))
    if rng.random() < 0.3:
        pieces += ["FROM base AS later", "COPY f /f"]
    pieces.append("FROM " + rng.choice(["parent", "parent", "parent AS child", "triggers AS child"]))
    pieces += rng.sample(["ENV V=child", "RUN echo $O > /child", "CMD child", "ONBUILD ENV second=1", "COPY --from=parent / /all/", "ARG V"], rng.randint(0, 3))
    if rng.random() < 0.35:
        pieces += ["FROM child" if any("AS child" in p for p in pieces) else "FROM parent", "LABEL grand=1"]
    return Case(pieces, files(), rng.choice([[], [], [], ["--target=parent"], ["--build-arg=V=cli"], ["--target=child"]]))


def copyflags(rng):
    pieces = ["FROM base AS made", "RUN mkdir -p /s/a/b && echo 1 > /s/a/1.txt && echo 2 > /s/a/b/2.go && ln -s a /s/l && ln /s/a/1.txt /s/a/hard && chown -R 5:6 /s/a/b && chmod 2711 /s/a && mkfifo /s/p", "FROM " + rng.choice(["base", "base", "trees", "scratch", "made"])]
    if rng.random() < 0.4 and not pieces[-1].endswith("scratch"):
        pieces.append(rng.choice(["RUN mkdir -p -m 700 /out/a && echo old > /out/a/1.txt", "RUN mkdir -p /real && ln -s /real /out", "WORKDIR /w", "USER app", "RUN mkdir -p /out/d && touch /out/d/e && chmod 600 /out/d/e", "WORKDIR /w/x"]))
    for _ in range(rng.randint(1, 3)):
        made = rng.random() < 0.4
        words = ["COPY", "--from=made"] if made else [rng.choice(["COPY", "COPY", "COPY", "ADD"])]
        if rng.random() < 0.4:
            words.append("--link" + rng.choice(["", "", "=true", "=false"]))
        if rng.random() < 0.35:
            words.append("--chown=" + rng.choice(["1:2", "5"] if words[-1].startswith("--link") else ["app", "1:2", "app:users", ":users", "5", "root:root", "www-data"]))
        if rng.random() < 0.45:
            words.append("--chmod=" + rng.choice(["u=rwX,go=rX", "+x", "a-w", "g=u", "go-rwx", "a=X", "u+s", "g+s", "+t", "o=", "u=rw,g=r,o=", "a+rwx,u-x", "755", "4711", "0", "=r", "-x", "u+X", "ug=o", "+", "u=g+w", "a=rwxst", "u+rwx,", "X", "u=rwX go=rX", "1000", "u-w+x", "go=u-w"]))
        if rng.random() < 0.4:
            words += ["--exclude=" + rng.choice(["*.txt", "**/*.txt", "d", "d/*", "*", "!d", "a", "a/b", "**/b", "sub", "d/sub", "**/.hidden", "1.txt", "*/1.txt", "a/**", "/a", "./a", "**/sub/**", "sub/*", "f", "l", "", "e"]) for _ in range(rng.choice([1, 1, 2]))]
        sources = ["/s", "/s/", "/s/a", "/s/a/*", "/s/*", "/s/l", "/s/l/1.txt", "/s/./a/b", "/s/a/b/2.go", "/s/**/*.go", "/s/p", "/s/a/hard"] if made else [".", "d", "d/", "f", "d/*", "*", "ln", "d/l", "ln/e", "d/sub/*.txt", "./d/./sub", "d/**/*.txt", "*.txt", "d/s*", "script", "nope*", "d/dir.txt"]
        words += [rng.choice(sources) for _ in range(rng.choice([1, 1, 2]))]
        words.append(rng.choice(["/out/", "/out/", "/out", "/new/deep/", ".", "rel/", "/", "/out/a", "/out/d/", "/t/link/", "/t/far/"]))
        pieces.append(" ".join(words))
    return Case(pieces, files())
