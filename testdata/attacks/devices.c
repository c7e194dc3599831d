/* Devices: nodes that the step makes itself, wherever it can write. */
#include "attack.h"

#include <dirent.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

/* In the root, in the file systems every step has, and where the test mounts a cache, a bind and memory. */
static const char *places[] = {"/", "/dev", "/dev/shm", "/cache", "/bind-rw", "/scratch"};

/* Opens a node of that number; -1 with errno. Where making it is refused everywhere, errno is that of the last place. */
static int open_node(mode_t kind, unsigned major, unsigned minor, int flags)
{
    int error = EPERM;
    for (size_t place = 0; place < sizeof places / sizeof *places; place++) {
        char path[100];
        snprintf(path, sizeof path, "%s/attack-node", places[place]);
        unlink(path);
        if (mknod(path, kind | 0600, makedev(major, minor)) != 0)
            continue;
        int node = open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        int why = errno;
        unlink(path);
        if (node >= 0)
            return node;
        if (error == EPERM || error == EACCES)
            error = why;
    }
    errno = error;
    return -1;
}

static void character(const char *name, unsigned major, unsigned minor)
{
    judge(name, open_node(S_IFCHR, major, minor, O_RDONLY));
}

static void mem(void) { character("mem", 1, 1); }
static void port(void) { character("port", 1, 4); }
static void kmsg(void) { character("kmsg", 1, 11); }
static void screen(void) { character("tty0", 4, 0); }
static void serial(void) { character("ttyS0", 4, 64); }
static void console(void) { character("console", 5, 1); }
static void screen_memory(void) { character("vcs", 7, 0); }
static void tunnel(void) { character("tun", 10, 200); }
static void fuse(void) { character("fuse", 10, 229); }
static void machines(void) { character("kvm", 10, 232); }
static void loops(void) { character("loop-control", 10, 237); }
static void autofs(void) { character("autofs", 10, 235); }

/* What the kernel tells of block devices; where it tells nothing, what somebody outside told of one. */
static FILE *disks(void)
{
    static char told[100];
    unsigned major, minor;
    FILE *list = fopen("/proc/partitions", "re");
    if (list)
        return list;
    if (sscanf(outside("HOST_DISK"), "%u:%u", &major, &minor) != 2)
        absent("HOST_DISK is not told");
    snprintf(told, sizeof told, "%u %u 1 told", major, minor);
    return fmemopen(told, strlen(told), "r");
}

/* Every block device, until the first bytes of one are read. */
static void disk(void)
{
    FILE *list = disks();
    unsigned major, minor, tried = 0;
    char line[200], name[100], bytes[512];
    int error = ENOENT;
    while (fgets(line, sizeof line, list)) {
        if (sscanf(line, "%u %u %*u %99s", &major, &minor, name) != 3)
            continue;
        tried++;
        int node = open_node(S_IFBLK, major, minor, O_RDONLY);
        if (node >= 0 && read(node, bytes, sizeof bytes) > 0)
            reached("%s is read", name);
        if (node < 0)
            error = errno;
    }
    if (!tried)
        absent("no block devices");
    refused("block devices", error);
}

static void disk_to_write(void)
{
    FILE *list = disks();
    unsigned major, minor;
    char line[200];
    int error = ENOENT;
    while (fgets(line, sizeof line, list)) {
        if (sscanf(line, "%u %u", &major, &minor) != 2)
            continue;
        if (open_node(S_IFBLK, major, minor, O_WRONLY) >= 0)
            reached("%u:%u is open for writing", major, minor);
        error = errno;
    }
    refused("block devices", error);
}

static int is_usual(unsigned major, unsigned minor)
{
    return (major == 1 && (minor == 3 || minor == 5 || minor == 7 || minor == 8 || minor == 9)) ||
           (major == 5 && (minor == 0 || minor == 2)) || (major >= 136 && major <= 143);
}

/* Without a list: the first numbers of every kind of device that has a fixed one. */
static _Noreturn void every_number(void)
{
    int tried = 0;
    for (unsigned major = 1; major < 256; major++)
        for (unsigned minor = 0; minor < 20; minor++)
            for (int kind = 0; kind < 2; kind++) {
                if (kind == 0 && is_usual(major, minor))
                    continue;
                tried++;
                if (open_node(kind == 0 ? S_IFCHR : S_IFBLK, major, minor, O_RDONLY) >= 0)
                    reached("%s %u:%u is open", kind == 0 ? "character" : "block", major, minor);
            }
    stopped("none of %d can be opened", tried);
}

