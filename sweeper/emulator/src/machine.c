/* The machine that the environment describes (sweeper/emulator/machine.py writes it).
 *
 *   EMULATOR_CARDS="24576:8.6:Emulated 24 GB,8192:7.5:Emulated 8 GB"    MiB:capability:name, …
 *   EMULATOR_DRIVER_MIB                        kept by the driver, per card
 *   EMULATOR_CUDA=13.0                         newest CUDA that it knows
 */
#define _GNU_SOURCE
#include "machine.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static Card cards[MAX_CARDS];
static int n_cards, visible[MAX_CARDS], n_visible;

const char *setting(const char *name, const char *otherwise) {
    const char *text = getenv(name);
    return text && *text ? text : otherwise;
}

size_t setting_mib(const char *name, size_t otherwise) {
    const char *text = setting(name, NULL);
    return (text ? strtoull(text, NULL, 10) : otherwise) * MIB;
}

int cuda_version(void) {
    int major = 13, minor = 0;
    sscanf(setting("EMULATOR_CUDA", "13.0"), "%d.%d", &major, &minor);
    return 1000 * major + 10 * minor;
}

static void parse_cards(void) {
    char *copy = strdup(setting("EMULATOR_CARDS", "24576:8.6:Emulated 24 GB"));
    char *rest = copy, *word;
    while ((word = strsep(&rest, ",")) && n_cards < MAX_CARDS) {
        Card *card = &cards[n_cards];
        if (sscanf(word, "%zu:%d.%d:%95[^\n]", &card->total, &card->major, &card->minor,
                   card->name) < 4) {
            fprintf(stderr, "emulated card: EMULATOR_CARDS: cannot read '%s'\n", word);
            abort();
        }
        card->total *= MIB;
        /* Eight letters in place of the first group; CUDA has the same as 16 bytes. */
        snprintf(card->uuid, sizeof card->uuid, "GPU-emulated-0000-0000-0000-%012d", n_cards);
        memcpy(card->uuid_bytes, "emulated", 8);
        card->uuid_bytes[15] = n_cards++;
    }
    free(copy);
}

int card_count(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, parse_cards);
    return n_cards;
}

Card *card_at(int index) { return index >= 0 && index < card_count() ? &cards[index] : NULL; }

size_t card_capacity(int card) {
    size_t kept = setting_mib("EMULATOR_DRIVER_MIB", 0), total = card_at(card)->total;
    return kept < total ? total - kept : 0;
}

static int card_named(const char *word) {
    char *end;
    long number = strtol(word, &end, 10);
    if (*word && !*end) return card_at(number) ? (int)number : -1;
    for (int i = 0; *word && i < card_count(); i++)
        if (!strncmp(word, cards[i].uuid, strlen(word))) return i;
    return -1;
}

/* As the driver does: the list ends at the first entry that names no card. */
static void parse_visible(void) {
    const char *text = getenv("CUDA_VISIBLE_DEVICES"); /* empty hides all */
    if (!text) {
        for (n_visible = 0; n_visible < card_count(); n_visible++) visible[n_visible] = n_visible;
        return;
    }
    char *copy = strdup(text), *rest = copy, *word;
    int card;
    while ((word = strsep(&rest, ",")) && n_visible < MAX_CARDS && (card = card_named(word)) >= 0)
        visible[n_visible++] = card;
    free(copy);
}

/* Read once, when CUDA is first asked, as cuInit does. */
int visible_count(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, parse_visible);
    return n_visible;
}

int visible_card(int ordinal) {
    return ordinal >= 0 && ordinal < visible_count() ? visible[ordinal] : -1;
}
