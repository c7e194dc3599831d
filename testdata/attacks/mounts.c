/* Mounts and namespaces: out of the tree and out of the world the step was given. */
#include "attack.h"

#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/wait.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

static const char *point(void)
{
    mkdir("/attack-point", 0755);
    return "/attack-point";
}

static void tmpfs(void) { judge("mount tmpfs", mount("none", point(), "tmpfs", 0, "")); }
static void proc(void) { judge("mount proc", mount("proc", point(), "proc", 0, "")); }
static void sysfs(void) { judge("mount sysfs", mount("sysfs", point(), "sysfs", 0, "")); }
static void debugfs(void) { judge("mount debugfs", mount("debugfs", point(), "debugfs", 0, "")); }
static void devtmpfs(void) { judge("mount devtmpfs", mount("devtmpfs", point(), "devtmpfs", 0, "")); }
static void bind(void) { judge("bind /proc", mount("/proc", point(), NULL, MS_BIND | MS_REC, NULL)); }
static void overlay(void) { judge("mount overlay", mount("o", point(), "overlay", 0, "lowerdir=/:/proc")); }
static void proc_sys(void) { judge("remount /proc/sys", mount(NULL, "/proc/sys", NULL, MS_REMOUNT | MS_BIND, NULL)); }
static void whole_sys(void) { judge("remount /sys", mount(NULL, "/sys", NULL, MS_REMOUNT, NULL)); }
static void shared(void) { judge("make / shared", mount(NULL, "/", NULL, MS_SHARED | MS_REC, NULL)); }
static void moved(void) { judge("move /proc", mount("/proc", point(), NULL, MS_MOVE, NULL)); }
static void uncover(void) { judge("umount /proc/kcore", umount2("/proc/kcore", MNT_DETACH)); }
static void uncover_folder(void) { judge("umount /sys/firmware", umount2("/sys/firmware", MNT_DETACH)); }
static void unprotect(void) { judge("umount /proc/sys", umount2("/proc/sys", MNT_DETACH)); }
static void pivot(void) { judge("pivot_root", syscall(SYS_pivot_root, ".", ".")); }
static void context(void) { judge("fsopen", syscall(SYS_fsopen, "tmpfs", 0)); }
static void pick(void) { judge("fspick", syscall(SYS_fspick, AT_FDCWD, "/proc/sys", 0)); }
static void tree(void) { judge("open_tree", syscall(SYS_open_tree, AT_FDCWD, "/", 1)); }
static void move_tree(void) { judge("move_mount", syscall(SYS_move_mount, AT_FDCWD, "/proc", AT_FDCWD, point(), 0)); }

static void attributes(void)
{
    unsigned long long clear[4] = {0, 1, 0, 0}; /* MOUNT_ATTR_RDONLY */
    judge("mount_setattr", syscall(SYS_mount_setattr, AT_FDCWD, "/proc/sys", 0, clear, sizeof clear));
}

static void namespaces(void) { judge("unshare", unshare(CLONE_NEWNS)); }
static void processes(void) { judge("unshare", unshare(CLONE_NEWPID)); }
static void network(void) { judge("unshare", unshare(CLONE_NEWNET)); }
static void clocks(void) { judge("unshare", unshare(CLONE_NEWTIME)); }
static void users(void) { judge("unshare", unshare(CLONE_NEWUSER)); }

static void users_by_clone(void)
{
    long child = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
    if (child == 0)
        _exit(0);
    judge("clone", child);
}

static void users_by_clone3(void)
{
    unsigned long long arguments[11] = {CLONE_NEWUSER, 0, 0, 0, SIGCHLD, 0, 0, 0, 0, 0, 0};
    long child = syscall(SYS_clone3, arguments, sizeof arguments);
    if (child == 0)
        _exit(0);
    if (child == -1 && errno == ENOSYS)
        stopped("clone3 is not there");
    judge("clone3", child);
}

/* What a user namespace is wanted for: mounting in it. */
static void users_then_mount(void)
{
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
        refused("unshare", errno);
    judge("mount in a user namespace", mount("none", point(), "tmpfs", 0, ""));
}

static void enter_mounts(void)
{
    int namespace = open("/proc/1/ns/mnt", O_RDONLY | O_CLOEXEC);
    if (namespace < 0)
        refused("/proc/1/ns/mnt", errno);
    judge("setns", setns(namespace, 0));
}

static void enter_process(void)
{
    long process = syscall(SYS_pidfd_open, 1, 0);
    if (process < 0)
        refused("pidfd_open", errno);
    judge("setns", setns((int)process, CLONE_NEWNS | CLONE_NEWNET));
}

static void by_handle(void)
{
    struct {
        struct file_handle head;
        char bytes[128];
    } handle = {.head = {.handle_bytes = 128}};
    int mount_id;
    if (name_to_handle_at(AT_FDCWD, "/", &handle.head, &mount_id, 0) != 0) {
        /* The file system gives none: one is made up. */
        handle.head.handle_bytes = 8;
        handle.head.handle_type = 1;
        handle.bytes[0] = 2;
    }
    int folder = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int found = open_by_handle_at(folder, &handle.head, O_RDONLY);
    judge("open_by_handle_at", found);
}

/* A root within the root, left by a descriptor, and up from there. */
static void out_of_chroot(void)
{
    const char *secret = outside("HOST_FILE");
    int before = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    mkdir("/attack-jail", 0755);
    if (chroot("/attack-jail") != 0)
        refused("chroot", errno);
    if (fchdir(before) != 0)
        refused("fchdir", errno);
    for (int step = 0; step < 100; step++)
        if (chdir("..") != 0)
            refused("chdir", errno);
    if (chroot(".") != 0)
        refused("chroot", errno);
    if (open(secret, O_RDONLY | O_CLOEXEC) >= 0)
        reached("%s is open", secret);
    stopped("the way up ends at the step's root");
}

static void fixed_addresses(void) { judge("personality", personality(ADDR_NO_RANDOMIZE)); }
static void executable_data(void) { judge("personality", personality(READ_IMPLIES_EXEC)); }

const struct attack mount_attacks[] = {
    {"mount-tmpfs", tmpfs},
    {"mount-proc", proc},
    {"mount-sysfs", sysfs},
    {"mount-debugfs", debugfs},
    {"mount-devtmpfs", devtmpfs},
    {"mount-bind", bind},
    {"mount-overlay", overlay},
    {"mount-move", moved},
    {"mount-shared", shared},
    {"mount-remount-proc-sys", proc_sys},
    {"mount-remount-sys", whole_sys},
    {"mount-umount-kcore", uncover},
    {"mount-umount-firmware", uncover_folder},
    {"mount-umount-proc-sys", unprotect},
    {"mount-pivot-root", pivot},
    {"mount-fsopen", context},
    {"mount-fspick", pick},
    {"mount-open-tree", tree},
    {"mount-move-mount", move_tree},
    {"mount-setattr", attributes},
    {"namespace-mount", namespaces},
    {"namespace-pid", processes},
    {"namespace-net", network},
    {"namespace-time", clocks},
    {"namespace-user", users},
    {"namespace-user-clone", users_by_clone},
    {"namespace-user-clone3", users_by_clone3},
    {"namespace-user-mount", users_then_mount},
    {"namespace-setns", enter_mounts},
    {"namespace-setns-pidfd", enter_process},
    {"escape-by-handle", by_handle},
    {"escape-chroot", out_of_chroot},
    {"personality-no-random", fixed_addresses},
    {"personality-exec-data", executable_data},
    {0},
};
