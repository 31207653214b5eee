// Has an agent, without a controller.
#include <penstock/agent.h>
#include <penstock/runtime.h>

int main() {
  penstock::Runtime runtime({.service = "consumer", .threads = 1});
  penstock::Agent agent(runtime, {});
  runtime.spawn("stops", [&] { runtime.stop(); });
  runtime.run();
}
