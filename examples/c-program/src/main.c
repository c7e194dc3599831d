#include "count.h"
#include <string.h>

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--version") == 0) {
        printf("wordcount %s\n", VERSION);
        return 0;
    }
    FILE *stream = argc > 1 ? fopen(argv[1], "r") : stdin;
    if (!stream) {
        perror(argv[1]);
        return 1;
    }
    struct count count = count_stream(stream);
    printf("%lu lines, %lu words\n", count.lines, count.words);
    return 0;
}
