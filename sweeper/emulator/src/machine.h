/* What the parts share: the cards, who holds how much of them, and how to complain. */
#pragma once
#include <stddef.h>

enum { MAX_CARDS = 8, MAX_USERS = 64 };
#define MIB ((size_t)1 << 20)
#define ROUND_UP(n, to) (((n) + (to)-1) / (to) * (to))

typedef struct {
    char name[96];
    char uuid[48]; /* as NVML prints it */
    unsigned char uuid_bytes[16];
    size_t total; /* bytes, as NVML reports them */
    int major, minor;
} Card;

/* What one process holds of one card. */
typedef struct {
    int pid, card;
    unsigned long long born; /* in clock ticks: a pid may be given to another process */
    size_t used;
} User;

/* machine.c: what the environment describes */
const char *setting(const char *name, const char *otherwise);
size_t setting_mib(const char *name, size_t otherwise); /* in bytes */
int cuda_version(void);                                 /* of the driver, as 1000 * major + … */
int card_count(void);
Card *card_at(int index);          /* NULL: there is none */
int visible_count(void);           /* as CUDA_VISIBLE_DEVICES leaves them */
int visible_card(int ordinal);     /* CUDA's ordinal -> index; -1: there is none */
size_t card_capacity(int card);    /* what the driver leaves of the total */

/* accounts.c: a table that all processes of the machine share */
int list_users(int card, User out[MAX_USERS]);
size_t card_used(int card);
int card_take(int card, size_t bytes); /* 0: charged to this process; -1: does not fit */
void card_give(int card, size_t bytes);

/* complain.c */
void complain(const char *what, const char *name); /* once per name; fatal in strict mode */
