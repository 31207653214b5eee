#pragma once

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>

#include "tests/unit/controller/temporary_directory.h"

namespace penstock::controller {

inline std::string read_file(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// A CA and certificates that it signs, made by openssl for this test alone.
class CertificateAuthority {
 public:
  CertificateAuthority() {
    run("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test-ca -keyout " +
        path("ca.key") + " -out " + path("ca.pem"));
    certificate("server", "DNS:localhost,IP:127.0.0.1");
  }
  // `name` becomes the common name.
  void certificate(const std::string& name, const std::string& alternative = "") {
    run("openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=" + name + " -keyout " +
        path(name + ".key") + " -out " + path(name + ".csr"));
    std::string extension;
    if (!alternative.empty()) {
      std::ofstream(path(name + ".ext")) << "subjectAltName=" << alternative << "\n";
      extension = " -extfile " + path(name + ".ext");
    }
    run("openssl x509 -req -days 2 -CA " + path("ca.pem") + " -CAkey " + path("ca.key") + " -CAcreateserial -in " +
        path(name + ".csr") + " -out " + path(name + ".pem") + extension);
  }
  std::string path(const std::string& file) const { return directory_.path() + "/" + file; }
  std::shared_ptr<grpc::ChannelCredentials> credentials(const std::string& name) const {
    grpc::SslCredentialsOptions options;
    options.pem_root_certs = read_file(path("ca.pem"));
    if (!name.empty()) {
      options.pem_cert_chain = read_file(path(name + ".pem"));
      options.pem_private_key = read_file(path(name + ".key"));
    }
    return grpc::SslCredentials(options);
  }

 private:
  static void run(const std::string& command) {
    ASSERT_EQ(std::system((command + " >/dev/null 2>&1").c_str()), 0) << command;
  }
  TemporaryDirectory directory_;
};

}  // namespace penstock::controller
