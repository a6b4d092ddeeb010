"""Clang's opinion of each C++ source, without code: warnings and thread-safety analysis are errors."""

_FLAGS = [
    "-std=c++20",
    "-fsyntax-only",
    "-Wthread-safety",
    "-Wno-unknown-warning-option",
    # libstdc++ 12 calls what it deprecates, in std::stable_sort; g++ looks for deprecated calls, too.
    "-Wno-deprecated-declarations",
    "-I.",
]

def _flags(prefix, values):
    return [prefix + value for value in values.to_list()]

def _check_source(ctx, source, context, headers):
    stamp = ctx.actions.declare_file("_clang/%s/%s.ok" % (ctx.rule.attr.name, source.basename))
    flags = (
        ctx.rule.attr.copts + _FLAGS + ["-D" + define for define in ctx.rule.attr.local_defines] +
        _flags("-D", context.defines) + _flags("-I", context.quote_includes) +
        _flags("-I", context.includes) + _flags("-isystem", context.system_includes)
    )
    ctx.actions.run_shell(
        command = 'out=$1; shift; clang-19 "$@" && : >"$out"',
        arguments = [stamp.path] + flags + [source.path],
        inputs = depset([source], transitive = [headers]),
        outputs = [stamp],
        mnemonic = "ClangCheck",
        progress_message = "Checking %s with clang" % source.short_path,
        use_default_shell_env = True,
    )
    return stamp

def _clang_check_impl(_target, ctx):
    attr = ctx.rule.attr
    if ctx.rule.kind not in ["cc_library", "cc_binary", "cc_test"]:
        return []
    sources = [file for files in attr.srcs for file in files.files.to_list()]
    headers = [file for files in getattr(attr, "hdrs", []) for file in files.files.to_list()]
    context = cc_common.merge_cc_infos(
        cc_infos = [dep[CcInfo] for dep in attr.deps],
    ).compilation_context
    all_headers = depset(
        [file for file in sources + headers if file.extension == "h"],
        transitive = [context.headers],
    )

    # Generated code is its generator's business.
    return [OutputGroupInfo(clang_check = depset([
        _check_source(ctx, file, context, all_headers)
        for file in sources
        if file.is_source and file.extension == "cc"
    ]))]

clang_check = aspect(
    implementation = _clang_check_impl,
    doc = "The output group clang_check: an empty file for each source that clang accepts.",
)
