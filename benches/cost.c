/* Runs a command and writes what it cost: wall and CPU seconds, KiB at the peak, exit code.
 *
 *   cost REPORT COMMAND...
 *
 * A process of its own because the kernel counts the memory of what a process was before it became the command, and this
 * one is small. CPU and memory are those of the command and of all descendants that were waited for. */
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double seconds(struct timeval time) { return time.tv_sec + time.tv_usec / 1e6; }

int main(int count, char **words) {
    struct timespec begin, end;
    struct rusage usage;
    int code;
    if (count < 3) return 2;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    pid_t child = fork();
    if (!child) {
        execvp(words[2], words + 2);
        perror(words[2]);
        _exit(127);
    }
    if (child < 0 || wait4(child, &code, 0, &usage) < 0) return 2;
    clock_gettime(CLOCK_MONOTONIC, &end);
    FILE *report = fopen(words[1], "w");
    if (!report) return 2;
    fprintf(report, "%.6f %.6f %ld\n", end.tv_sec - begin.tv_sec + (end.tv_nsec - begin.tv_nsec) / 1e9,
            seconds(usage.ru_utime) + seconds(usage.ru_stime), usage.ru_maxrss);
    if (fclose(report)) return 2;
    return WIFEXITED(code) ? WEXITSTATUS(code) : 128 + WTERMSIG(code);
}
