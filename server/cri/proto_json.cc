#include "server/cri/proto_json.h"

#include <string>
#include <vector>

namespace berth {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using nlohmann::json;

json Single(const Message& message, const Reflection& reflection, const FieldDescriptor* field) {
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return reflection.GetInt32(message, field);
    case FieldDescriptor::CPPTYPE_INT64:
      return reflection.GetInt64(message, field);
    case FieldDescriptor::CPPTYPE_UINT32:
      return reflection.GetUInt32(message, field);
    case FieldDescriptor::CPPTYPE_UINT64:
      return reflection.GetUInt64(message, field);
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return reflection.GetDouble(message, field);
    case FieldDescriptor::CPPTYPE_FLOAT:
      return reflection.GetFloat(message, field);
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.GetBool(message, field);
    case FieldDescriptor::CPPTYPE_ENUM:
      return reflection.GetEnumValue(message, field);
    case FieldDescriptor::CPPTYPE_STRING:
      return reflection.GetString(message, field);
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return ProtoToJson(reflection.GetMessage(message, field));
  }
  return nullptr;
}

json Element(const Message& message, const Reflection& reflection, const FieldDescriptor* field,
             int index) {
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return reflection.GetRepeatedInt32(message, field, index);
    case FieldDescriptor::CPPTYPE_INT64:
      return reflection.GetRepeatedInt64(message, field, index);
    case FieldDescriptor::CPPTYPE_UINT32:
      return reflection.GetRepeatedUInt32(message, field, index);
    case FieldDescriptor::CPPTYPE_UINT64:
      return reflection.GetRepeatedUInt64(message, field, index);
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return reflection.GetRepeatedDouble(message, field, index);
    case FieldDescriptor::CPPTYPE_FLOAT:
      return reflection.GetRepeatedFloat(message, field, index);
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.GetRepeatedBool(message, field, index);
    case FieldDescriptor::CPPTYPE_ENUM:
      return reflection.GetRepeatedEnumValue(message, field, index);
    case FieldDescriptor::CPPTYPE_STRING:
      return reflection.GetRepeatedString(message, field, index);
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return ProtoToJson(reflection.GetRepeatedMessage(message, field, index));
  }
  return nullptr;
}

// CRI's maps have strings as keys.
json Map(const Message& message, const Reflection& reflection, const FieldDescriptor* field) {
  json object = json::object();
  for (int i = 0; i < reflection.FieldSize(message, field); ++i) {
    const Message& entry = reflection.GetRepeatedMessage(message, field, i);
    const Reflection& of_entry = *entry.GetReflection();
    const FieldDescriptor* key = field->message_type()->map_key();
    if (key->cpp_type() != FieldDescriptor::CPPTYPE_STRING) continue;
    object[of_entry.GetString(entry, key)] =
        Single(entry, of_entry, field->message_type()->map_value());
  }
  return object;
}

}  // namespace

json ProtoToJson(const Message& message) {
  const Reflection& reflection = *message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  json object = json::object();
  for (const FieldDescriptor* field : fields) {
    json& value = object[field->name()];
    if (field->is_map()) {
      value = Map(message, reflection, field);
    } else if (field->is_repeated()) {
      value = json::array();
      for (int i = 0; i < reflection.FieldSize(message, field); ++i) {
        value.push_back(Element(message, reflection, field, i));
      }
    } else {
      value = Single(message, reflection, field);
    }
  }
  return object;
}

}  // namespace berth
