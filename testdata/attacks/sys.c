/* /sys and control groups: settings of the machine, and programs the kernel starts outside. */
#include "attack.h"

#include <dirent.h>
#include <ftw.h>
#include <sched.h>
#include <sys/mount.h>

static void uevent_helper(void) { rewrite("/sys/kernel/uevent_helper"); }
static void debugging(void) { list_something("/sys/kernel/debug"); }
static void tracing(void) { list_something("/sys/kernel/tracing"); }
static void security(void) { list_something("/sys/kernel/security"); }
static void firmware(void) { list_something("/sys/firmware"); }
static void powercap(void) { list_something("/sys/devices/virtual/powercap"); }
static void power_state(void) { open_to_write("/sys/power/state"); }

static int can_be_written(const char *path, const struct stat *it, int kind, struct FTW *depth)
{
    (void)depth;
    if (kind == FTW_F && S_ISREG(it->st_mode) && (it->st_mode & 0222)) {
        int file = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
        if (file >= 0)
            reached("%s can be written", path);
    }
    return 0;
}

static void anything(void)
{
    nftw("/sys", can_be_written, 20, FTW_PHYS);
    stopped("nothing below /sys can be opened for writing");
}

/* Calls `attempt` with each hierarchy's folder until one succeeds. */
static void in_each_hierarchy(int (*attempt)(const char *), const char *what)
{
    int error = ENOENT;
    DIR *folder = opendir("/sys/fs/cgroup");
    if (!folder)
        refused("/sys/fs/cgroup", errno);
    for (struct dirent *entry; (entry = readdir(folder));) {
        if (strcmp(entry->d_name, "..") == 0)
            continue;
        char path[600];
        snprintf(path, sizeof path, "/sys/fs/cgroup/%s", entry->d_name);
        if (attempt(path) >= 0)
            reached("%s in %s", what, path);
        if (errno != ENOENT && errno != ENOTDIR)
            error = errno;
    }
    refused(what, error);
}

static int open_release_agent(const char *path)
{
    char file[700];
    snprintf(file, sizeof file, "%s/release_agent", path);
    return open(file, O_WRONLY | O_CLOEXEC);
}

static int open_members(const char *path)
{
    char file[700];
    snprintf(file, sizeof file, "%s/cgroup.procs", path);
    return open(file, O_WRONLY | O_CLOEXEC);
}

static int open_device_rules(const char *path)
{
    char file[700];
    snprintf(file, sizeof file, "%s/devices.allow", path);
    return open(file, O_WRONLY | O_CLOEXEC);
}

static int make_group(const char *path)
{
    char group[700];
    snprintf(group, sizeof group, "%s/attack", path);
    int made = mkdir(group, 0755);
    if (made == 0)
        rmdir(group);
    return made;
}

static void release_agent(void) { in_each_hierarchy(open_release_agent, "release_agent"); }
static void members(void) { in_each_hierarchy(open_members, "cgroup.procs"); }
static void device_rules(void) { in_each_hierarchy(open_device_rules, "devices.allow"); }
static void groups(void) { in_each_hierarchy(make_group, "a new group"); }

static void mount_old(void)
{
    mkdir("/attack-groups", 0755);
    judge("mount cgroup", mount("cgroup", "/attack-groups", "cgroup", 0, "devices"));
}

static void mount_new(void)
{
    mkdir("/attack-groups", 0755);
    judge("mount cgroup2", mount("cgroup2", "/attack-groups", "cgroup2", 0, ""));
}

static void own_groups(void) { judge("unshare", unshare(CLONE_NEWCGROUP)); }

const struct attack sys_attacks[] = {
    {"sys-uevent-helper", uevent_helper},
    {"sys-debug", debugging},
    {"sys-tracing", tracing},
    {"sys-security", security},
    {"sys-firmware", firmware},
    {"sys-powercap", powercap},
    {"sys-power-state", power_state},
    {"sys-anything", anything},
    {"cgroup-release-agent", release_agent},
    {"cgroup-members", members},
    {"cgroup-device-rules", device_rules},
    {"cgroup-new-group", groups},
    {"cgroup-mount-v1", mount_old},
    {"cgroup-mount-v2", mount_new},
    {"cgroup-namespace", own_groups},
    {0},
};
