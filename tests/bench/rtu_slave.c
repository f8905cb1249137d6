/* A Modbus RTU line on a pseudo-terminal, as slow as the real one: rtu_slave BAUD TURNAROUND_MS
 *
 * A pseudo-terminal has no speed, so the bytes are paced here at 11 bits each: a request is taken to have ended only
 * when its bytes would have passed the wire, an answer leaves byte by byte. Units 1..247 answer functions 3 and 4.
 * Prints the name of the terminal; on SIGTERM: the requests, the seconds from the first to the last one, and the
 * seconds that the wire needs for them (bytes, a silence of 3.5 characters after each frame, the slave's turnaround).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t ended;

static void on_term(int signal) { (void)signal, ended = 1; }

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void sleep_until(double when) {
    struct timespec time = {.tv_sec = (time_t)when, .tv_nsec = (long)((when - (time_t)when) * 1e9)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL) == EINTR && !ended) {}
}

static uint16_t crc16(const uint8_t *bytes, int count) {
    uint16_t crc = 0xFFFF;
    for (int i = 0; i < count; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? crc >> 1 ^ 0xA001 : crc >> 1;
    }
    return crc;
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    double byte = 11.0 / atof(argv[1]), silence = 3.5 * byte, turnaround = atof(argv[2]) / 1000;
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    grantpt(master), unlockpt(master);
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY); /* kept open: the line stays when the client leaves */
    struct termios raw;
    tcgetattr(slave, &raw), cfmakeraw(&raw), tcsetattr(slave, TCSANOW, &raw);
    struct sigaction action = {.sa_handler = on_term};
    sigaction(SIGTERM, &action, NULL);
    puts(ptsname(master)), fflush(stdout);

    uint8_t ask[256], out[256];
    int used = 0, requests = 0;
    double began = 0, first = 0, last = 0, needed = 0, this_one = 0;
    while (!ended) {
        int got = read(master, ask + used, sizeof ask - used);
        if (got <= 0) continue;
        if (!used) began = now();
        used += got;
        if (used < 8) continue;
        if (used > 8 || crc16(ask, 6) != (ask[6] | ask[7] << 8)) { /* noise: dropped, as a slave does */
            used = 0;
            continue;
        }
        used = 0;
        if (!requests++) first = began;
        needed += this_one; /* what the exchange before this one needed */
        last = began;
        int count = (ask[4] << 8 | ask[5]), length = 5 + 2 * count;
        if (count > 125) continue;
        out[0] = ask[0], out[1] = ask[1], out[2] = 2 * count;
        for (int i = 0; i < count; i++) out[3 + 2 * i] = 0, out[4 + 2 * i] = (requests + i) & 255;
        uint16_t crc = crc16(out, length - 2);
        out[length - 2] = crc & 255, out[length - 1] = crc >> 8;
        double at = began + 8 * byte + silence + turnaround;
        for (int i = 0; i < length && !ended; i++) {
            sleep_until(at += byte);
            if (write(master, out + i, 1) != 1) perror("write");
        }
        this_one = (8 + length) * byte + 2 * silence + turnaround;
    }
    printf("%d %.6f %.6f\n", requests, last - first, needed);
    return 0;
}
