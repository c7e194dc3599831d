"""Instructions that only change the configuration, and the grammar that all instructions share."""
from case import Case, File

NAMES = ["A", "B", "FOO", "EMPTY", "PATH", "a_b", "X1", "UNSET"]
ATOMS = ["a", "b.c", "/x/y", "x-y", "1", "$A", "${A}", "$B", "${FOO}", "$UNSET", "${UNSET}", "${A:-d}", "${A-d}", "${UNSET:-d e}", "${UNSET:-'q r'}",
         "${UNSET:-\"q  r\"}", "${UNSET:-$A}", "${UNSET:-${B:-c}}", "${A:+y}", "${A+y}", "${EMPTY:+y}", "${EMPTY+y}", "${EMPTY:-y}", "${EMPTY-y}",
         "${A:?bad}", "${A?bad}", "${A%b*}", "${A%%b*}", "${A#*b}", "${A##*b}", "${A/b/c}", "${A//b/$FOO}", "${A//?/x}", "${A/b}", "${A/*b/}",
         "${FOO%\\}*}", "${FOO#o\\*}", "'s q'", "'$A'", "\"d q\"", "\"$A b\"", "\"${A} \\\" q\"", "\\$A", "\\ ", "\\\\", "\\n", "\\\"", "\\'", "''", "\"\"", "=", ",", "$$",
         "$1", "$@", "$", "é", "日本", "*", "?", "[", "]", "{", "}", "#", "%", "&", ";", "<", ">", "|", "~", "!", "`", "`a`", "'\"'", "\"'\"", "$A$B", "${A}b", "$A.b", "$?", "${1}",
         "${A:-}", "${A:+}", "\\", "\"a\\nb\"", "'a\\'", "${A:-'$B'}", "${A:-\"$B\"}", "${UNSET:-\\}}", "${UNSET:-a:b}", "\"${UNSET:-\"in\"}\"", "${A:-\\$B}", "\t", "\"\t\"", "\\\t", "\"\\\\\"", "\"\\a\"", "\"\\$A\""]
RARE = ["${", "${}", "${A", "${A:", "${A:x}", "${A:#b}", "${A/}", "${A/b", "${UNSET:?}", "${UNSET?gone $A}", "'", "\"", "${A:-${B}", "${!A}", "${A b}", "${A%\\b}", "${A//}", "${-}", "${A^}", "${A,,}", "${#A}", "${A[0]}", "${ A}", "$(x)"]


def atom(rng):
    return rng.choice(RARE if rng.random() < 0.015 else ATOMS)


def word(rng, most=3):
    return "".join(atom(rng) for _ in range(rng.randint(1, most)))


def name(rng):
    return rng.choice(NAMES) if rng.random() < 0.93 else rng.choice(["\"A\"", "$A", "é", "a.b", "a-b", "1", "'q q'", "a\\ b", "${FOO}"])


def env(rng, keyword="ENV"):
    if rng.random() < 0.2:
        return "%s %s %s" % (keyword, name(rng), " ".join(word(rng) for _ in range(rng.randint(1, 3))))
    blank = rng.choice([" ", "  ", "\t"]) if rng.random() < 0.2 else " "
    return keyword + " " + blank.join("%s=%s" % (name(rng), word(rng) if rng.random() < 0.95 else "") for _ in range(rng.randint(1, 3)))


def label(rng):
    return env(rng, "LABEL")


def arg(rng):
    def one():
        return name(rng) + ("=" + word(rng) if rng.random() < 0.7 else "")
    return "ARG " + " ".join(one() for _ in range(rng.randint(1, 2)))


def json_list(rng):
    items = ["a", "b c", "$A", "${A}", "\\\"q\\\"", "\\\\", "\\u00e9", "é", "", "'", "\\n", "\\/", "<&>", "\\u0000x", "\\ud83d\\ude00", "日"]
    text = ", ".join("\"%s\"" % rng.choice(items) for _ in range(rng.randint(0, 3)))
    form = rng.choice(["[%s]"] * 8 + ["[ %s ]", "[%s] ", "[%s,]", "['%s']", "[%s", "%s]", "[%s] x", "[%s, 1]", "[[%s]]", "[%s, null]", "{%s}", " [%s]", "[%s] # c", "[%s, true]"])
    return form % text


def text(rng):
    return " ".join(word(rng) for _ in range(rng.randint(1, 3))) if rng.random() < 0.95 else ""


def command(keyword):
    return lambda rng: keyword + " " + (json_list(rng) if rng.random() < 0.5 else text(rng))


