#include "shop.h"
#include <stdio.h>

int main(void)
{
    unsigned pieces = 0;
    for (unsigned i = 0; i < shop_item_count; i++)
        pieces += shop_items[i].count;
    printf("stock: %u pieces\n", pieces);
    return 0;
}
