#pragma once

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>

#include "penstock/tls.h"

namespace penstock::net {

// A folder of the test's own, with an authority in it ("ca.pem") that makes certificates.
class Certificates {
 public:
  struct Ask {
    // As in OpenSSL's configuration: "DNS:localhost,IP:127.0.0.1".
    std::string names = "DNS:localhost,IP:127.0.0.1";
    // Seconds from now.
    long from = -3600;
    long to = 3600;
    bool self_signed = false;
  };

  Certificates() {
    char name[] = "/tmp/penstock-tls-XXXXXX";
    folder_ = ::mkdtemp(name);
    authority_key_.reset(EVP_EC_gen("P-256"));
    authority_ = make("authority", authority_key_.get(), {.names = "", .to = 86'400}, nullptr);
    write("ca.pem", [&](FILE* file) { PEM_write_X509(file, authority_.get()); });
  }
  ~Certificates() { std::filesystem::remove_all(folder_); }

  std::string path(const std::string& name) const { return folder_ + "/" + name; }
  std::string ca() const { return path("ca.pem"); }

  // Makes, or replaces as one does it in production, NAME.pem and NAME.key; NAME is the common name.
  TlsCertificate make(const std::string& name, const Ask& ask) {
    const Key key(EVP_EC_gen("P-256"));
    const Certificate certificate = make(name, key.get(), ask, ask.self_signed ? nullptr : authority_.get());
    write(name + ".key",
          [&](FILE* file) { PEM_write_PrivateKey(file, key.get(), nullptr, nullptr, 0, nullptr, nullptr); });
    write(name + ".pem", [&](FILE* file) { PEM_write_X509(file, certificate.get()); });
    return {path(name + ".pem"), path(name + ".key")};
  }
  TlsCertificate make(const std::string& name) { return make(name, Ask()); }

  void write_text(const std::string& name, const std::string& text) {
    write(name, [&](FILE* file) { std::fputs(text.c_str(), file); });
  }

 private:
  struct Free {
    void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
    void operator()(X509* certificate) const { X509_free(certificate); }
  };
  using Key = std::unique_ptr<EVP_PKEY, Free>;
  using Certificate = std::unique_ptr<X509, Free>;

  template <class F>
  void write(const std::string& name, F fill) {
    FILE* file = std::fopen((path(name) + ".new").c_str(), "w");
    fill(file);
    std::fclose(file);
    std::filesystem::rename(path(name) + ".new", path(name));
  }

  static void extend(X509* certificate, X509* issuer, int which, const std::string& value) {
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
    X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, which, value.c_str());
    ASSERT_NE(extension, nullptr) << value;
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
  }

  Certificate make(const std::string& name, EVP_PKEY* key, const Ask& ask, X509* issuer) {
    Certificate certificate(X509_new());
    X509* made = certificate.get();
    X509_set_version(made, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(made), ++serial_);
    X509_gmtime_adj(X509_getm_notBefore(made), ask.from);
    X509_gmtime_adj(X509_getm_notAfter(made), ask.to);
    X509_set_pubkey(made, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(made), "CN", MBSTRING_UTF8,
                               reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
    X509_set_issuer_name(made, X509_get_subject_name(issuer == nullptr ? made : issuer));
    if (ask.names.empty()) {
      extend(made, made, NID_basic_constraints, "critical,CA:TRUE");
    } else {
      extend(made, issuer == nullptr ? made : issuer, NID_subject_alt_name, ask.names);
    }
    X509_sign(made, issuer == nullptr ? key : authority_key_.get(), EVP_sha256());
    return certificate;
  }

  std::string folder_;
  Key authority_key_;
  Certificate authority_;
  long serial_ = 0;
};

}  // namespace penstock::net
