/* System calls that are about the machine, not about the step; each is asked for in a form that changes nothing. */
#include "attack.h"

#include <linux/perf_event.h>
#include <sys/io.h>
#include <sys/quota.h>
#include <sys/reboot.h>
#include <sys/swap.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <time.h>

#define CALL(function, ...) \
    static void call_##function(void) { judge(#function, syscall(SYS_##function, __VA_ARGS__)); }

enum { SESSION_KEYRING = -3, GET_KEYRING_ID = 0, JOIN_SESSION = 1 };

static void keyctl_session(void) { judge("keyctl", syscall(SYS_keyctl, GET_KEYRING_ID, SESSION_KEYRING, 0)); }
static void keyctl_join(void) { judge("keyctl", syscall(SYS_keyctl, JOIN_SESSION, 0)); }
CALL(add_key, "user", "attack", "x", 1, SESSION_KEYRING)
CALL(request_key, "user", "attack", NULL, 0)
CALL(userfaultfd, 0)
CALL(kexec_load, 0, 0, NULL, 0)
CALL(acct, "/attack-no-such-file")
CALL(swapon, "/attack-no-such-file", 0)
CALL(swapoff, "/attack-no-such-file")
CALL(delete_module, "attack", O_NONBLOCK)
CALL(vhangup, 0)
CALL(fanotify_init, 0, O_RDONLY)
CALL(kcmp, 1, getpid(), 0, 0, 0)

/* What is wrong with the arguments is told only to who may call at all. */
static void asked(const char *what, long result)
{
    if (result == -1 && errno != EPERM && errno != EACCES && errno != ENOSYS)
        reached("%s is answered: %s", what, strerror(errno));
    judge(what, result);
}

static void io_uring(void)
{
    char parameters[200] = {0};
    judge("io_uring_setup", syscall(SYS_io_uring_setup, 4, parameters));
}

static void bpf_program(void)
{
    /* r0 = 0; exit, as a filter of sockets. */
    unsigned long long code[] = {0xb7, 0x95};
    struct {
        unsigned type, count;
        unsigned long long code, licence, rest[12];
    } program = {1, 2, (unsigned long)code, (unsigned long)"GPL", {0}};
    judge("bpf", syscall(SYS_bpf, 5, &program, sizeof program));
}

static void bpf_map(void)
{
    unsigned map[20] = {2, 4, 4, 1};
    judge("bpf", syscall(SYS_bpf, 0, map, sizeof map));
}

static void perf(void)
{
    struct perf_event_attr event = {.type = PERF_TYPE_SOFTWARE, .size = sizeof event, .config = PERF_COUNT_SW_CPU_CLOCK};
    judge("perf_event_open", syscall(SYS_perf_event_open, &event, 0, -1, -1, 0));
}

static void kexec_file(void)
{
#ifdef SYS_kexec_file_load
    asked("kexec_file_load", syscall(SYS_kexec_file_load, -1, -1, 0, "", 0));
#else
    absent("kexec_file_load");
#endif
}

static void module(void) { asked("init_module", syscall(SYS_init_module, "", 0, "")); }
static void module_file(void) { asked("finit_module", syscall(SYS_finit_module, -1, "", 0)); }
static void quota(void) { asked("quotactl", syscall(SYS_quotactl, QCMD(Q_SYNC, USRQUOTA), NULL, 0, NULL)); }
static void quota_of_file(void) { asked("quotactl_fd", syscall(SYS_quotactl_fd, -1, QCMD(Q_SYNC, USRQUOTA), 0, NULL)); }
static void restart(void) { judge("reboot", syscall(SYS_reboot, 0xfee1dead, 672274793, RB_DISABLE_CAD, NULL)); }
static void logged(void) { asked("syslog", syscall(SYS_syslog, 10, NULL, 0)); }
static void log_read(void)
{
    char text[100];
    judge("syslog", syscall(SYS_syslog, 3, text, sizeof text));
}

static void clock_set(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    judge("clock_settime", clock_settime(CLOCK_REALTIME, &now));
}

static void day_set(void)
{
    struct timeval now;
    gettimeofday(&now, NULL);
    judge("settimeofday", settimeofday(&now, NULL));
}

