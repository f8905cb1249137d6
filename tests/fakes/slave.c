/* A Modbus slave made with libmodbus, as an implementation that is not ours.
 *
 *     slave tcp PORT | slave rtu TTY BAUD UNIT
 *
 * Holding and input registers n hold n and 1000 + n, every third coil and every second discrete input is on.
 * Prints "ready" when it listens. Build: cc slave.c $(pkg-config --cflags --libs libmodbus)
 */
#include <errno.h>
#include <modbus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SIZE 200

static void serve(modbus_t *bus, modbus_mapping_t *map)
{
    uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
    for (;;) {
        int size = modbus_receive(bus, query);
        if (size > 0)
            modbus_reply(bus, query, size, map);
        else if (size < 0 && errno != EMBBADCRC && errno != ETIMEDOUT)
            return;
    }
}

int main(int argc, char **argv)
{
    int tcp = argc == 3 && strcmp(argv[1], "tcp") == 0;
    if (!tcp && (argc != 5 || strcmp(argv[1], "rtu") != 0)) {
        fprintf(stderr, "use: slave tcp PORT | slave rtu TTY BAUD UNIT\n");
        return 2;
    }
    modbus_mapping_t *map = modbus_mapping_new(SIZE, SIZE, SIZE, SIZE);
    for (int n = 0; n < SIZE; n++) {
        map->tab_registers[n] = n;
        map->tab_input_registers[n] = 1000 + n;
        map->tab_bits[n] = n % 3 == 0;
        map->tab_input_bits[n] = n % 2 == 0;
    }
    modbus_t *bus = tcp ? modbus_new_tcp("127.0.0.1", atoi(argv[2])) : modbus_new_rtu(argv[2], atoi(argv[3]), 'N', 8, 1);
    if (tcp) {
        int listener = modbus_tcp_listen(bus, 1);
        if (listener < 0)
            return 1;
        puts("ready");
        fflush(stdout);
        while (modbus_tcp_accept(bus, &listener) >= 0) {
            serve(bus, map);
            modbus_close(bus);
        }
    } else {
        modbus_set_slave(bus, atoi(argv[4]));
        if (modbus_connect(bus) < 0)
            return 1;
        puts("ready");
        fflush(stdout);
        serve(bus, map);
    }
    return 1;
}
