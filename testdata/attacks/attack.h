/* What a step may try against the machine it is built on. Every attack tells one verdict and ends.
 *
 * None does harm where it succeeds: what can be written is written back as it was, and what would stop the machine is
 * only asked for in its harmless form.
 */
#ifndef ATTACK_H
#define ATTACK_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

struct attack {
    const char *name;
    void (*attempt)(void);
};

extern const struct attack proc_attacks[], sys_attacks[], device_attacks[], mount_attacks[], kernel_attacks[],
    process_attacks[], socket_attacks[], file_attacks[], neighbour_attacks[];
/* The step that is attacked; and how the one that attacks finds it. */
int neighbour_waits(void), neighbour_is_met(void);

/* It had its effect. */
_Noreturn void reached(const char *how, ...) __attribute__((format(printf, 1, 2)));
/* It was refused; the reason is told as words. */
_Noreturn void stopped(const char *how, ...) __attribute__((format(printf, 1, 2)));
/* This machine does not have what it is about. */
_Noreturn void absent(const char *what, ...) __attribute__((format(printf, 1, 2)));
/* It was refused with this error number: stopped, or absent if that is what the number says. */
_Noreturn void refused(const char *what, int error);

/* By the result of a system call: reached unless it is -1. */
_Noreturn void judge(const char *what, long result);
/* Opens a file for writing and writes its own beginning back. */
_Noreturn void rewrite(const char *path);
/* Opens a file for writing, and no more. */
_Noreturn void open_to_write(const char *path);
/* Reads something from a file. */
_Noreturn void read_something(const char *path);
/* Finds anything in a folder. */
_Noreturn void list_something(const char *path);

/* A fact about the machine outside, handed in by the environment; absent if it was not. */
const char *outside(const char *name);
/* What the descriptors of this process were when it began; empty if all were as they should be. */
extern char inherited[512];

#endif
