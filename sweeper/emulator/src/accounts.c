/* Who holds how much of which card: a table that all processes of the machine share.
 *
 *   EMULATOR_STATE=/proc/PID/fd/N    the table, a file of zeros at first; without it, this
 *                                    process has the machine to itself
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "machine.h"

static User *table;
static int table_file = -1;

static void open_table(void) {
    const char *path = setting("EMULATOR_STATE", NULL);
    size_t size = MAX_USERS * sizeof(User);
    table_file = path ? open(path, O_RDWR | O_CLOEXEC) : memfd_create("cards", MFD_CLOEXEC);
    if (table_file >= 0 && !ftruncate(table_file, size)) {
        table = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, table_file, 0);
        if (table != MAP_FAILED) return;
    }
    perror("emulated card: EMULATOR_STATE");
    abort();
}

/* A record lock keeps out other processes, and ends with its process; the mutex other threads. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void set_lock(short type) {
    struct flock whole = {.l_type = type, .l_whence = SEEK_SET};
    fcntl(table_file, F_SETLKW, &whole);
}

/* When the process was born; 0 for one that is gone, or dead and only waits for its parent. */
static unsigned long long birth(int pid) {
    char path[32], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    ssize_t n = read(file, text, sizeof text - 1);
    close(file);
    if (n <= 0) return 0;
    text[n] = 0;
    char state = 'X', *after = strrchr(text, ')'); /* the command's name may hold anything */
    unsigned long long born = 0;
    if (after) /* fields 3 and 22 of proc(5) */
        sscanf(after + 1,
               " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu",
               &state, &born);
    return state == 'Z' || state == 'X' ? 0 : born;
}

static void lock_table(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, open_table);
    pthread_mutex_lock(&mutex);
    set_lock(F_WRLCK);
    for (User *u = table; u < table + MAX_USERS; u++) /* the dead hold nothing */
        if (u->pid && birth(u->pid) != u->born) *u = (User){0};
}

static void unlock_table(void) {
    set_lock(F_UNLCK);
    pthread_mutex_unlock(&mutex);
}

static size_t sum(int card) {
    size_t used = 0;
    for (User *u = table; u < table + MAX_USERS; u++)
        if (u->pid && u->card == card) used += u->used;
    return used;
}

static User *own_entry(int card) {
    User *vacant = NULL;
    for (User *u = table; u < table + MAX_USERS; u++) {
        if (u->pid == getpid() && u->card == card) return u;
        if (!u->pid && !vacant) vacant = u;
    }
    if (!vacant) {
        fprintf(stderr, "emulated card: more than %d processes hold memory\n", MAX_USERS);
        abort();
    }
    *vacant = (User){.pid = getpid(), .card = card, .born = birth(getpid())};
    return vacant;
}

int list_users(int card, User out[MAX_USERS]) {
    int n = 0;
    lock_table();
    for (User *u = table; u < table + MAX_USERS; u++)
        if (u->pid && u->card == card) out[n++] = *u;
    unlock_table();
    return n;
}

size_t card_used(int card) {
    lock_table();
    size_t used = sum(card);
    unlock_table();
    return used;
}

int card_take(int card, size_t bytes) {
    lock_table();
    int fits = sum(card) + bytes <= card_capacity(card);
    if (fits) own_entry(card)->used += bytes;
    unlock_table();
    return fits ? 0 : -1;
}

void card_give(int card, size_t bytes) {
    lock_table();
    own_entry(card)->used -= bytes;
    unlock_table();
}
