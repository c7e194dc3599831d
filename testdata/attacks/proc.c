/* /proc: settings, secrets and other processes of the machine. */
#include "attack.h"

#include <ctype.h>
#include <dirent.h>

static void core_pattern(void) { rewrite("/proc/sys/kernel/core_pattern"); }
static void modprobe(void) { rewrite("/proc/sys/kernel/modprobe"); }
static void hostname(void) { rewrite("/proc/sys/kernel/hostname"); }
static void overcommit(void) { rewrite("/proc/sys/vm/overcommit_memory"); }
static void forwarding(void) { rewrite("/proc/sys/net/ipv4/ip_forward"); }
static void interrupts(void) { rewrite("/proc/irq/default_smp_affinity"); }
static void binfmt(void) { open_to_write("/proc/sys/fs/binfmt_misc/register"); }
static void kcore(void) { read_something("/proc/kcore"); }
static void kernel_log(void) { read_something("/proc/kmsg"); }
static void keys(void) { read_something("/proc/keys"); }
static void timers(void) { read_something("/proc/timer_list"); }
static void page_flags(void) { read_something("/proc/kpageflags"); }
static void acpi(void) { list_something("/proc/acpi"); }
static void scsi(void) { list_something("/proc/scsi"); }

static void sysrq(void)
{
    int file = open("/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC);
    if (file < 0)
        refused("/proc/sysrq-trigger", errno);
    /* The key that only shows help. */
    judge("sysrq", write(file, "h", 1));
}

static void mtrr(void)
{
    int file = open("/proc/mtrr", O_WRONLY | O_CLOEXEC);
    if (file < 0)
        refused("/proc/mtrr", errno);
    if (write(file, "x\n", 2) == -1 && errno == EINVAL)
        reached("/proc/mtrr takes commands");
    refused("/proc/mtrr", errno);
}

static void pci(void)
{
    DIR *buses = opendir("/proc/bus/pci");
    if (!buses)
        refused("/proc/bus/pci", errno);
    open_to_write("/proc/bus/pci/00/00.0");
}

static void symbols(void)
{
    FILE *file = fopen("/proc/kallsyms", "re");
    if (!file)
        refused("/proc/kallsyms", errno);
    unsigned long address;
    while (fscanf(file, "%lx %*[^\n]", &address) == 1)
        if (address)
            reached("addresses of the kernel can be read");
    stopped("addresses are hidden");
}

static void processes(void)
{
    DIR *folder = opendir("/proc");
    int seen = 0;
    if (!folder)
        refused("/proc", errno);
    for (struct dirent *entry; (entry = readdir(folder));)
        seen += isdigit((unsigned char)entry->d_name[0]) != 0;
    /* The one that runs the attacks, and this. */
    if (seen > 2)
        reached("%d processes are seen", seen);
    stopped("only processes of the step are seen");
}

static void through_links(void)
{
    const char *secret = outside("HOST_FILE");
    const char *ways[] = {"", "/proc/1/root", "/proc/self/root", "/proc/self/cwd", "/proc/1/cwd/..", "/proc/thread-self/root"};
    for (size_t way = 0; way < sizeof ways / sizeof *ways; way++) {
        char path[4200];
        snprintf(path, sizeof path, "%s%s", ways[way], secret);
        if (open(path, O_RDONLY | O_CLOEXEC) >= 0)
            reached("%s is open", path);
    }
    stopped("a file outside is not found");
}

static void descriptors(void)
{
    if (*inherited)
        reached("inherited: %s", inherited);
    stopped("input, output and no more");
}

static void first_memory(void)
{
    const char *process = outside("HOST_PROCESS");
    char path[100];
    snprintf(path, sizeof path, "/proc/%s/mem", process);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        stopped("%s: %s", path, strerror(errno));
    reached("%s is open", path);
}

static void killer_score(void)
{
    int file = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (file < 0)
        refused("/proc/self/oom_score_adj", errno);
    judge("oom_score_adj -1000", write(file, "-1000", 5));
}

const struct attack proc_attacks[] = {
    {"proc-core-pattern", core_pattern},
    {"proc-modprobe", modprobe},
    {"proc-hostname", hostname},
    {"proc-overcommit", overcommit},
    {"proc-ip-forward", forwarding},
    {"proc-irq", interrupts},
    {"proc-binfmt", binfmt},
    {"proc-sysrq", sysrq},
    {"proc-kcore", kcore},
    {"proc-kmsg", kernel_log},
    {"proc-kallsyms", symbols},
    {"proc-keys", keys},
    {"proc-timers", timers},
    {"proc-kpageflags", page_flags},
    {"proc-acpi", acpi},
    {"proc-scsi", scsi},
    {"proc-mtrr", mtrr},
    {"proc-pci", pci},
    {"proc-processes", processes},
    {"proc-root-links", through_links},
    {"proc-descriptors", descriptors},
    {"proc-host-memory", first_memory},
    {"proc-oom-score", killer_score},
    {0},
};
