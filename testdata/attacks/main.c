/* Runs every attack in a process of its own and writes the verdicts, one a line: name, verdict, how. */
#include "attack.h"

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

enum { PATIENCE_SECONDS = 20 };

static int verdict_pipe = -1;
char inherited[512];

static _Noreturn void tell(const char *verdict, const char *how, va_list arguments)
{
    char text[600];
    int length = snprintf(text, sizeof text, "%s\t", verdict);
    length += vsnprintf(text + length, sizeof text - (size_t)length, how, arguments);
    if (length >= (int)sizeof text)
        length = sizeof text - 1;
    if (write(verdict_pipe, text, (size_t)length) < 0)
        _exit(1);
    _exit(0);
}

#define VERDICT(function, word)              \
    _Noreturn void function(const char *how, ...) \
    {                                        \
        va_list arguments;                   \
        va_start(arguments, how);            \
        tell(word, how, arguments);          \
    }
VERDICT(reached, "reached")
VERDICT(stopped, "stopped")
VERDICT(absent, "absent")

_Noreturn void refused(const char *what, int error)
{
    switch (error) {
    case ENOSYS:
    case ENOENT:
    case ENODEV:
    case ENXIO:
    case EAFNOSUPPORT:
    case EPROTONOSUPPORT:
        absent("%s: %s", what, strerror(error));
    default:
        stopped("%s: %s", what, strerror(error));
    }
}

_Noreturn void judge(const char *what, long result)
{
    if (result == -1)
        refused(what, errno);
    reached("%s", what);
}

_Noreturn void rewrite(const char *path)
{
    char before[4096];
    int reader = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = reader < 0 ? 0 : read(reader, before, sizeof before);
    int writer = open(path, O_WRONLY | O_CLOEXEC);
    if (writer < 0)
        refused(path, errno);
    if (length > 0 && write(writer, before, (size_t)length) < 0)
        refused(path, errno);
    reached("%s can be written", path);
}

_Noreturn void open_to_write(const char *path)
{
    judge(path, open(path, O_WRONLY | O_CLOEXEC));
}

_Noreturn void read_something(const char *path)
{
    char word[8]; /* Some files are read by whole words only. */
    int file = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (file < 0)
        refused(path, errno);
    ssize_t length = read(file, word, sizeof word);
    if (length < 0)
        refused(path, errno);
    if (length == 0)
        stopped("%s is empty", path);
    reached("%s can be read", path);
}

_Noreturn void list_something(const char *path)
{
    DIR *folder = opendir(path);
    if (!folder)
        refused(path, errno);
    for (struct dirent *entry; (entry = readdir(folder));)
        if (entry->d_name[0] != '.')
            reached("%s/%s is there", path, entry->d_name);
    stopped("%s is empty", path);
}

const char *outside(const char *name)
{
    const char *value = getenv(name);
    if (!value || !*value)
        absent("%s is not told", name);
    return value;
}

/* Only input and output are open, and those are pipes or nothing. */
static void note_inherited(void)
{
    for (int descriptor = 0; descriptor < 1024; descriptor++) {
        struct stat it;
        if (fstat(descriptor, &it) != 0)
            continue;
        int harmless = descriptor <= 2 && (S_ISFIFO(it.st_mode) || S_ISCHR(it.st_mode));
        if (!harmless)
            snprintf(inherited, sizeof inherited, "descriptor %d, mode %o", descriptor, it.st_mode);
    }
}

static void run(const struct attack *attack, FILE *verdicts)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        exit(1);
    pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        verdict_pipe = ends[1];
        alarm(PATIENCE_SECONDS);
        attack->attempt();
        _exit(1);
    }
    close(ends[1]);
    char text[1024];
    struct pollfd waiting = {.fd = ends[0], .events = POLLIN};
    ssize_t length = 0;
    if (child > 0 && poll(&waiting, 1, PATIENCE_SECONDS * 1000) > 0)
        length = read(ends[0], text, sizeof text - 1);
    text[length > 0 ? length : 0] = 0;
    for (char *byte = text; *byte; byte++)
        if (*byte == '\n')
            *byte = ' ';
    int status = 0;
    if (child > 0) {
        kill(child, SIGKILL);
        waitpid(child, &status, 0);
    }
    close(ends[0]);
    if (length > 0)
        fprintf(verdicts, "%s\t%s\n", attack->name, text);
    else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
        fprintf(verdicts, "%s\tstopped\tkilled for its system call\n", attack->name);
    else
        fprintf(verdicts, "%s\tunclear\tended with status %d\n", attack->name, status);
    fflush(verdicts);
}

int main(int count, char **arguments)
{
    note_inherited();
    signal(SIGPIPE, SIG_IGN);
    const struct attack *families[] = {proc_attacks,   sys_attacks,     device_attacks, mount_attacks,
                                       kernel_attacks, process_attacks, socket_attacks, file_attacks};
    const char *where = count > 1 ? arguments[1] : "/dev/stdout";
    if (strcmp(where, "wait") == 0)
        return neighbour_waits();
    FILE *verdicts = fopen(where, "ae");
    if (!verdicts) {
        perror(where);
        return 1;
    }
    if (count > 2 && strcmp(arguments[2], "neighbours") == 0) {
        neighbour_is_met();
        for (const struct attack *attack = neighbour_attacks; attack->name; attack++)
            run(attack, verdicts);
        return 0;
    }
    for (size_t family = 0; family < sizeof families / sizeof *families; family++)
        for (const struct attack *attack = families[family]; attack->name; attack++)
            if (count < 3 || strcmp(arguments[2], attack->name) == 0)
                run(attack, verdicts);
    return 0;
}
