#include "shop.h"
#include <stdio.h>

int main(void)
{
    printf("orders: %u kinds of items\n", shop_item_count);
    return 0;
}
