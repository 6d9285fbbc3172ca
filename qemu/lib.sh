# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the shell parts of qemu/ share: where things are, how to speak, how to
# become root. Standard output is for answers, so everything said goes to stderr.

# shellcheck disable=SC2034 # used by those who read this file
{
QEMU_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
TOP=$(dirname "$QEMU_DIR")
CACHE=${MMAPDEV_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/mmapdev}
APT_WAIT=(-o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
}

say()
{
	echo "${0##*/}: $*" >&2
}

die()
{
	say "$@"
	exit "${DIE_STATUS:-1}"
}

# Can as_root work? sudo that would ask a password needs somebody to ask.
can_be_root()
{
	[ "$(id -u)" = 0 ] && return 0
	command -v sudo >/dev/null || return 1
	sudo -n true 2>/dev/null || [ -t 0 ]
}

as_root()
{
	if [ "$(id -u)" = 0 ]; then
		"$@"
	else
		sudo "$@"
	fi
}

lanes()
{
	awk '!/^#/ && NF { print $1 }' "$QEMU_DIR/kernels.conf"
}

# lane_field LANE N: the Nth word of the lane's line
lane_field()
{
	awk -v lane="$1" -v n="$2" '$1 == lane { print $n }' "$QEMU_DIR/kernels.conf"
}
