#!/bin/sh
# build.sh OUTPUT SOURCES...: links the freestanding keeper: C++ without its library, against static musl.
# Static glibc's start-up alone costs 0.4 ms in a virtual machine and 45 KiB of private pages.
set -e
output=$1
shift
# Of what remains, the .cc files; headers are named only for Bazel.
for source; do
  shift
  case $source in *.cc) set -- "$@" "$source" ;; esac
done
# musl's headers first; the kernel's come from the distribution's linux-libc-dev.
exec "${CXX:-g++}" -std=c++20 -Os -g0 -static -no-pie -nostdlib -fno-exceptions -fno-rtti \
  -fno-threadsafe-statics -fno-asynchronous-unwind-tables -fno-stack-protector -fno-ident \
  -ffunction-sections -fdata-sections -fno-pie \
  -Wall -Wextra -Werror -Wno-sign-compare -Wno-missing-field-initializers -Wno-unused-parameter \
  -nostdinc++ -nostdinc -isystem /usr/include/x86_64-linux-musl \
  -isystem "$("${CXX:-g++}" -print-file-name=include)" \
  -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include -I. \
  -o "$output" /usr/lib/x86_64-linux-musl/crt1.o /usr/lib/x86_64-linux-musl/crti.o \
  "$@" \
  -L/usr/lib/x86_64-linux-musl -lc -lgcc /usr/lib/x86_64-linux-musl/crtn.o \
  -Wl,--gc-sections,-z,norelro,-z,noseparate-code,--build-id=none,-s
