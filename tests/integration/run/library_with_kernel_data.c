static __thread int count;
int count_of_thread(void);
int count_of_thread(void) { return ++count; }
