// A gRPC service and its client, both plain synchronous code: a thousand calls are in flight at once, on one thread.
#include <grpcpp/grpcpp.h>
#include <penstock/fiber.h>
#include <penstock/group.h>
#include <penstock/grpc.h>
#include <penstock/runtime.h>

#include <atomic>
#include <chrono>
#include <iostream>

#include "quotes.grpc.pb.h"

using namespace std::chrono_literals;

// What one has already: the generated synchronous service.
class Quotes final : public quotes::Quotes::Service {
  grpc::Status Get(grpc::ServerContext*, const quotes::Item* item, quotes::Price* price) override {
    if (item->name().empty()) return {grpc::StatusCode::INVALID_ARGUMENT, "an item has a name"};
    penstock::sleep_for(100ms);  // a database, say; it ends when the client leaves
    price->set_cents(995);
    return grpc::Status::OK;
  }

  grpc::Status Watch(grpc::ServerContext*, const quotes::Item*, grpc::ServerWriter<quotes::Price>* out) override {
    quotes::Price price;
    for (int cents = 995; cents < 1000; ++cents) {
      price.set_cents(cents);
      out->Write(price);  // waits, without the thread, for a client that reads slowly
    }
    return grpc::Status::OK;
  }
};

int main() {
  penstock::Runtime runtime({.service = "quotes", .threads = 1});
  Quotes service;
  penstock::grpc::Server server(runtime, {.address = "127.0.0.1:0"});
  server.add(service);
  server.start();

  // Calls made on fibers belong to the upstream "quotes": its limit, breaker and timeout.
  const auto stub = quotes::Quotes::NewStub(penstock::grpc::channel(
      runtime, "quotes", "127.0.0.1:" + std::to_string(server.port()), grpc::InsecureChannelCredentials()));

  std::atomic<int> answered{0};
  bool watched = false;
  runtime.spawn("client", [&] {
    const auto began = std::chrono::steady_clock::now();
    penstock::Group calls;
    for (int i = 0; i < 1000; ++i) {
      calls.spawn("call", [&] {
        grpc::ClientContext context;
        quotes::Item item;
        item.set_name("tea");
        quotes::Price price;
        if (stub->Get(&context, item, &price).ok() && price.cents() == 995) ++answered;
      });
    }
    calls.join();
    const auto took = std::chrono::steady_clock::now() - began;
    std::cout << answered << " calls of 100 ms answered in " << took / 1ms << " ms\n";

    grpc::ClientContext context;
    const auto prices = stub->Watch(&context, quotes::Item());
    quotes::Price price;
    while (prices->Read(&price)) std::cout << price.cents() << '\n';
    watched = prices->Finish().ok();
    runtime.stop();
  });
  runtime.run();
  return answered == 1000 && watched ? 0 : 1;
}
