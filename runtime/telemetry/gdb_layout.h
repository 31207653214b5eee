#pragma once

#include <sys/types.h>

#include "penstock/error.h"

namespace penstock::telemetry {

// A scheduler thread, as scripts/gdb/penstock_gdb.py finds it, also in a core dump and without type information. In the
// list of all while it lives; made and destroyed on that thread.
class GdbThread {
 public:
  // `fibers`: the node before the first and after the last of its list of fibers. `now`: its clock. Both outlive this.
  GdbThread(unsigned index, const void* fibers, const Instant* now);
  ~GdbThread();
  GdbThread(const GdbThread&) = delete;
  GdbThread& operator=(const GdbThread&) = delete;

 private:
  // Read by position: keep in step with the script.
  GdbThread* next_ = nullptr;
  const unsigned long index_;
  const unsigned long thread_;
  const void* const fibers_;
  const Instant* const now_;
};

}  // namespace penstock::telemetry
