/* The least that a step needs: clone with new namespaces, one overlay mount, exec, wait. What RUN steps are compared with.
 *
 *   sandbox [-j] [-f N] BASE WORK STEP...
 *
 * Each STEP is a line for /bin/sh in the tree BASE with what the earlier steps changed above it; `copy FOLDER` copies the
 * content of a folder there instead. Changes of step n are kept in WORK/n/u.
 *   -j    all steps at the same time, each on BASE alone
 *   -f N  the first N steps are there already
 * No capabilities dropped, no seccomp, no result committed, nothing cached: a floor, not a builder. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void die(const char *what) {
    perror(what);
    _exit(125);
}

static void put(const char *path, const char *text) {
    int file = open(path, O_WRONLY);
    if (file < 0 || write(file, text, strlen(text)) < 0) die(path);
    close(file);
}

static void become_root(unsigned user, unsigned group) {
    char line[64];
    put("/proc/self/setgroups", "deny");
    snprintf(line, sizeof line, "0 %u 1", user);
    put("/proc/self/uid_map", line);
    snprintf(line, sizeof line, "0 %u 1", group);
    put("/proc/self/gid_map", line);
}

/* In the new namespaces: mounts the tree at n/m and becomes the step. */
static void run(int n, const char *lower, const char *step) {
    char options[4096], root[32], path[64];
    snprintf(options, sizeof options, "lowerdir=%s,upperdir=%d/u,workdir=%d/w", lower, n, n);
    snprintf(root, sizeof root, "%d/m", n);
    if (mount("", "/", 0, MS_REC | MS_PRIVATE, 0)) die("private");
    if (mount("overlay", root, "overlay", 0, options)) die("overlay");
    snprintf(path, sizeof path, "%s/proc", root);
    if (mount("proc", path, "proc", 0, 0)) die("proc");
    snprintf(path, sizeof path, "%s/dev", root);
    if (mount("/dev", path, 0, MS_BIND | MS_REC, 0)) die("dev");
    if (chroot(root) || chdir("/")) die("chroot");
    char *words[] = {"/bin/sh", "-c", (char *)step, 0};
    char *variables[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", 0};
    execve(words[0], words, variables);
    die("exec");
}

static pid_t start(int n, const char *lower, const char *step) {
    static const char *folders[] = {"", "/u", "/w", "/m"};
    char path[64];
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%d%s", n, folders[i]);
        mkdir(path, 0755);
    }
    if (!strncmp(step, "copy ", 5)) {
        char line[4096];
        snprintf(line, sizeof line, "cp -a '%s/.' %d/u/", step + 5, n);
        pid_t child = fork();
        if (!child) execl("/bin/sh", "sh", "-c", line, (char *)0);
        return child;
    }
    unsigned user = geteuid(), group = getegid();
    long flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | SIGCHLD | (user ? CLONE_NEWUSER : 0);
    pid_t child = syscall(SYS_clone, flags, 0, 0, 0, 0);
    if (child < 0) die("clone");
    if (!child) {
        if (user) become_root(user, group);
        run(n, lower, step);
    }
    return child;
}

static void finish(pid_t child) {
    int code;
    if (waitpid(child, &code, 0) < 0 || code) {
        fprintf(stderr, "a step failed: %d\n", code);
        exit(1);
    }
}

int main(int count, char **words) {
    int option, together = 0, first = 0;
    while ((option = getopt(count, words, "+jf:")) > 0)
        if (option == 'j') together = 1;
        else if (option == 'f') first = atoi(optarg);
        else return 2;
    if (count - optind < 2) return 2;
    char *base = words[optind], **steps = words + optind + 2, lower[3800];
    if (chdir(words[optind + 1])) die(words[optind + 1]);
    snprintf(lower, sizeof lower, "%s", base);
    pid_t children[count];
    int n = 0;
    for (; steps[n]; n++) {
        children[n] = n < first ? 0 : start(n, lower, steps[n]);
        if (together) continue;
        if (children[n]) finish(children[n]);
        char below[3800];
        snprintf(below, sizeof below, "%d/u:%.3700s", n, lower);
        strcpy(lower, below);
    }
    while (together && n > 0) finish(children[--n]);
    return 0;
}
