#pragma once

#include <boost/fiber/context.hpp>

#include "runtime/telemetry/revealed.h"

// Where Boost keeps a context that does not run: behind private members, which only an explicit instantiation may name.
namespace penstock::telemetry {

struct ContextOfFiber {
  friend constexpr auto member_of(ContextOfFiber);
};
struct SavedOfContext {
  friend constexpr auto member_of(SavedOfContext);
};
template struct Revealed<&boost::fibers::context::c_, ContextOfFiber>;
template struct Revealed<&boost::context::fiber::fctx_, SavedOfContext>;

// What jump_fcontext saved of a suspended context, see Registers::of_fcontext(); null of one that runs or has ended.
inline const void* saved_of(const boost::context::fiber& context) { return context.*member_of(SavedOfContext{}); }
inline const void* saved_of(const boost::fibers::context& context) {
  return saved_of(context.*member_of(ContextOfFiber{}));
}

}  // namespace penstock::telemetry
