#!/usr/bin/env bash
# Installs the Debian packages that a make target needs and that are missing here.
#
#   install.sh demo|test|generate|bench|kernels
#
# A plain build needs none of them.
set -euo pipefail

declare -A package=(
  [curl]=curl [ip]=iproute2 [python3]=python3 [nginx]=nginx-light [haproxy]=haproxy [wrk]=wrk [h2load]=nghttp2-client
  [clang-14]=clang-14 [llvm-strip-14]=llvm-14 [protoc]=protobuf-compiler [nft]=nftables
  [qemu-system-x86_64]=qemu-system-x86 [xz]=xz-utils
)
declare -A commands=(
  [demo]="curl"
  [test]="curl ip python3 nft nginx"
  [generate]="clang-14 llvm-strip-14 protoc"
  [bench]="nginx haproxy wrk h2load"
  [kernels]="qemu-system-x86_64 xz curl ip"
)

what=${1:-}
if [ -z "${commands[$what]:-}" ]; then
  echo "usage: $0 demo|test|generate|bench|kernels" >&2
  exit 2
fi

missing=()
for command in ${commands[$what]}; do
  command -v "$command" >/dev/null 2>&1 || missing+=("${package[$command]}")
done
if [ "$what" = generate ] && [ ! -e /usr/include/bpf/bpf_helpers.h ]; then
  missing+=(libbpf-dev)
fi
[ ${#missing[@]} -gt 0 ] || exit 0

echo "make $what needs these Debian packages, which are not installed: ${missing[*]}"
if ! command -v apt-get >/dev/null 2>&1; then
  echo "this system has no apt-get: install the equivalents by hand, then run make $what again" >&2
  exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
  echo "run as root, or: sudo apt-get install ${missing[*]}" >&2
  exit 1
fi
echo "installing them now"
export DEBIAN_FRONTEND=noninteractive
# Packages of servers would start them; weir's targets run their own, on their own ports.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
  trap 'rm -f "$policy"' EXIT
fi
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
