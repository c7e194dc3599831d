/* Steps that run at once: one has something, the other wants it. They find each other by the network, which all may use.
 *
 *     waits  ── listens on a port, tells the number of a child of its, hands its root to whoever connects to a socket
 *     attacks ── connects, tries what it can, and hangs up
 */
#include "attack.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

static unsigned patience(void) { return (unsigned)atoi(outside("HOST_PATIENCE")); }

static const char kept[] = "what a neighbour keeps to itself";
/* The number of the other's child, and where in it that is. */
static struct {
    pid_t process;
    unsigned long address;
} neighbour;

static struct sockaddr_in meeting_place(void)
{
    struct sockaddr_in place = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(outside("HOST_PORT")))};
    place.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return place;
}

/* A socket without a file. */
static socklen_t nameless(struct sockaddr_un *address)
{
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    int length = snprintf(address->sun_path + 1, sizeof address->sun_path - 1, "rbuild-neighbour-%s", outside("HOST_PORT"));
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
}

static _Noreturn void failed(const char *what)
{
    perror(what);
    exit(1);
}

/* Hands out the folder that is our root, to everybody. */
static _Noreturn void hand_out(void)
{
    struct sockaddr_un address;
    socklen_t length = nameless(&address);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    int root = open("/", O_RDONLY | O_DIRECTORY);
    if (bind(listener, (struct sockaddr *)&address, length) != 0 || listen(listener, 9) != 0)
        failed("bind");
    for (;;) {
        char byte = 0, control[CMSG_SPACE(sizeof root)] = {0};
        struct iovec bytes = {&byte, 1};
        struct msghdr message = {.msg_iov = &bytes, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(sizeof root);
        memcpy(CMSG_DATA(head), &root, sizeof root);
        int asker = accept(listener, NULL, NULL);
        sendmsg(asker, &message, MSG_NOSIGNAL);
        close(asker);
    }
}

int neighbour_waits(void)
{
    struct sockaddr_in place = meeting_place();
    int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    pid_t child = fork();
    if (child == 0)
        hand_out();
    if (bind(listener, (struct sockaddr *)&place, sizeof place) != 0 || listen(listener, 1) != 0)
        failed("bind");
    alarm(patience());
    int other = accept(listener, NULL, NULL);
    neighbour.process = child;
    neighbour.address = (unsigned long)kept;
    char byte;
    if (write(other, &neighbour, sizeof neighbour) < 0 || read(other, &byte, 1) < 0)
        failed("the other");
    int status = 0;
    if (waitpid(child, &status, WNOHANG) != 0)
        printf("my child was ended\n");
    kill(child, SIGKILL);
    return 0;
}

/* Waits for the other to be there; gives what is to be open as long as the attacks last. */
int neighbour_is_met(void)
{
    struct sockaddr_in place = meeting_place();
    struct timespec moment = {.tv_nsec = 50000000};
    for (unsigned times = 0; times < patience() * 20; times++) {
        int other = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(other, (struct sockaddr *)&place, sizeof place) == 0 &&
            read(other, &neighbour, sizeof neighbour) == sizeof neighbour)
            return other;
        close(other);
        nanosleep(&moment, NULL);
    }
    fprintf(stderr, "nobody is there\n");
    exit(1);
}

/* With numbers of its own, a step may have one of its own by that number. */
static pid_t foreign(void)
{
    pid_t session = getsid(neighbour.process);
    if (session == -1 || session == getsid(0))
        stopped("its number means nothing here");
    return neighbour.process;
}

static void signalled(void) { judge("kill", kill(foreign(), 0)); }
static void traced(void) { judge("ptrace", ptrace(PTRACE_SEIZE, foreign(), 0, 0)); }

static void remembered(void)
{
    char bytes[sizeof kept];
    struct iovec here = {bytes, sizeof bytes}, there = {(void *)neighbour.address, sizeof bytes};
    if (process_vm_readv(foreign(), &here, 1, &there, 1, 0) < 0)
        refused("process_vm_readv", errno);
    reached("it is \"%.*s\"", (int)sizeof bytes, bytes);
}

/* The root of the other, by which ours is left. */
static void climbed(void)
{
    struct sockaddr_un address;
    socklen_t length = nameless(&address);
    int other = socket(AF_UNIX, SOCK_STREAM, 0), root = -1;
    if (connect(other, (struct sockaddr *)&address, length) != 0)
        stopped("connect: %s", strerror(errno));
    char byte, control[CMSG_SPACE(sizeof root)];
    struct iovec bytes = {&byte, 1};
    struct msghdr message = {.msg_iov = &bytes, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    if (recvmsg(other, &message, 0) < 0 || !CMSG_FIRSTHDR(&message))
        stopped("no folder is handed out");
    memcpy(&root, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof root);
    char path[4200];
    snprintf(path, sizeof path, "../../../../../../../../../../../../..%s", outside("HOST_FILE"));
    if (openat(root, path, O_RDONLY) < 0)
        stopped("openat: %s", strerror(errno));
    reached("%s is open", path);
}

const struct attack neighbour_attacks[] = {
    {"neighbour-signal", signalled},
    {"neighbour-trace", traced},
    {"neighbour-memory", remembered},
    {"neighbour-folder", climbed},
    {0},
};
