#ifndef COUNT_H
#define COUNT_H
#include <stdio.h>

struct count {
    unsigned long lines;
    unsigned long words;
};

struct count count_stream(FILE *stream);

#endif
