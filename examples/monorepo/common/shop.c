#include "shop.h"

const struct item shop_items[] = {
    {"lamp", 2500, 4},
    {"chair", 4900, 2},
    {"table", 12000, 1},
};
const unsigned shop_item_count = sizeof shop_items / sizeof shop_items[0];

unsigned shop_value(const struct item *item)
{
    return item->price * item->count;
}
