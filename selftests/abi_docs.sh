#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# usage: abi_docs.sh [FOLDER]
#
# Whether Documentation/ABI (or FOLDER) tells of every attribute that mmapdev
# has in sysfs and configfs, and of no other, and whether each is one value on
# one line and writable only where the entry says so. Root, the module loaded.

set -u
abi=${1:-${0%/*}/ABI}
class=/sys/class/misc
params=/sys/module/mmapdev/parameters
config=/sys/kernel/config/mmapdev
dir=$config/abi_docs
tmp=$(mktemp -d)
lines=0
failures=0

clean() {
	rmdir $dir 2>/dev/null
	rm -rf "$tmp"
}
trap clean EXIT

# ok SENTENCE COMMAND...
ok() {
	sentence=$1
	shift
	lines=$((lines + 1))
	if "$@" >"$tmp/said" 2>&1; then
		echo "ok $lines - $sentence"
	else
		echo "not ok $lines - $sentence"
		sed 's/^/# /' "$tmp/said"
		failures=$((failures + 1))
	fi
}

# A line for each entry: what it is of, and RO, RW or none.
entries() {
	cat "$abi"/*/*mmapdev* | awk '
		/^What:/	{ if (what) print what, access; what = $2; access = "none" }
		/^\t\t\(R[OW]\)/ && access == "none" { access = substr($1, 2, 2) }
		END		{ if (what) print what, access }'
}

# The lines of the entries of a path: "*" and "<...>" are any one name.
entry_of() {
	awk -v path="$1" '{
		pattern = $1
		gsub(/\./, "\\.", pattern)
		gsub(/\*|<[^>]*>/, "[^/]*", pattern)
		if (path ~ "^" pattern "$")
			print
	}' "$tmp/entries"
}

# What the kernel makes for every device is not ours.
attributes() {
	for device in "$class"/mmapdev*/; do
		find "$device" \( -name power -o -name subsystem -o -name dev \
			-o -name uevent \) -prune -o -type f -print
	done | sed 's|//*|/|g'
	find $params -type f
	find $config -mindepth 1
}

documented_once() {
	entry_of "$1" >"$tmp/found"
	cat "$tmp/found"
	test "$(wc -l <"$tmp/found")" -eq 1
}

# The permission bits are those of root's own: root may do all.
access_as_documented() {
	mode=$(stat -c %a "$1")
	access=$(entry_of "$1" | cut -d ' ' -f 2)
	echo "mode $mode, documented as $access"
	case $access in
	RO) test "$mode" = 444 ;;
	RW) test "$mode" = 644 ;;
	*) false ;;
	esac
}

one_value_on_one_line() {
	cat "$1" >"$tmp/value" || return 1
	od -c "$tmp/value"
	test "$(wc -l <"$tmp/value")" -eq 1 &&
		test "$(grep -c '' "$tmp/value")" -eq 1 &&
		grep -qxE '[^[:space:]]+' "$tmp/value"
}

exists() {
	for path in $(echo "$1" | sed 's/<[^>]*>/*/g'); do
		echo "$path"
		test -e "$path" || return 1
	done
}

entries >"$tmp/entries"
mkdir $dir

ok "the documentation has entries" test -s "$tmp/entries"
ok "every entry tells once what it is of" \
	test -z "$(cut -d ' ' -f 1 "$tmp/entries" | sort | uniq -d)"

attributes >"$tmp/attributes"
while read -r path; do
	ok "$path is documented" documented_once "$path"
	if [ -f "$path" ]; then
		ok "$path: access as documented" access_as_documented "$path"
		ok "$path: one value on one line" one_value_on_one_line "$path"
	fi
done <"$tmp/attributes"

while read -r what _; do
	ok "entry $what: it exists" exists "$what"
done <"$tmp/entries"

# The same attributes, and each still a value, while the device lives.
ok "a device comes to life" sh -c "echo 1 >$dir/live"
ok "it has a node" test -c "/dev/$(cat $dir/node)"
ok "its directory has no other attributes" \
	test "$(find $dir | sort)" = "$(grep "^$dir" "$tmp/attributes" | sort)"
for path in "$dir"/* "$class/$(cat $dir/node)"/[a-z]*; do
	case $path in
	*/power | */subsystem | */dev | */uevent) ;;
	*)
		ok "$path, live, is documented" documented_once "$path"
		ok "$path, live: one value on one line" one_value_on_one_line "$path"
		;;
	esac
done
ok "it goes with its directory" rmdir $dir

echo "1..$lines"
test $failures -eq 0
