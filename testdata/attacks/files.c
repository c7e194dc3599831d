/* Files that are shown to the step, or should not be. */
#include "attack.h"

#include <dirent.h>
#include <sys/mount.h>
#include <sys/statvfs.h>

static void bind_write(void) { judge("/bind/new", open("/bind/new", O_CREAT | O_WRONLY | O_CLOEXEC, 0644)); }
static void bind_mode(void) { judge("chmod", chmod("/bind/Dockerfile", 0777)); }
static void bind_delete(void) { judge("unlink", unlink("/bind/Dockerfile")); }
static void bind_remount(void) { judge("remount", mount(NULL, "/bind", NULL, MS_REMOUNT | MS_BIND, NULL)); }
static void bind_unmount(void) { judge("umount", umount2("/bind", MNT_DETACH)); }
static void hosts_write(void) { open_to_write("/etc/hosts"); }
static void resolver_write(void) { open_to_write("/etc/resolv.conf"); }
static void hosts_replace(void) { judge("unlink", unlink("/etc/hosts")); }
static void secrets(void) { list_something("/run/secrets"); }

static void store(void)
{
    const char *path = outside("HOST_STORE");
    if (open(path, O_RDONLY | O_CLOEXEC) >= 0)
        reached("%s is open", path);
    stopped("%s: %s", path, strerror(errno));
}

/* The folder of a bind's source, by a link that another mount of it could show. */
static void above_bind(void)
{
    const char *secret = outside("HOST_FILE");
    char path[4200];
    snprintf(path, sizeof path, "/bind/../../../../../../../../..%s", secret);
    if (open(path, O_RDONLY | O_CLOEXEC) >= 0)
        reached("%s is open", path);
    int folder = open("/bind", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    snprintf(path, sizeof path, "../../../../../../../../..%s", secret);
    if (openat(folder, path, O_RDONLY | O_CLOEXEC) >= 0)
        reached("%s is open", path);
    stopped("a file outside is not found");
}

/* Programs of root's must not come from file systems that anyone fills. */
static void set_user_id(void)
{
    const char *paths[] = {"/proc", "/sys", "/dev", "/dev/shm", "/dev/pts", "/dev/mqueue", "/sys/fs/cgroup", "/etc/hosts", "/scratch"};
    for (size_t path = 0; path < sizeof paths / sizeof *paths; path++) {
        struct statvfs it;
        if (statvfs(paths[path], &it) == 0 && !(it.f_flag & ST_NOSUID))
            reached("%s is not nosuid", paths[path]);
    }
    stopped("all are nosuid");
}

const struct attack file_attacks[] = {
    {"bind-write", bind_write},
    {"bind-chmod", bind_mode},
    {"bind-delete", bind_delete},
    {"bind-remount", bind_remount},
    {"bind-umount", bind_unmount},
    {"bind-above", above_bind},
    {"hosts-write", hosts_write},
    {"hosts-replace", hosts_replace},
    {"resolver-write", resolver_write},
    {"secrets-of-others", secrets},
    {"store-open", store},
    {"setuid-file-systems", set_user_id},
    {0},
};
