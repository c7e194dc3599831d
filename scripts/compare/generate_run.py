"""RUN: what a command sees, and what it leaves behind."""
from case import Case, File

BEFORE = ["USER app", "USER 1000", "USER 1000:users", "USER app:users", "USER nobody", "USER 5", "USER 5:6", "USER short", "USER nope", "USER app:nope", "USER :users", "USER root:extra", "USER daemon", "USER broken", "USER 4294967296", "USER -1", "WORKDIR /w/x", "WORKDIR rel", "WORKDIR /etc/passwd", "ENV FOO=bar Q='a b'", "ENV HOME=/else", "ENV PATH=/bin", "ENV PATH=", "ARG V=1", "ARG W",
          "ARG HTTP_PROXY", "ARG TARGETPLATFORM BUILDPLATFORM TARGETARCH", "SHELL [\"/bin/sh\", \"-xec\"]", "SHELL [\"/bin/busybox\", \"sh\", \"-c\"]", "SHELL [\"/bin/echo\"]", "COPY f /f", "COPY --chmod=755 script /script", "VOLUME /data", "ENV HOSTNAME=x TERM=y", "ENV LD_X= UP=$PATH", "WORKDIR /home/app", "RUN rm -rf /etc/passwd", "RUN mkdir /d && touch /d/a /d/b && ln /d/a /d/h && ln -s a /d/l",
          "RUN echo 'new:x:77:88::/n:/bin/sh' >> /etc/passwd", "USER new", "LABEL a=b", "ONBUILD RUN x", "ARG TARGETSTAGE", "ENV NL=\"a\\nb\" EMPTY="]
SHOW = ["env | sort", "env | sort | grep -v ^HOME", "pwd", "id", "id -u; id -g; id -G", "umask", "hostname", "cat /proc/self/limits | grep -v -e processes -e signals -e locked", "ls -la /dev | awk '{print $1,$3,$4,$NF}' | grep -v total", "cat /proc/mounts | awk '{print $2,$3}' | grep -v '^/ '",
        "cat /etc/hosts", "ls -ld / /etc /tmp /proc /sys /dev /run 2>&1 | awk '{print $1,$3,$4,$NF}'", "cat /proc/self/status | grep -e Cap -e NoNew -e Seccomp: -e Umask -e Groups", "cat; echo stdin $?", "echo $0 $-; echo \"$@\"", "touch /sys/x 2>&1; touch /proc/x 2>&1; echo $?", "cat /proc/sys/kernel/hostname", "echo x > /etc/hosts; echo $?",
        "ls -la /etc/resolv.conf | awk '{print $1,$3,$4}'", "ulimit -a | grep -v -e processes -e signals -e locked", "mknod /n c 1 3; echo $?", "mount -t tmpfs x /mnt 2>&1; echo $?", "chroot / true; echo $?", "ls /proc | grep -c '^[0-9]' ", "cat /proc/self/cgroup", "stat -c '%a %u %g' / /tmp /etc", "echo $HOME $USER $PWD $OLDPWD $SHLVL $_", "df / | wc -l", "ls -a /", "cat /proc/1/comm; cat /proc/1/cmdline | tr '\\0' ' '", "tty; echo $?", "unshare -m true; echo $?", "cat /proc/keys | wc -l", "cat /proc/self/oom_score_adj", "nice", "date +%Z"]
DO = ["touch /a /b", "mkdir -p /x/y/z && touch /x/y/z/f", "rm -f /etc/group", "rm -rf /home", "rm -rf /home && mkdir /home && touch /home/new", "rm -rf /home && touch /home", "mv /etc /etc2", "mv /home/app /moved", "ln -s /etc /l && touch /l/through", "ln /etc/passwd /hard", "ln /etc/passwd /h1; ln /h1 /h2", "mkfifo /p", "mknod /c c 1 5", "mknod /b b 7 0", "chmod 4755 /bin/busybox", "chmod 700 /etc", "chown 5:6 /etc/passwd", "chown -h 5:6 /usr/bin 2>/dev/null; true",
      "touch -d @1704153600 /old", "mkdir /m && touch -d @1704153600 /m", "touch -d @1704153600 /etc", "echo more >> /etc/passwd", ": > /etc/passwd", "cp -a /etc /copy", "rm -rf /t/real && mkdir /t/real && touch /t/real/n", "rm /t/sticky/y; touch /t/sticky/x", "rm -rf /t", "mv /t /u", "touch /tmp/f /run/f /var/f", "mkdir -p /proc/x /sys/x; true", "touch /dev/x /dev/shm/y; true", "mkdir -p /dev/shm/z", "rm -rf /tmp", "chmod 755 /tmp", "touch '/a b' '/é' /-x", "mkdir -m 2775 /g && touch /g/i",
      "dd if=/dev/zero of=/sparse bs=1 count=1 seek=1M 2>/dev/null", "seq 1 1000 > /seq", "touch .wh.x; true", "exit 3", "false; true", "kill -9 $$", "sleep 100 & echo $! > /dev/null", "rm -rf /proc /sys /dev 2>/dev/null; true", "mkdir -p /etc/d && rm -rf /etc/d", "touch /x1 && rm /x1", "setfattr -n user.a -v b /etc/passwd; true", "nosuchcommand", "ln -s x /sl && chown -h 7:8 /sl && touch -h -d @1704153600 /sl", "rm -rf /opaque/* && touch /opaque/z", "rm -rf /opaque && mkdir -p /opaque/deep", "echo x > /etc/resolv.conf; echo y > /etc/hosts; true", "rm /etc/hosts /etc/resolv.conf; true",
      "mkdir -p /data && touch /data/v", "touch in-cwd", "mkdir -p /x && mv /x /y && ln -s y /x", "chmod 0 /etc/group", "mv /etc/passwd /etc/passwd.old && cp /etc/passwd.old /etc/passwd", "rm -rf /* 2>/dev/null; true", "touch /etc/passwd", "chmod 644 /etc/passwd", "mkdir /t/real/new; rmdir /t/real/new", "mv /t/real /t/real3 && mv /t/real3 /t/real"]