/* All numbers below /sys/dev but those every step may use. */
static void every(void)
{
    if (access("/sys/dev", F_OK) != 0)
        every_number();
    const struct {
        const char *folder;
        mode_t kind;
    } kinds[] = {{"/sys/dev/char", S_IFCHR}, {"/sys/dev/block", S_IFBLK}};
    int tried = 0;
    for (size_t kind = 0; kind < 2; kind++) {
        DIR *folder = opendir(kinds[kind].folder);
        if (!folder)
            continue;
        for (struct dirent *entry; (entry = readdir(folder));) {
            unsigned major, minor;
            if (sscanf(entry->d_name, "%u:%u", &major, &minor) != 2)
                continue;
            if (kinds[kind].kind == S_IFCHR && is_usual(major, minor))
                continue;
            tried++;
            if (open_node(kinds[kind].kind, major, minor, O_RDONLY) >= 0)
                reached("%s %u:%u is open", kinds[kind].folder, major, minor);
        }
    }
    if (!tried)
        absent("no devices");
    stopped("none of %d can be opened", tried);
}

/* A node that an archive of the context brought, where the builder made it. */
static void unpacked(void)
{
    struct stat it;
    if (stat("/archive/disk", &it) != 0 || !S_ISBLK(it.st_mode))
        absent("the archive's device was not made");
    judge("/archive/disk", open("/archive/disk", O_RDONLY | O_CLOEXEC));
}

/* What docker allows: the usual devices, also by nodes of one's own. */
static void usual(void)
{
    const struct {
        const char *name;
        unsigned major, minor;
        int flags;
    } nodes[] = {{"null", 1, 3, O_RDWR},   {"zero", 1, 5, O_RDWR},    {"full", 1, 7, O_RDWR},
                 {"random", 1, 8, O_RDWR}, {"urandom", 1, 9, O_RDWR}, {"ptmx", 5, 2, O_RDWR}};
    for (size_t node = 0; node < sizeof nodes / sizeof *nodes; node++)
        if (open_node(S_IFCHR, nodes[node].major, nodes[node].minor, nodes[node].flags) < 0)
            /* A ptmx finds its terminals beside it only. */
            if (nodes[node].minor != 2 || errno == EPERM)
                refused(nodes[node].name, errno);
    reached("null, zero, full, random, urandom");
}

static void put_into_terminal(void)
{
    const char *paths[] = {"/dev/tty", "/dev/console", "/dev/pts/0", "/proc/self/fd/0", "/proc/self/fd/1"};
    for (int descriptor = 0; descriptor < 3; descriptor++)
        if (ioctl(descriptor, TIOCSTI, " ") == 0)
            reached("TIOCSTI on descriptor %d", descriptor);
    for (size_t path = 0; path < sizeof paths / sizeof *paths; path++) {
        int terminal = open(paths[path], O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
        if (terminal >= 0 && ioctl(terminal, TIOCSTI, " ") == 0)
            reached("TIOCSTI on %s", paths[path]);
    }
    stopped("there is no terminal");
}

static void paste_from_screen(void)
{
    char ask = 6;
    for (int descriptor = 0; descriptor < 3; descriptor++)
        if (ioctl(descriptor, TIOCLINUX, &ask) >= 0)
            reached("TIOCLINUX on descriptor %d", descriptor);
    int terminal = open_node(S_IFCHR, 4, 1, O_RDWR);
    if (terminal >= 0 && ioctl(terminal, TIOCLINUX, &ask) >= 0)
        reached("TIOCLINUX on tty1");
    stopped("there is no screen");
}

const struct attack device_attacks[] = {
    {"device-disk-read", disk},
    {"device-disk-write", disk_to_write},
    {"device-from-archive", unpacked},
    {"device-mem", mem},
    {"device-port", port},
    {"device-kmsg", kmsg},
    {"device-console", console},
    {"device-screen", screen},
    {"device-serial", serial},
    {"device-screen-memory", screen_memory},
    {"device-tun", tunnel},
    {"device-fuse", fuse},
    {"device-kvm", machines},
    {"device-loop", loops},
    {"device-autofs", autofs},
    {"device-every", every},
    {"device-usual", usual},
    {"terminal-tiocsti", put_into_terminal},
    {"terminal-tioclinux", paste_from_screen},
    {0},
};
