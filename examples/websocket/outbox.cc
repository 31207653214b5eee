#include "examples/websocket/outbox.h"

#include <penstock/fiber.h>

#include <mutex>

namespace chat {

void Outbox::end(CloseCode why) {
  CloseCode none = CloseCode::none;
  why_.compare_exchange_strong(none, why);
  messages.close();
}

Outboxes::Membership::Membership(Outboxes& all, Outbox& outbox) : all_(all), outbox_(outbox) {
  const std::lock_guard lock(all_.mutex_);
  all_.members_.insert(&outbox_);
  if (all_.ended_ != Outbox::CloseCode::none) outbox_.end(all_.ended_);
}

Outboxes::Membership::~Membership() {
  // Also of a fiber that was cancelled.
  const penstock::CancelShield shield;
  const std::lock_guard lock(all_.mutex_);
  all_.members_.erase(&outbox_);
}

void Outboxes::send(const Message& message) {
  const std::lock_guard lock(mutex_);
  for (Outbox* member : members_) {
    if (!member->messages.try_push(message)) member->end(Outbox::CloseCode::try_again_later);
  }
}

void Outboxes::end(Outbox::CloseCode why) {
  const std::lock_guard lock(mutex_);
  ended_ = why;
  for (Outbox* member : members_) member->end(why);
}

std::size_t Outboxes::size() const {
  const std::lock_guard lock(mutex_);
  return members_.size();
}

}  // namespace chat
