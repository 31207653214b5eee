#include "tests/integration/controller/controller_process.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <boost/json/parse.hpp>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <thread>

extern char** environ;

namespace penstock::controller {
namespace {

std::string read(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

pid_t spawn(const std::vector<std::string>& arguments, const std::string& errors) {
  std::vector<std::string> all{PENSTOCK_CONTROLLER};
  all.insert(all.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (auto& argument : all) argv.push_back(argument.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 2, errors.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  pid_t pid = -1;
  const int code = posix_spawn(&pid, all[0].c_str(), &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (code != 0) throw std::runtime_error("cannot start " + all[0]);
  return pid;
}

int exit_code(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status); }

}  // namespace

ControllerProcess::ControllerProcess(std::string directory, std::vector<std::string> arguments, std::string grpc)
    : directory_(std::move(directory)) {
  const std::string addresses = directory_ + "/addresses.json";
  std::filesystem::remove(addresses);
  std::vector<std::string> all = {
      "--grpc",  grpc,           "--http", "127.0.0.1:0", "--data", directory_ + "/data", "--addresses",
      addresses};
  if (std::ranges::find(arguments, "--prometheus") == arguments.end()) {
    all.push_back("--prometheus");
    all.push_back("");
  }
  all.insert(all.end(), arguments.begin(), arguments.end());
  pid_ = spawn(all, directory_ + "/log");
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!std::filesystem::exists(addresses)) {
    int status = 0;
    if (waitpid(pid_, &status, WNOHANG) == pid_) {
      pid_ = -1;
      throw std::runtime_error("the controller ended with " + std::to_string(exit_code(status)) + ": " + log());
    }
    if (std::chrono::steady_clock::now() > deadline) {
      end(SIGKILL);
      throw std::runtime_error("the controller does not listen: " + log());
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  const auto listening = boost::json::parse(read(addresses)).as_object();
  grpc_ = listening.at("grpc").as_string().c_str();
  http_ = listening.at("http").as_string().c_str();
}

ControllerProcess::~ControllerProcess() {
  if (pid_ > 0) end(SIGKILL);
}

int ControllerProcess::end(int signal) {
  kill(pid_, signal);
  int status = 0;
  waitpid(pid_, &status, 0);
  pid_ = -1;
  return exit_code(status);
}

std::string ControllerProcess::log() const { return read(directory_ + "/log"); }

std::shared_ptr<grpc::Channel> ControllerProcess::channel() const {
  return connect(grpc_, grpc::InsecureChannelCredentials());
}

std::shared_ptr<grpc::Channel> connect(const std::string& address,
                                       std::shared_ptr<grpc::ChannelCredentials> credentials) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return grpc::CreateCustomChannel(address, credentials, arguments);
}

Ended run_controller(const std::vector<std::string>& arguments) {
  std::string errors = (std::filesystem::temp_directory_path() / "penstock-errors-XXXXXX").string();
  close(mkstemp(errors.data()));
  const pid_t pid = spawn(arguments, errors);
  int status = 0;
  waitpid(pid, &status, 0);
  Ended ended{exit_code(status), read(errors)};
  std::filesystem::remove(errors);
  return ended;
}

}  // namespace penstock::controller
