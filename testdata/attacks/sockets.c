/* Sockets: what of the machine listens, and what of the kernel speaks. */
#include "attack.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#ifndef AF_XDP
#define AF_XDP 44
#endif

static void made(const char *what, int family, int kind, int protocol)
{
    judge(what, socket(family, kind | SOCK_CLOEXEC, protocol));
}

static void hypervisor(void) { made("AF_VSOCK", AF_VSOCK, SOCK_STREAM, 0); }
static void ciphers(void) { made("AF_ALG", AF_ALG, SOCK_SEQPACKET, 0); }
static void packets(void) { made("AF_PACKET", AF_PACKET, SOCK_RAW, 0x0300); }
static void fast_packets(void) { made("AF_XDP", AF_XDP, SOCK_RAW, 0); }
static void raw(void) { made("SOCK_RAW", AF_INET, SOCK_RAW, 1); }

/* The host's sockets without a file are in its network namespace. */
static void abstract(void)
{
    const char *name = outside("HOST_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(name);
    if (length > sizeof address.sun_path - 1)
        absent("the name is too long");
    memcpy(address.sun_path + 1, name, length);
    int socket_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(socket_, (struct sockaddr *)&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length)) == 0)
        reached("a socket of the host is connected");
    stopped("connect: %s", strerror(errno));
}

/* Takes an interface of the host down that does not exist: the power to is asked first. */
static void interfaces(void)
{
    struct ifreq request = {.ifr_flags = 0};
    strcpy(request.ifr_name, "lo");
    int socket_ = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (ioctl(socket_, SIOCGIFFLAGS, &request) != 0)
        refused("SIOCGIFFLAGS", errno);
    judge("SIOCSIFFLAGS", ioctl(socket_, SIOCSIFFLAGS, &request));
}

static void links(void)
{
    struct {
        struct nlmsghdr head;
        struct ifinfomsg link;
    } request = {.head = {.nlmsg_len = sizeof request, .nlmsg_type = RTM_DELLINK, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
                 .link = {.ifi_family = AF_UNSPEC, .ifi_index = 0x7ffffff0}};
    struct {
        struct nlmsghdr head;
        struct nlmsgerr error;
        char rest[1000];
    } answer;
    int socket_ = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (socket_ < 0)
        refused("AF_NETLINK", errno);
    if (send(socket_, &request, sizeof request, 0) < 0 || recv(socket_, &answer, sizeof answer, 0) < 0)
        refused("netlink", errno);
    if (answer.error.error == -EPERM)
        stopped("RTM_DELLINK: %s", strerror(EPERM));
    reached("RTM_DELLINK is answered: %s", strerror(-answer.error.error));
}

const struct attack socket_attacks[] = {
    {"socket-abstract", abstract},
    {"socket-vsock", hypervisor},
    {"socket-alg", ciphers},
    {"socket-packet", packets},
    {"socket-xdp", fast_packets},
    {"socket-raw", raw},
    {"socket-interface", interfaces},
    {"socket-netlink", links},
    {0},
};
