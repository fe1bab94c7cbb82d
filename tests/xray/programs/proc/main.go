// C code that looks at its own process, before Go's runtime begins and after.
package main

/*
#include <stdio.h>
#include <string.h>

static char line[256];
static size_t length;

__attribute__((constructor)) static void early(void) {
	FILE *f = fopen("/proc/self/cmdline", "r");
	if (f != NULL) {
		length = fread(line, 1, sizeof line, f);
		fclose(f);
	}
}

static void show(void) {
	for (size_t i = 0; i < length; i++)
		putchar(line[i] ? line[i] : '|');
	putchar('\n');
}

static int is_mapped(void *address) {
	char text[256];
	unsigned long from, to;
	int found = 0;
	FILE *f = fopen("/proc/self/maps", "r");
	while (f != NULL && fgets(text, sizeof text, f) != NULL)
		if (sscanf(text, "%lx-%lx", &from, &to) == 2 && from <= (unsigned long)address && (unsigned long)address < to)
			found = strstr(text, " rw-p ") != NULL;
	return found;
}

static void look(void) {
	int here;
	show();
	puts(is_mapped(&here) ? "the stack is mapped" : "the stack is not mapped");
	fflush(stdout);
}
*/
import "C"

func main() {
	C.look()
}