def shell(rng):
    return "SHELL " + rng.choice(["[\"/bin/sh\", \"-ec\"]", "[\"/bin/bash\"]", json_list(rng), "/bin/sh -c"])


def expose(rng):
    ports = ["80", "80/tcp", "53/udp", "9/sctp", "80/TCP", "80-82", "80-82/udp", "82-80", "0", "65535", "65536", "-1", "a", "80/x", "80/", "/tcp", "$A", "${UNSET:-8080}", "${UNSET:-81 82}", "127.0.0.1:80:81",
             "80:81", "[::1]:80:81", "80:81/udp", "1-3:4-6", "1-3:4-5", "\"80\"", "'80/tcp'", "080", "1-1", "80-", "5000-5010", "$UNSET", "80 ", "1.5", "${P:-90-91}/udp"]
    common = ports[:8]
    return "EXPOSE " + " ".join(rng.choice(common if rng.random() < 0.7 else ports) for _ in range(rng.randint(1, 3)))


def volume(rng):
    if rng.random() < 0.4:
        return "VOLUME " + json_list(rng)
    return "VOLUME " + " ".join(rng.choice(["/data", "/a/b/", "rel", word(rng), "$A", "/x\\ y", "\"/q\"", "/data/../x", "."]) for _ in range(rng.randint(1, 3)))


def stopsignal(rng):
    return "STOPSIGNAL " + rng.choice(["SIGTERM", "9", "TERM", "sigkill", "SIGRTMIN+1", "RTMAX-3", "64", "65", "0", "-1", "SIGFOO", "$A", "${UNSET:-SIGINT}", "\"SIGINT\"", "SIGKILL x", "SIGRTMIN", "kill", "1000", "SIGCLD", "SIGPOLL", "SIGINFO", " 15", "SIGIOT", "SIGRTMIN+15", "SIGRTMIN+16", "RTMIN+1"])


def user(rng):
    return "USER " + rng.choice(["app", "0", "1000:1000", "app:users", "$A", "${UNSET:-nobody}", "\"app\"", "a b", "", "'a'", word(rng)])


def workdir(rng):
    return "WORKDIR " + rng.choice(["/", "/a", "b", "b/", "..", ".", "/a/./b//c/", "$A", "${UNSET:-/d}", "/with space", "\"/quoted dir\"", "/a/../..", "./x/../y", "'/s q'", "/é", word(rng), "\\/x", "C:\\x", "~", "/tmp/x y/"])


def healthcheck(rng):
    flags = ["--interval=5s", "--timeout=1m30s", "--retries=3", "--start-period=0", "--start-interval=500ms", "--interval=0", "--interval=1us", "--interval=-1s", "--retries=-1", "--retries=x", "--interval=5", "--timeout=1.5h",
             "--retries=0", "--interval=", "--interval", "--nope=1", "--interval=5s", "--retries=1.5", "--interval=100000h", "--retries=$A", "--timeout=\"5s\"", "--start-interval=0s", "--retries=+3", "--retries=007", "--timeout=.5s"]
    chosen = " ".join(rng.choice(flags[:5] if rng.random() < 0.6 else flags) for _ in range(rng.randint(0, 2)))
    what = rng.choice(["NONE", "none", "NONE x", "CMD " + json_list(rng), "CMD " + text(rng), "cmd true", "CMD", "", "CMD-SHELL x", "CMD []", "CMD [\"curl\", \"-f\"]", "CMD curl -f http://x || exit 1"])
    return ("HEALTHCHECK %s %s" % (chosen, what)).replace("  ", " ")


def maintainer(rng):
    return "MAINTAINER " + text(rng)


def onbuild(rng):
    inner = rng.choice([env, label, arg, command("CMD"), command("RUN"), workdir, expose, user, copied, lambda r: "ONBUILD ENV a=b", lambda r: "FROM x", lambda r: "MAINTAINER x", lambda r: "", lambda r: "bogus", lambda r: "add a b", lambda r: "COPY --from=x a b"])
    return "ONBUILD " + inner(rng)


def copied(rng):
    return rng.choice(["COPY f /$A", "COPY \"f\" \"/q r/\"", "COPY [\"f\", \"/j k/\"]", "COPY f ${A:-d}/", "ADD f /", "COPY --chmod=0$UNSET f /m", "COPY --chown=$UNSET:${EMPTY} f /o", "COPY f .", "COPY --chown=${UNSET:-5:6} f /own", "COPY --chmod=${UNSET:-600} f /mode", "COPY $UNSET f /", "COPY ${UNSET:-f g} /two/", "COPY f \"$FOO\"", "COPY [\"f\",\"$A\",\"/arr/\"]", "COPY f /tr/$UNSET", "COPY f $UNSET"])


