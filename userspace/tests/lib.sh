# SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
# shellcheck shell=sh
# What the test scripts share. The runner sets OUT (what was built) and CC, and
# shows what is printed here when a script fails.

set -eu
cd "$(dirname "$0")/.."
: "${OUT:=$PWD/../build/userspace}" "${CC:=cc}"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
lines=0
failures=0
# A make above us is not asked to do its work in here.
unset MAKEFLAGS MFLAGS MAKEOVERRIDES

# ok SENTENCE COMMAND...
ok() {
	sentence=$1
	shift
	lines=$((lines + 1))
	if "$@" >"$tmp/said" 2>&1; then
		echo "ok $lines - $sentence"
	else
		echo "not ok $lines - $sentence"
		sed 's/^/#   /' "$tmp/said"
		failures=$((failures + 1))
	fi
}

skip() {
	echo "# $1"
	exit 77
}

finish() {
	echo "1..$lines"
	test $failures -eq 0 && test $lines -gt 0
}
