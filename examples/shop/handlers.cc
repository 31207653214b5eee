#include "examples/shop/handlers.h"

#include <ctime>

namespace shop {
namespace {

long thread_cpu_ns() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return now.tv_sec * 1'000'000'000L + now.tv_nsec;
}

// Touched, so that the process has it.
class Held {
 public:
  Held() : bytes_(page_cost().memory_bytes, 'x') {}

 private:
  std::string bytes_;
};

std::string render(std::string_view title, std::initializer_list<std::string> parts) {
  const long end = thread_cpu_ns() + std::chrono::nanoseconds(page_cost().cpu).count();
  std::string page = "<h1>";
  page.append(title).append("</h1>\n");
  for (const std::string& part : parts) page.append("<p>").append(part).append("</p>\n");
  while (thread_cpu_ns() < end) {
  }
  return page;
}

}  // namespace

PageCost& page_cost() {
  static PageCost cost;
  return cost;
}

std::string checkout(const ThirdParties& call) {
  const Held held;
  const std::string customer = call('A');
  const std::string payment = call('B');
  const std::string delivery = call('C');
  return render("Your order", {customer, payment, delivery});
}

std::string browse(const ThirdParties& call) {
  const Held held;
  const std::string categories = call('B');
  const std::string prices = call('C');
  const std::string offers = call('B');
  return render("Our shop", {categories, prices, offers});
}

std::string history(const ThirdParties& call) {
  const Held held;
  const std::string customer = call('A');
  const std::string orders = call('A');
  const std::string deliveries = call('C');
  return render("Your orders", {customer, orders, deliveries});
}

std::string about(const ThirdParties& call) {
  const Held held;
  const std::string places = call('C');
  const std::string hours = call('C');
  const std::string map = call('C');
  return render("About us", {places, hours, map});
}

std::span<const Endpoint> endpoints() {
  static constexpr Endpoint kEndpoints[] = {
      {"/checkout", checkout}, {"/browse", browse}, {"/history", history}, {"/about", about}};
  return kEndpoints;
}

}  // namespace shop
