"""Protobuf and gRPC code by Debian's protoc: proto_library's toolchain would want to be fetched."""

GENERATED_COPTS = ["-w", "-g0", "-fno-sanitize=all"]

def berth_proto_library(name, src, deps = [], grpc = False, visibility = None):
    """C++ code for one .proto file.

    Makes `name`, a cc_library with the messages (`#include "PACKAGE/src.pb.h"`), and `name`_proto, the
    file itself for protos that import it. With grpc = True also `name`_grpc, the services
    (`#include "PACKAGE/src.grpc.pb.h"`).

    Args:
      name: of the messages' library.
      src: the .proto file; it imports others by their path from the workspace's root.
      deps: other berth_proto_library targets whose files `src` imports, directly or not.
      grpc: whether the file has services.
      visibility: of all targets made.
    """
    stem = src[:-len(".proto")]
    proto_deps = [dep + "_proto" for dep in deps]
    native.filegroup(name = name + "_proto", srcs = [src], visibility = visibility)
    native.genrule(
        name = name + "_gen",
        srcs = [src] + proto_deps,
        outs = [stem + ".pb.cc", stem + ".pb.h"],
        cmd = "protoc -I. --cpp_out=$(GENDIR) $(location %s)" % src,
    )

    # Generated code has no debug information, which would be most of every binary's, and no
    # sanitizers, which would be most of their build's time.
    native.cc_library(
        name = name,
        srcs = [stem + ".pb.cc"],
        hdrs = [stem + ".pb.h"],
        copts = GENERATED_COPTS,
        linkstatic = True,
        visibility = visibility,
        deps = deps + ["//third_party:protobuf"],
    )
    if not grpc:
        return
    native.genrule(
        name = name + "_grpc_gen",
        srcs = [src] + proto_deps,
        outs = [stem + ".grpc.pb.cc", stem + ".grpc.pb.h"],
        cmd = "protoc -I. --plugin=protoc-gen-grpc=/usr/bin/grpc_cpp_plugin " +
              "--grpc_out=$(GENDIR) $(location %s)" % src,
    )
    native.cc_library(
        name = name + "_grpc",
        srcs = [stem + ".grpc.pb.cc"],
        hdrs = [stem + ".grpc.pb.h"],
        copts = GENERATED_COPTS,
        linkstatic = True,
        visibility = visibility,
        deps = [":" + name, "//third_party:grpc"],
    )
