# SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
# shellcheck shell=bash
# Completion of mmapdevctl. What can be completed the tool itself says, in its
# help and its list of devices: there is no second list here to keep.

_mmapdevctl_commands() {
	"$1" --help | sed -n 's/^  mmapdevctl \([a-z]*\) .*/\1/p' | sort -u
}

# The second words of commands that have two.
_mmapdevctl_second() {
	"$1" --help | sed -n "/^Usage/,/^\$/s/^  mmapdevctl $2 \([a-z][a-z]*\) .*/\1/p"
}

# Those in the line "Usage: mmapdevctl COMMAND ...", where $2 may be two words.
_mmapdevctl_options() {
	# shellcheck disable=SC2086
	"$1" $2 --help | sed 1q | tr ' []|' '\n' | grep '^-'
	echo --help
}

_mmapdevctl_parameters() {
	"$1" "$2" --help | sed -n 's/^  \([a-z_]*=\).*/\1/p'
}

# $2: the member, node or directory
_mmapdevctl_devices() {
	"$1" list --json | grep -o "\"$2\": \"[^\"]*\"" |
		sed 's/.*: "\(.*\)"/\1/'
}

_mmapdevctl_values() {
	case $1 in
	mode) echo demand eager ;;
	huge) echo never advise always ;;
	prealloc) echo 0 1 ;;
	esac
}

# The words that can stand here, for a command, and $4: how many stand before.
_mmapdevctl_words() {
	case $2:$3 in
	*:-*) _mmapdevctl_options "$1" "$2" ;;
	load:* | create:*) _mmapdevctl_parameters "$1" "$2" ;;
	remove:*)
		_mmapdevctl_devices "$1" directory
		;;
	unload:* | list:*) ;;
	*) [[ $4 -gt 0 ]] || _mmapdevctl_devices "$1" node ;;
	esac
}

_mmapdevctl() {
	local tool=$1 cur=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]}
	local prev=${COMP_WORDS[COMP_CWORD - 1]} before=0 first=2 words second i

	COMPREPLY=()
	if [[ $COMP_CWORD -eq 1 ]]; then
		words="$(_mmapdevctl_commands "$tool" 2>/dev/null) --help --version"
		mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
		return
	fi
	second=$(_mmapdevctl_second "$tool" "$command" 2>/dev/null)
	if [[ -n $second ]]; then
		if [[ $COMP_CWORD -eq 2 ]]; then
			mapfile -t COMPREPLY < <(compgen -W "$second --help" -- "$cur")
			return
		fi
		command="$command ${COMP_WORDS[2]}"
		first=3
	fi
	# bash makes words of "mode", "=" and "eager".
	if [[ $cur = "=" || $prev = "=" ]]; then
		[[ $cur = "=" ]] && cur= || prev=${COMP_WORDS[COMP_CWORD - 2]}
		words=$(_mmapdevctl_values "$prev")
		mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
		return
	fi
	case $prev in
	-m | --module)
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -f -X '!*.ko' -- "$cur"
			compgen -d -- "$cur")
		return
		;;
	--file)
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	--pid)
		words=$(cd /proc && echo [0-9]*)
		mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
		return
		;;
	-n | --[a-z]*)
		# A value, of those that take one.
		# shellcheck disable=SC2086
		if "$tool" $command --help 2>/dev/null | sed 1q |
			grep -qe "$prev\(|--[a-z]*\)\? [A-Z]"; then
			return
		fi
		;;
	esac

	for ((i = first; i < COMP_CWORD; i++)); do
		[[ ${COMP_WORDS[i]} = -* ]] || before=$((before + 1))
	done
	words=$(_mmapdevctl_words "$tool" "$command" "$cur" $before 2>/dev/null)
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
	if [[ ${COMPREPLY[0]-} = *= ]]; then
		compopt -o nospace 2>/dev/null
	fi
	case $command in
	load | unload | list | create | remove | status) return ;;
	esac
	# A regular file will do as well.
	if [[ ${#COMPREPLY[@]} -eq 0 && $cur != -* ]]; then
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
	fi
}

complete -F _mmapdevctl mmapdevctl
