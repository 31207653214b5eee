#pragma once

#include <utility>

// gRPC's library has no public way to what these name: the methods of a generated service, a received message as it
// came, the status that a call ended with, the functions by which a channel passes on to another. An explicit
// instantiation may name a private member ([temp.spec.general]/6), so this is well-formed, and a version of gRPC
// without the member does not compile.

#define PENSTOCK_PRIVATE_POINTER(NAME, CLASS, MEMBER)              \
  struct NAME##_tag {                                              \
    friend constexpr auto member_of(NAME##_tag);                   \
  };                                                               \
  template <auto Member>                                           \
  struct NAME##_access {                                           \
    friend constexpr auto member_of(NAME##_tag) { return Member; } \
  };                                                               \
  template struct NAME##_access<&CLASS::MEMBER>;

// NAME(object) is the member, as an lvalue.
#define PENSTOCK_PRIVATE_MEMBER(NAME, CLASS, MEMBER) \
  PENSTOCK_PRIVATE_POINTER(NAME, CLASS, MEMBER)      \
  [[maybe_unused]] auto& NAME(CLASS& object) { return object.*member_of(NAME##_tag()); }

// NAME(object, arguments...) calls the member function.
#define PENSTOCK_PRIVATE_FUNCTION(NAME, CLASS, MEMBER)                               \
  PENSTOCK_PRIVATE_POINTER(NAME, CLASS, MEMBER)                                      \
  template <class... Arguments>                                                      \
  decltype(auto) NAME(CLASS& object, Arguments&&... arguments) {                     \
    return (object.*member_of(NAME##_tag()))(std::forward<Arguments>(arguments)...); \
  }
