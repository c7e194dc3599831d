#include "count.h"
#include <ctype.h>

struct count count_stream(FILE *stream)
{
    struct count count = {0, 0};
    int inside = 0;
    for (int c; (c = getc(stream)) != EOF;) {
        if (c == '\n')
            count.lines++;
        if (isspace(c))
            inside = 0;
        else if (!inside) {
            inside = 1;
            count.words++;
        }
    }
    return count;
}