METADATA = [env] * 6 + [label] * 3 + [arg] * 4 + [command("CMD"), command("ENTRYPOINT"), shell, expose, volume, stopsignal, user, workdir, workdir, healthcheck, maintainer, onbuild, copied, copied]


def base(rng):
    return rng.choice(["base", "rich", "plain", "scratch", "scratch"])


def stage(rng, pieces):
    return [rng.choice(METADATA)(rng) for _ in range(rng.randint(1, pieces))]


def arguments(rng):
    values = ["", "v", "a b", "$A", "${A}", "'q'", "\"d\"", "a=b", "\\n", "é", "/p"]
    names = NAMES + ["TARGETARCH", "HTTP_PROXY", "no_proxy"]
    return ["--build-arg=%s=%s" % (rng.choice(names), rng.choice(values)) for _ in range(rng.randint(0, 2))]


def metadata(rng):
    pieces = []
    if rng.random() < 0.3:
        pieces += [arg(rng) for _ in range(rng.randint(1, 3))]
    names = []
    for number in range(rng.choice([1, 1, 1, 2, 3])):
        source = rng.choice(names) if names and rng.random() < 0.7 else base(rng)
        if rng.random() < 0.1:
            source = rng.choice(["${UNSET:-base}", "$UNSET", "\"base\"", "${A:+rich}", "'rich'", "ba$EMPTY", "${B:-scratch}", "BASE", "Base", "base:latest", "docker.io/library/base"])
        names.append("s%d" % number)
        pieces.append("FROM %s AS %s" % (source, names[-1]))
        if rng.random() < 0.4:
            pieces.append("ENV A=abcb B=b EMPTY=\"\" FOO=\"f*o}o\"")
        pieces += stage(rng, 5)
    flags = arguments(rng) if rng.random() < 0.5 else []
    if rng.random() < 0.1:
        flags.append("--label=" + rng.choice(["a=b", "A=", "x", "q=\"r\"", "base=no", "n=a=b"]))
    return Case(pieces, [File("f", content="f\n"), File("g", content="g\n")], flags)


def split(rng, piece):
    """The instruction spread over lines, or spelt otherwise."""
    words = piece.split(" ")
    breaks = ["\\\n", "\\\n    ", "\\\n# comment\n", "\\\n  # indented comment \\\n", "\\\n\n", "\\  \n", "\\\n\t", " \\\n \\\n ", "\\\n#\n", "\\\\\n", "\\\n \n"]
    out = words[0]
    for other in words[1:]:
        out += rng.choice(breaks) + " " + other if rng.random() < 0.25 else " " + other
    return out


