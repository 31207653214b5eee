#include "controller/service/request_key.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <openssl/sha.h>

#include <memory>

#include "proto/errors/error.h"

namespace penstock::controller {

absl::StatusOr<RequestKey> request_key(const google::protobuf::Message& request, const std::string& request_id) {
  RequestKey key{.id = request_id, .method = std::string(request.GetDescriptor()->full_name()), .digest = ""};
  if (request_id.empty()) return key;
  if (request_id.size() > 64)
    return errors::to_absl(errors::argument_invalid("request_id", "must have 1 to 64 characters"));
  std::unique_ptr<google::protobuf::Message> content(request.New());
  content->CopyFrom(request);
  content->GetReflection()->ClearField(content.get(), content->GetDescriptor()->FindFieldByName("request_id"));
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    content->SerializeToCodedStream(&coded);
  }
  key.digest.resize(SHA256_DIGEST_LENGTH);
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(),
         reinterpret_cast<unsigned char*>(key.digest.data()));
  return key;
}

}  // namespace penstock::controller
