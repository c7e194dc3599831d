#ifndef SHOP_H
#define SHOP_H

struct item {
    const char *name;
    unsigned price; /* in cents */
    unsigned count;
};

extern const struct item shop_items[];
extern const unsigned shop_item_count;

unsigned shop_value(const struct item *item);

#endif
