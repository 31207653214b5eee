/* What libpq's own tests take from PostgreSQL's libpgport and libpgcommon, which Debian keeps with the server. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PRINTS(name, to, ...)        \
  {                                  \
    va_list arguments;               \
    va_start(arguments, format);     \
    const int n = name(__VA_ARGS__); \
    va_end(arguments);               \
    return n;                        \
  }

int pg_vsnprintf(char* to, size_t size, const char* format, va_list arguments) {
  return vsnprintf(to, size, format, arguments);
}
int pg_vfprintf(FILE* to, const char* format, va_list arguments) { return vfprintf(to, format, arguments); }
int pg_vprintf(const char* format, va_list arguments) { return vprintf(format, arguments); }
int pg_snprintf(char* to, size_t size, const char* format, ...)
    PRINTS(vsnprintf, to, to, size, format, arguments) int pg_sprintf(char* to, const char* format, ...)
        PRINTS(vsprintf, to, to, format, arguments) int pg_fprintf(FILE* to, const char* format, ...)
            PRINTS(vfprintf, to, to, format, arguments) int pg_printf(const char* format, ...)
                PRINTS(vprintf, stdout, format, arguments)

                    char* pg_strerror(int number) {
  return strerror(number);
}
char* pg_strerror_r(int number, char* to, size_t size) {
  snprintf(to, size, "%s", strerror(number));
  return to;
}
void* pg_malloc(size_t size) { return malloc(size != 0 ? size : 1); }
void* pg_malloc0(size_t size) { return calloc(1, size != 0 ? size : 1); }
void* pg_realloc(void* old, size_t size) { return realloc(old, size != 0 ? size : 1); }
char* pg_strdup(const char* text) { return strdup(text); }
void pg_free(void* memory) { free(memory); }
void* palloc(size_t size) { return pg_malloc(size); }
void* palloc0(size_t size) { return pg_malloc0(size); }
char* pstrdup(const char* text) { return strdup(text); }
char* psprintf(const char* format, ...) {
  char* text = NULL;
  va_list arguments;
  va_start(arguments, format);
  const int n = vasprintf(&text, format, arguments);
  va_end(arguments);
  return n < 0 ? NULL : text;
}
void pfree(void* memory) { free(memory); }
