#!/usr/bin/env bash
# Runs every fuzz target for a time each: run.sh TIME (such as 20s).
#
# Go's fuzzer sometimes reports its own deadline as a failure ("context deadline exceeded")
# although no input failed; that alone does not count here.
set -euo pipefail
time=${1:?usage: $0 TIME}
log=$(mktemp)
trap 'rm -f "$log"' EXIT

for package in $(go list ./...); do
  dir=$(go list -f '{{.Dir}}' "$package")
  for target in $(cat "$dir"/*_test.go 2>/dev/null | grep -oE '^func Fuzz[A-Za-z0-9_]*' | awk '{print $2}'); do
    echo "== $package $target"
    if go test "$package" -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 1x >"$log" 2>&1; then
      tail -n 1 "$log"
    elif grep -q 'context deadline exceeded' "$log" && ! grep -q 'Failing input written' "$log"; then
      echo "ended at its deadline; no input failed"
    else
      cat "$log"
      exit 1
    fi
  done
done