GRAMMAR = ["ENV A=b", "ENV A=\"b c\" D='e f'", "ENV A b c", "LABEL a=b c=\"d \\\n e\"", "RUN echo hi", "RUN echo a && \\\n    echo b", "RUN <<EOF\necho a > /h\nEOF", "RUN <<-EOF\n\techo a\n\t\techo b\n\tEOF", "RUN <<'E F'\necho $A\nE F", "RUN cat <<A <<B > /two\na\nA\nb\nB",
           "RUN <<EOF sh\necho $A > /out\nEOF", "COPY <<EOF /file\nline $A\n\"quoted\" 'single' \\$A \\\\\nEOF", "COPY <<\"EOF\" /file\n$A\nEOF", "COPY <<a <<-b /dir/\n1\na\n\t2\n\tb\n", "COPY <<EOF f /mixed/\nx\nEOF", "ADD <<EOF /added\n${A:-x}\nEOF", "RUN <<EOF\n#!/bin/sh -e\necho script > /s\nEOF",
           "RUN echo '<<EOF' \"<<EOF\"", "RUN echo <<<a", "RUN <<EOF cat > /c\n  spaces  \n# not a comment\n\nblank\n\\\nEOF", "RUN <<EOF\nEOF", "COPY <<EOF /e\nEOF", "RUN <<EOF", "COPY --chown=1:2 --chmod=600 <<x /owned\nx\nx", "CMD <<EOF", "ENV A=<<EOF", "RUN 3<<EOF cat /dev/fd/3 > /fd\nthree\nEOF",
           "CMD [\"a\", \\\n \"b\"]", "CMD a \\\n  b", "ENTRYPOINT  [ \"x\" ]", "WORKDIR /a\\\nb", "# comment", "   # indented", "#", "", "   ", "\t", "env lower=case", "Run echo x", "eXpOsE 80", "COPY f /", "COPY --chown=1 f /o", "COPY --chmod=600 -- f /m", "COPY  f   g  /multi/", "RUN", "ENV", "COPY f", "CMD", "ENTRYPOINT", "USER",
           "WORKDIR", "EXPOSE", "VOLUME", "LABEL", "ARG", "STOPSIGNAL", "SHELL", "HEALTHCHECK", "ONBUILD", "MAINTAINER", "ADD f", "BOGUS x", "FRM x", "RUN --nope x", "COPY --form=x f /", "RUN --network=none echo n", "RUN --network=bad x", "COPY --chown f /", "COPY --link=maybe f /l", "COPY --chmod=9 f /", "COPY --chmod=a+x f /sx", "USER a b",
           "WORKDIR a b", "FROM", "FROM a b", "FROM base as", "FROM base AS 1x", "FROM base AS x y", "FROM base As Up", "FROM base AS scratch", "FROM --platform=linux/amd64 base", "FROM --nope base", "FROM scratch", "ENV a", "ENV =b", "ENV a=b c", "ENV a=b \\", "LABEL \"a b\"=c", "ARG 1=2", "ARG =x", "EXPOSE 1 \\\n 2", "VOLUME []", "VOLUME [\"\"]",
           "COPY [\"f\"]", "COPY [\"f\", 1]", "COPY [ \"f\" , \"/json/\" ]", "COPY [] /", "COPY f \\\n g \\\n /many/", "RUN [\"echo\", \"x\"]", "RUN [ \"echo\" ", "RUN ['echo']", "RUN []", "RUN [\"\"]", "SHELL []", "SHELL [\"/bin/sh\", \"-c\"]", "CMD []", "ENTRYPOINT []", "\u00a0ENV nb=sp", "ENV\ttab=1", "ENV a=b\u00a0c", "ENV a='b", "ENV a=\"b", "LABEL a=b\\ c d=e",
           "RUN echo \\\n\\\n\\\n done", "RUN echo a \\ \n b", "RUN echo `\n b", "ADD --checksum=sha256:00 f /", "ADD --unpack=true f /", "COPY --parents f /p/", "COPY --exclude=f . /ex/", "COPY --from=0 f /", "COPY --from=9 f /", "COPY --from=base /etc/group /g", "COPY --from=$A f /", "COPY --from= f /", "COPY --from=nope f /"]


def grammar(rng):
    before = b""
    if rng.random() < 0.1:
        before += b"\xef\xbb\xbf"
    if rng.random() < 0.3:
        before += rng.choice(["# escape=`\n", "#escape=\\\n", "# ESCAPE = `\n", "# escape=x\n", "# escape=\n", "# comment\n# escape=`\n", "\n# escape=`\n", "# nope=1\n# escape=`\n", "# escape=`\n# escape=`\n", "# check=skip=all\n", "# check=error=true\n", "#check=x\n",
                                 "# check=skip=A;error=maybe\n", "# escape=` \n", "  # escape=`\n", "#\tescape\t=\t`\n", "# syntax = \n", "#!/usr/bin/env x\n", "# escape=`x\n", "# es-cape=`\n# escape=`\n", "# check=error=true;skip=JSONArgsRecommended\n"]).encode()
    pieces = [rng.choice(["FROM base", "FROM base", "FROM scratch", "FROM base AS main", "from base", " FROM base", "FROM  base  as  b", "ARG V=base\nFROM $V", "FROM \\\n base"])]
    if rng.random() < 0.03:
        pieces = []
    if rng.random() < 0.4:
        pieces.append("ENV A=value")
    for _ in range(rng.randint(1, 4)):
        piece = rng.choice(GRAMMAR)
        if "<<" not in piece and rng.random() < 0.4:
            piece = split(rng, piece)
        if rng.random() < 0.05:
            piece = rng.choice([" ", "\t", "\u2003", "  "]) + piece
        if rng.random() < 0.05:
            piece += rng.choice([" ", "\t", " #c", "\\", " \\"])
        pieces.append(piece)
    case = Case(pieces, [File("f", content="f\n"), File("g", content="g\n")], before=before)
    if rng.random() < 0.1:
        case.pieces = [p.replace("\n", "\r\n") for p in case.pieces]
        case.ending = "\r\n"
    return case
