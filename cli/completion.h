#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace penstock::cli {

// A script for the shell "bash", "zsh" or "fish" that completes the commands and options of `app`.
std::string completion(const CLI::App& app, const std::string& shell);

}  // namespace penstock::cli
