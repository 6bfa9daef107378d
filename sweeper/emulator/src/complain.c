/* Says aloud what this card cannot do, where silence would pass for success.
 *
 *   EMULATOR_STRICT=1    end the process instead, as the tests want it
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "machine.h"

void complain(const char *what, const char *name) {
    enum { MAX_NAMES = 256 };
    static const char *said[MAX_NAMES];
    static int n_said;
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    int known = 0;
    pthread_mutex_lock(&mutex);
    for (int i = 0; i < n_said && !known; i++) known = !strcmp(said[i], name);
    if (!known && n_said < MAX_NAMES) said[n_said++] = strdup(name);
    pthread_mutex_unlock(&mutex);
    if (!known) fprintf(stderr, "emulated card: %s: %s\n", what, name);
    if (setting("EMULATOR_STRICT", NULL)) abort();
}
