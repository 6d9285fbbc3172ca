# SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
# shellcheck shell=sh disable=SC2034,SC2154 # those who read this use them
# How tests/model and tests/model-broken put the log's protocol to spin.

command -v spin >/dev/null || skip 'spin is missing (Debian: spin)'
tests=$PWD/tests
mkdir "$tmp/pan"
depth=100000

# pan MODEL DEFINITION...: the verifier's report is in $tmp/report
pan() {
	(
		cd "$tmp/pan" || exit
		rm -f pan* ./*.trail
		model=$tests/$1.pml
		shift
		case " $* " in
		*" -DLIVE "*) cflags='' flags='-a -f' ;;
		*) cflags=-DSAFETY flags='' ;;
		esac
		# What is found soon is compiled soon.
		case " $* " in
		*" -DBREAK_"*) opt=-O0 ;;
		*) opt=-O2 ;;
		esac
		spin -a "$@" "$model" >&2
		# shellcheck disable=SC2086 # they are words
		$CC $opt -w $cflags -DMEMLIM=1200 -o pan pan.c >&2
		# shellcheck disable=SC2086
		./pan -m$depth -w20 $flags >"$tmp/report" 2>&1
	)
	cat "$tmp/report"
	grep -q 'errors: ' "$tmp/report"
}

# A search that was cut short proves nothing.
whole() {
	pan "$@" && grep -q 'errors: 0$' "$tmp/report" &&
		! grep -E 'max search depth|MEMLIM|truncated' "$tmp/report"
}

# Not any error: a promise.
found() {
	pan "$@" && grep -Eq 'pan:1: (assertion violated|acceptance cycle)' \
		"$tmp/report"
}

states() {
	sed -n 's/^ *\([0-9.e+]*\) states, stored.*/# \1 states/p' "$tmp/report"
}

holds() { # SENTENCE MODEL DEFINITION...
	sentence=$1
	shift
	ok "$sentence" whole "$@"
	states
}

breaks() { # SENTENCE MODEL DEFINITION...
	sentence=$1
	shift
	ok "seen: $sentence" found "$@"
	states
}

evict='-DKILLS=1 -DEVICTIONS=1'
zombie='-DKILLS=0 -DEVICT'
ring='-DRING -DRECORDS=3 -DSIZE=1 -DLENGTH=1 -DNUMBERS=3'
