#pragma once

namespace penstock::telemetry {

// A private member, which an explicit instantiation may name:
//   struct Where { friend constexpr auto member_of(Where); };
//   template struct Revealed<&Class::member_, Where>;
//   object.*member_of(Where{})
template <auto Member, class Tag>
struct Revealed {
  friend constexpr auto member_of(Tag) { return Member; }
};

}  // namespace penstock::telemetry
