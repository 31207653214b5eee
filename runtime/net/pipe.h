#pragma once

#include "penstock/stream.h"

namespace penstock::net {

// One end of a pipe, or of anything else that is read or written and can be polled. As Stream says; of a write end
// every read gives bad_descriptor, and the other way round. SIGPIPE must be ignored, as Runtime does.
class Pipe final : public Stream {
 public:
  enum class End { read, write };

  // Takes a non-blocking descriptor and registers it with this thread's reactor. Throws boost::system::system_error;
  // the descriptor is then closed.
  Pipe(int fd, End end);
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  ~Pipe() override;

  std::size_t read_parts(const iovec* parts, int count, boost::system::error_code& ec) override;
  std::size_t write_parts(const iovec* parts, int count, boost::system::error_code& ec) override;
  void set_io_timeout(Duration d) override { io_timeout_ = d; }
  bool is_open() const override { return watch_ != nullptr; }
  // Of a write end: closes it.
  void shutdown_send() override;
  void close() override;

 private:
  class Watch;
  using Call = ssize_t (*)(int, const iovec*, int);
  std::size_t transfer(Call call, const iovec* parts, int count, const char* waiting_for,
                       boost::system::error_code& ec);

  const End end_;
  Watch* watch_ = nullptr;
  Duration io_timeout_{};
};

}  // namespace penstock::net