MOUNTS = ["--mount=type=bind,target=/m", "--mount=type=bind,source=f,target=/m/f", "--mount=target=/m,rw", "--mount=type=tmpfs,target=/m", "--mount=type=tmpfs,target=/tmp/deep/er", "--mount=type=cache,target=/m/cache", "--mount=type=cache,target=/c,uid=5,gid=6,mode=0700", "--mount=type=bind,from=base,source=/etc,target=/m", "--mount=from=trees,target=rel", "--mount=type=cache,target=/c,from=trees,source=/t",
          "--mount=type=secret,id=nope,target=/s", "--mount=type=tmpfs,target=/etc", "--mount=type=bind,target=/m,source=nope", "--mount=type=bind,from=nope,target=/m", "--mount=type=bind,source=t/link,from=trees,target=/m", "--mount=type=cache,target=/m,ro", "--mount=type=bogus,target=/m", "--mount=target=/", "--mount=type=bind,source=d,target=/etc/passwd", "--mount=type=bind,source=f,dst=/t/link/f", "--mount=type=tmpfs,target=$HOME/x", "--network=none", "--network=default", "--mount=type=secret,id=nope,required",
          "--mount=type=tmpfs,target=/m,size=1m", "--mount=type=cache,id=x,target=c", "--mount=", "--mount=type=tmpfs", "--mount=type=ssh", "--mount=type=cache,target=/m,sharing=locked", "--mount=type=cache,target=/m,sharing=bad", "--mount=type=bind,target=/m,uid=5", "--mount=type=tmpfs,target=/m,readonly=maybe", "--mount=type=bind,target=/m,bogus=1"]


def run(rng):
    pieces = ["FROM " + rng.choice(["base", "base", "trees", "rich", "plain"])]
    pieces += [rng.choice(BEFORE) for _ in range(rng.randint(0, 3))]
    if rng.random() < 0.5:
        pieces.append("USER root") if rng.random() < 0.5 else None
    for _ in range(rng.randint(1, 3)):
        flags = " ".join(rng.choice(MOUNTS) for _ in range(rng.choice([1, 1, 2]))) + " " if rng.random() < 0.25 else ""
        pieces.append(command(rng, flags))
        if rng.random() < 0.3:
            pieces.append(rng.choice(BEFORE))
    flags = rng.choice([[]] * 8 + [["--build-arg=V=2"], ["--build-arg=W=w w"], ["--build-arg=HTTP_PROXY=http://p"], ["--build-arg=https_proxy=http://q"], ["--add-host=some.host=1.2.3.4"], ["--network=none"], ["--shm-size=1m"], ["--ulimit=nofile=100:200"], ["--build-arg=FOO=cli"], ["--build-arg=NO_PROXY=x", "--build-arg=no_proxy=y"], ["--add-host=v6:::1"]])
    return Case(pieces, [File("f", content="f\n"), File("script", content="#!/bin/sh\necho script\n", mode=0o755), File("d", "dir"), File("d/e", content="e")], flags)


def command(rng, flags):
    kind = rng.random()
    if kind < 0.45:
        show = rng.choice(SHOW)
        name = rng.choice(["/tmp/seen", "/tmp/seen2"])
        if flags and rng.random() < 0.6:
            show = rng.choice(["ls -laR /m | awk '{print $1,$3,$4,$NF}' | grep -v total", "touch /m/new; echo $?", "ls -la /m /c rel 2>/dev/null | awk '{print $1,$3,$4,$NF}' | grep -v total", "ls -la / | awk '{print $1,$3,$4,$NF}' | grep -v total", "ip link | grep -c :"])
        return "RUN %s{ %s; } > %s 2>&1" % (flags, show, name)
    if kind < 0.9:
        return "RUN %s%s" % (flags, " && ".join(rng.choice(DO) for _ in range(rng.choice([1, 1, 2]))))
    return "RUN " + flags + rng.choice(["[\"touch\", \"/a b\", \"$FOO\"]", "[\"/bin/sh\", \"-c\", \"echo $FOO > /tmp/e\"]", "[\"nosuch\"]", "[\"/script\"]", "[\"/etc\"]", "[\"./f\"]", "[\"/f\"]", "<<EOF\nset -e\necho $FOO > /tmp/heredoc\nenv | sort > /tmp/env\nEOF", "<<EOF\n#!/bin/busybox sh\necho $0 \"$@\" > /tmp/s\nEOF", "<<EOF cat > /tmp/c\nx $FOO\nEOF"])
