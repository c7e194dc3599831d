/* Other processes and one's own standing: signals, tracing, priorities, capabilities, shared memory. */
#include "attack.h"

#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/uio.h>
#include <sys/wait.h>

static pid_t host_process(void) { return atoi(outside("HOST_PROCESS")); }

/* A process outside has no number in here; another of the step may by chance have the same. */
static _Noreturn void outcome(const char *what, long result)
{
    if (result == -1)
        stopped("%s: %s", what, strerror(errno));
    reached("%s", what);
}

static void signalled(void) { outcome("kill", kill(host_process(), 0)); }
static void traced(void) { outcome("ptrace", ptrace(PTRACE_SEIZE, host_process(), 0, 0)); }
static void referred(void) { outcome("pidfd_open", syscall(SYS_pidfd_open, host_process(), 0)); }

static void remembered(void)
{
    char byte;
    struct iovec here = {&byte, 1}, there = {(void *)0x400000, 1};
    outcome("process_vm_readv", process_vm_readv(host_process(), &here, 1, &there, 1, 0));
}

/* Every number there is. */
static void anyone(void)
{
    for (pid_t process = 3; process < 70000; process++)
        if (process != getpid() && (kill(process, 0) == 0 || errno == EPERM))
            reached("process %d can be named", process);
    stopped("nobody else can be named");
}

/* The parent's parent of the first process is in another namespace. */
static void grandparent(void)
{
    FILE *status = fopen("/proc/1/stat", "re");
    int parent = -1;
    if (!status || fscanf(status, "%*d %*s %*c %d", &parent) != 1)
        absent("/proc/1/stat");
    if (parent != 0)
        reached("the parent of process 1 is %d", parent);
    stopped("process 1 has no parent to be seen");
}

static void descriptors_of_others(void)
{
    long first = syscall(SYS_pidfd_open, 1, 0);
    if (first < 0)
        refused("pidfd_open", errno);
    judge("pidfd_getfd", syscall(SYS_pidfd_getfd, first, 0, 0));
}

static void hurried(void) { judge("nice -20", setpriority(PRIO_PROCESS, 0, -20)); }

static void real_time(void)
{
    struct sched_param urgent = {.sched_priority = 1};
    judge("SCHED_FIFO", sched_setscheduler(0, SCHED_FIFO, &urgent));
}

static void more_files(void)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_max += 1;
    judge("setrlimit", setrlimit(RLIMIT_NOFILE, &limit));
}

static void more_powers(void)
{
    struct __user_cap_header_struct who = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct sets[2];
    if (syscall(SYS_capget, &who, sets) != 0)
        refused("capget", errno);
    sets[0].permitted |= 1u << CAP_SYS_ADMIN;
    sets[0].effective |= 1u << CAP_SYS_ADMIN;
    judge("capset", syscall(SYS_capset, &who, sets));
}

/* A file that gives its program a power the step may not have. */
static void powers_of_file(void)
{
    const char *path = "/attack-file";
    int file = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0755);
    if (file < 0)
        refused(path, errno);
    close(file);
    unsigned caps[5] = {0x02000001, 1u << CAP_SYS_ADMIN, 0, 0, 0};
    long set = syscall(SYS_setxattr, path, "security.capability", caps, sizeof caps, 0);
    int error = errno;
    if (set != 0) {
        unlink(path);
        refused("setxattr", error);
    }
    /* It may be written, and has no effect here: the bounding set is smaller. */
    unlink(path);
    if (prctl(PR_CAPBSET_READ, CAP_SYS_ADMIN) == 1)
        reached("a file can give CAP_SYS_ADMIN");
    stopped("the bounding set is smaller");
}

static void shared_memory(void)
{
    struct shm_info info;
    int last = shmctl(0, SHM_INFO, (struct shmid_ds *)&info);
    if (last < 0)
        refused("shmctl", errno);
    if (info.used_ids > 0)
        reached("%d segments of shared memory are seen", info.used_ids);
    stopped("no shared memory of others");
}

const struct attack process_attacks[] = {
    {"process-signal", signalled},
    {"process-ptrace", traced},
    {"process-pidfd", referred},
    {"process-memory", remembered},
    {"process-anyone", anyone},
    {"process-parent", grandparent},
    {"process-pidfd-getfd", descriptors_of_others},
    {"process-nice", hurried},
    {"process-real-time", real_time},
    {"process-rlimit", more_files},
    {"process-capset", more_powers},
    {"process-file-powers", powers_of_file},
    {"process-shared-memory", shared_memory},
    {0},
};
