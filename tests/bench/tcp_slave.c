/* Many Modbus TCP slaves in one cheap process: tcp_slave FIRST_PORT COUNT
 *
 * Every port is a device. Functions 3 and 4 answer any registers:
 *   register 0   CLOCK_MONOTONIC in units of 0.1 ms (wraps after 6.5 s): when this answer went on the wire
 *   register 1   how many answers this device gave so far (wraps): a hole in it is a lost poll
 *   the rest     a value that changes a little from answer to answer
 * On SIGTERM it prints how many answers it gave.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_FD 4096

static struct peer {
    int device; /* -1: a listening socket of device `listens` */
    int listens;
    uint8_t buffer[512];
    size_t used;
} peers[MAX_FD];
static uint32_t answers[MAX_FD];
static volatile sig_atomic_t ended;

static void on_term(int signal) { (void)signal, ended = 1; }

static uint16_t stamp(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint16_t)((uint64_t)now.tv_sec * 10000 + now.tv_nsec / 100000);
}

static void put(uint8_t *at, uint16_t value) { at[0] = value >> 8, at[1] = value & 255; }

static void answer(int fd, int device, const uint8_t *ask) {
    uint16_t first = ask[8] << 8 | ask[9], count = ask[10] << 8 | ask[11];
    uint8_t out[9 + 250];
    memcpy(out, ask, 8);
    if ((ask[7] != 3 && ask[7] != 4) || count < 1 || count > 125) {
        out[7] |= 0x80, out[8] = 1;
        put(out + 4, 3);
        if (write(fd, out, 9) != 9) perror("write");
        return;
    }
    uint32_t number = answers[device]++;
    put(out + 4, 3 + 2 * count);
    out[8] = 2 * count;
    for (int i = 0; i < count; i++) {
        int address = first + i;
        put(out + 9 + 2 * i, address == 0 ? stamp() : address == 1 ? number : 1000 + address * 7 + (number / (1 + address % 5)) % 50);
    }
    if (write(fd, out, 9 + 2 * count) != 9 + 2 * count) perror("write");
}

static int serve(int fd, struct peer *peer) {
    ssize_t got = read(fd, peer->buffer + peer->used, sizeof peer->buffer - peer->used);
    if (got <= 0) return 0;
    peer->used += got;
    while (peer->used >= 12) { /* requests of these functions are 12 bytes */
        answer(fd, peer->device, peer->buffer);
        memmove(peer->buffer, peer->buffer + 12, peer->used -= 12);
    }
    return 1;
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    int first = atoi(argv[1]), count = atoi(argv[2]), epoll = epoll_create1(0), yes = 1;
    signal(SIGPIPE, SIG_IGN);
    struct sigaction action = {.sa_handler = on_term};
    sigaction(SIGTERM, &action, NULL);
    for (int i = 0; i < count; i++) {
        struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons(first + i), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
        if (fd >= MAX_FD || bind(fd, (struct sockaddr *)&where, sizeof where) || listen(fd, 8)) return perror("listen"), 1;
        peers[fd] = (struct peer){.device = -1, .listens = i};
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN, .data.fd = fd});
    }
    puts("ready"), fflush(stdout);
    while (!ended) {
        struct epoll_event events[64];
        int ready = epoll_wait(epoll, events, 64, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (peers[fd].device < 0) {
                int peer = accept(fd, NULL, NULL);
                if (peer < 0 || peer >= MAX_FD) continue;
                setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
                peers[peer] = (struct peer){.device = peers[fd].listens};
                epoll_ctl(epoll, EPOLL_CTL_ADD, peer, &(struct epoll_event){.events = EPOLLIN, .data.fd = peer});
            } else if (!serve(fd, &peers[fd])) {
                close(fd);
            }
        }
    }
    uint64_t total = 0;
    for (int i = 0; i < count; i++) total += answers[i];
    printf("%llu\n", (unsigned long long)total);
    return 0;
}
