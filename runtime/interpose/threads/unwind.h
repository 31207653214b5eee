#pragma once

namespace penstock::interpose {

class ProgramThread;

// Leaves all frames of the calling thread, with their destructors and the clean-up functions of C, and ends it.
[[noreturn]] void unwind_thread(ProgramThread& thread);

}  // namespace penstock::interpose
