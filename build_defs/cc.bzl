"""C++ rules of this project: warnings are errors everywhere."""

WARNINGS = [
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wno-missing-field-initializers",
    "-Wno-sign-compare",
    "-Wno-unused-parameter",
]

def berth_cc_library(name, copts = [], **kwargs):
    native.cc_library(name = name, copts = WARNINGS + copts, linkstatic = True, **kwargs)

def berth_cc_binary(name, copts = [], **kwargs):
    native.cc_binary(name = name, copts = WARNINGS + copts, **kwargs)

def berth_cc_test(name, copts = [], deps = [], size = "small", **kwargs):
    """A unit test: needs no root and no network."""
    native.cc_test(
        name = name,
        copts = WARNINGS + copts,
        size = size,
        deps = deps + ["//third_party:gtest_main"],
        linkstatic = True,
        **kwargs
    )
