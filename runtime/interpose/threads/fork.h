#pragma once

namespace penstock::interpose {

// What a forked child does first.
void count_fork() noexcept;
void forget_parkings() noexcept;

}  // namespace penstock::interpose
