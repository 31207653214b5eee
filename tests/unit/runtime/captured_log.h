#pragma once

#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>

#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

namespace penstock {

// What is logged while this lives: made before the runtime of a test, destroyed after it.
class CapturedLog {
 public:
  CapturedLog() : sink_(std::make_shared<Sink>()), old_(spdlog::default_logger()) {
    spdlog::set_default_logger(std::make_shared<spdlog::logger>("captured", sink_));
  }
  ~CapturedLog() { spdlog::set_default_logger(old_); }
  CapturedLog(const CapturedLog&) = delete;
  CapturedLog& operator=(const CapturedLog&) = delete;

  // All lines so far. Thread-safe.
  std::string text() const { return sink_->text(); }
  bool has(std::string_view part) const { return text().find(part) != std::string::npos; }
  // How often this is in them.
  std::size_t count(std::string_view part) const {
    const std::string all = text();
    std::size_t n = 0;
    for (std::size_t at = 0; (at = all.find(part, at)) != std::string::npos; at += part.size()) ++n;
    return n;
  }

 private:
  class Sink final : public spdlog::sinks::base_sink<std::mutex> {
   public:
    std::string text() {
      const std::lock_guard lock(mutex_);
      return text_;
    }

   private:
    void sink_it_(const spdlog::details::log_msg& message) override {
      spdlog::memory_buf_t line;
      formatter_->format(message, line);
      text_.append(line.data(), line.size());
    }
    void flush_() override {}

    std::string text_;
  };

  const std::shared_ptr<Sink> sink_;
  const std::shared_ptr<spdlog::logger> old_;
};

}  // namespace penstock
