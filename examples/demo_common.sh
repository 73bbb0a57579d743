# demo_common.sh - what the demos share; sourced with $build set, in the root of the tree.
#
# A directory of its own in memory, rationd and the service in it, figures that are checked, and an
# end that leaves nothing.
# shellcheck shell=bash disable=SC2034,SC2154 # variables of and for those who source it

RATION_DIR=$(mktemp -d /dev/shm/ration-demo.XXXXXX)
export RATION_DIR
unset RATION_INSTANCE
export PATH=$build/daemon:$build/tui:$build/examples:$PATH
workers=4
daemon='' service='' traffic='' wrong=0 url=''

# Our own server: no proxy, and nothing from a .curlrc.
curl() { command curl --disable --noproxy '*' "$@"; }
title() { printf '\n== %s\n' "$*"; }
figure() { # WHAT FOUND EXPECTED
	[[ $2 == "$3" ]] && return
	printf 'demo: WRONG: %s: found %s, expected %s\n' "$1" "$2" "$3"
	wrong=$((wrong + 1))
}
die() {
	printf 'demo: %s\n' "$*" >&2
	tail -n 20 "$RATION_DIR"/*.log >&2 || true
	exit 1
}
# The last lines of a demo.
finish() {
	printf '\n'
	if ((wrong)); then
		printf 'demo: %d figures were wrong; the logs:\n' "$wrong"
		tail -n 20 "$RATION_DIR"/*.log
		exit 1
	fi
	printf 'demo: every figure was as said\n'
}

end() { # PID...: end and await our own children
	local pid
	for pid in "$@"; do
		[[ -n $pid ]] || continue
		{ kill "$pid" && wait "$pid"; } 2>/dev/null || true
	done
}
cleanup() {
	local status=$?
	trap - EXIT INT TERM
	end "$traffic" "$service" "$daemon"
	rm -rf "$RATION_DIR"
	exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# await WHAT COMMAND...: until it succeeds, at most 10 s
await() {
	local what=$1 until=$((SECONDS + 10))
	shift
	until "$@" >/dev/null 2>&1; do
		((SECONDS < until)) || die "$what did not come up in 10 s"
		sleep 0.02
	done
}

answers_as() { [[ $(ration --json status | jq -r .pid) == "$1" ]]; }
start_daemon() { # options
	rationd "$@" >>"$RATION_DIR/rationd.log" 2>&1 &
	daemon=$!
	await rationd answers_as "$daemon"
}
start_service() { # options
	: >"$RATION_DIR/service.out" # what an earlier one wrote
	api-server --port 0 --workers "$workers" "$@" >"$RATION_DIR/service.out" 2>"$RATION_DIR/service.log" &
	service=$!
	await api-server grep -q '^api-server: http' "$RATION_DIR/service.out"
	url=$(sed -n 's/^api-server: \(http:[^,]*\),.*/\1/p' "$RATION_DIR/service.out")
}
