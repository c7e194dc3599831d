#include "shop.h"
#include <stdio.h>

int main(void)
{
    unsigned total = 0;
    for (unsigned i = 0; i < shop_item_count; i++)
        total += shop_value(&shop_items[i]);
    printf("invoices: %u.%02u in all\n", total / 100, total % 100);
    return 0;
}
