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

def berth_fuzz_test(name, deps = [], copts = []):
    """A libFuzzer target, built with --config=fuzz and run by `./dev fuzz`.

    Its source is name.cc, its seeds are the files in corpus/NAME beside it, without `_fuzz`.
    """
    berth_cc_binary(
        name = name,
        testonly = True,
        srcs = [name + ".cc"],
        copts = copts,
        linkopts = ["-fsanitize=fuzzer"],
        tags = [
            "fuzz",
            "manual",
        ],
        deps = deps,
    )