static void clock_tuned(void)
{
    struct timex state = {0};
    adjtimex(&state);
    state.modes = ADJ_STATUS;
    judge("adjtimex", adjtimex(&state));
}

static void named(void)
{
    char name[65] = "";
    gethostname(name, sizeof name);
    judge("sethostname", sethostname(name, strlen(name)));
}

static void domain(void) { judge("setdomainname", setdomainname("attack", 6)); }

static void ports(void)
{
#ifdef __x86_64__
    judge("iopl", iopl(3));
#else
    absent("iopl");
#endif
}

static void one_port(void)
{
#ifdef __x86_64__
    judge("ioperm", ioperm(0x80, 1, 1));
#else
    absent("ioperm");
#endif
}

/* The same calls by the other ways into the kernel: a filter must judge those too. */
#ifdef __x86_64__
static long by_interrupt(long number, long first, long second, long third, long fourth, long fifth)
{
    long result;
    __asm__ volatile("int $0x80"
                     : "=a"(result)
                     : "a"(number), "b"(first), "c"(second), "d"(third), "S"(fourth), "D"(fifth)
                     : "memory", "r8", "r9", "r10", "r11");
    if (result < 0) {
        errno = (int)-result;
        return -1;
    }
    return result;
}
static void mount_32(void)
{
    /* The pointers are above what 32 bits hold: a filter refuses before the kernel sees that. */
    asked("mount by int 0x80", by_interrupt(21, 1, 1, 1, 0, 0));
}
static void bpf_32(void) { asked("bpf by int 0x80", by_interrupt(357, 0, 1, 16, 0, 0)); }
static void unshare_32(void) { judge("unshare by int 0x80", by_interrupt(310, 0x10000000, 0, 0, 0, 0)); }
static void mount_x32(void) { asked("mount by x32", syscall(0x40000000 | 165, 1, 1, 1, 0, 0)); }
static void unshare_x32(void) { judge("unshare by x32", syscall(0x40000000 | 272, 0x10000000)); }
#else
static void mount_32(void) { absent("no 32-bit calls here"); }
static void bpf_32(void) { absent("no 32-bit calls here"); }
static void unshare_32(void) { absent("no 32-bit calls here"); }
static void mount_x32(void) { absent("no x32 here"); }
static void unshare_x32(void) { absent("no x32 here"); }
#endif

const struct attack kernel_attacks[] = {
    {"kernel-keyring", keyctl_session},
    {"kernel-keyring-join", keyctl_join},
    {"kernel-add-key", call_add_key},
    {"kernel-request-key", call_request_key},
    {"kernel-io-uring", io_uring},
    {"kernel-bpf-program", bpf_program},
    {"kernel-bpf-map", bpf_map},
    {"kernel-perf", perf},
    {"kernel-userfaultfd", call_userfaultfd},
    {"kernel-kexec", call_kexec_load},
    {"kernel-kexec-file", kexec_file},
    {"kernel-module", module},
    {"kernel-module-file", module_file},
    {"kernel-module-delete", call_delete_module},
    {"kernel-acct", call_acct},
    {"kernel-swapon", call_swapon},
    {"kernel-swapoff", call_swapoff},
    {"kernel-quota", quota},
    {"kernel-quota-fd", quota_of_file},
    {"kernel-reboot", restart},
    {"kernel-syslog", logged},
    {"kernel-syslog-read", log_read},
    {"kernel-vhangup", call_vhangup},
    {"kernel-fanotify", call_fanotify_init},
    {"kernel-kcmp", call_kcmp},
    {"kernel-clock", clock_set},
    {"kernel-day", day_set},
    {"kernel-clock-tune", clock_tuned},
    {"kernel-hostname", named},
    {"kernel-domain", domain},
    {"kernel-iopl", ports},
    {"kernel-ioperm", one_port},
    {"kernel-mount-int80", mount_32},
    {"kernel-bpf-int80", bpf_32},
    {"kernel-unshare-int80", unshare_32},
    {"kernel-mount-x32", mount_x32},
    {"kernel-unshare-x32", unshare_x32},
    {0},
};
