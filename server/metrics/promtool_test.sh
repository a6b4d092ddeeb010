#!/bin/bash
# Every series follows Prometheus' rules for names, help and types.
set -eu -o pipefail
"$1" --print | promtool check metrics
