# system.sh - what the tests of the five systems share; sourced by test_system_NAME.sh BUILD-ROOT.
#
# Each runs rationd with examples/NAME.yaml (and --sandbox: its clock can be moved), four workers of
# api-server with examples/NAME.json, and curl.  A check is one line with a name, "ok NAME: what" or
# "WRONG NAME: what: found, expected"; after one that fails the others go on.
# shellcheck shell=bash disable=SC2034 # variables for those who source it
set -euo pipefail
system=${system:-$(basename "$0" .sh)} system=${system#test_system_}
build=$(cd "${1:?build root}" && pwd)
examples=$(cd "$(dirname "${BASH_SOURCE[0]}")/../examples" && pwd)
PATH=$build/daemon:$build/tui:$build/examples:$PATH
RATION_DIR=$(mktemp -d "/dev/shm/ration-$system.XXXXXX")
export RATION_DIR
unset RATION_INSTANCE
daemon='' service='' url='' checks=0 bad=0 moved=0 others=()
code='' body=''

# ---- Checks ----

fine() {
	checks=$((checks + 1))
	printf 'ok %s: %s\n' "$system" "$1"
}
wrong() {
	checks=$((checks + 1)) bad=$((bad + 1))
	printf 'WRONG %s: %s\n' "$system" "$*"
}
is() { # WHAT FOUND EXPECTED
	if [[ $2 == "$3" ]]; then fine "$1"; else wrong "$1: found '$2', expected '$3'"; fi
}
like() { # WHAT FOUND REGEX
	if [[ $2 =~ $3 ]]; then fine "$1"; else wrong "$1: found '$2', expected a match of '$3'"; fi
}
between() { # WHAT FOUND LOW HIGH
	if [[ $2 =~ ^[0-9]+$ ]] && (($2 >= $3 && $2 <= $4)); then
		fine "$1"
	else
		wrong "$1: found '$2', expected $3 to $4"
	fi
}
die() {
	printf 'test_system_%s: %s\n' "$system" "$*" >&2
	exit 1
}
# The last line of a test.
finish() {
	printf '%s: %d checks, %d wrong, %d s\n' "$system" "$checks" "$bad" "$SECONDS"
	((bad == 0 && checks > 0)) || exit 1
}

# ---- rationd and the service ----

end() { # PID...: our own children
	local pid
	for pid in "$@"; do
		[[ -n $pid ]] || continue
		kill "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	done
}
cleanup() {
	local status=$?
	trap - EXIT
	end "${others[@]}" "$service" "$daemon"
	if ((status)); then tail -n 20 "$RATION_DIR"/*.log || true; fi
	rm -rf "$RATION_DIR"
	exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# until_true COMMAND...: false after twenty seconds
until_true() {
	local until=$((SECONDS + 21))
	until "$@" >/dev/null 2>&1; do
		((SECONDS < until)) || return 1
		sleep 0.02
	done
}
answers_as() { [[ $(ration --json status | jq -r .pid) == "$1" ]]; }
start_daemon() {
	rationd --sandbox -f "$examples/$system.yaml" >>"$RATION_DIR/rationd.log" 2>&1 &
	daemon=$!
	until_true answers_as "$daemon" || die 'rationd did not start'
}
start_service() {
	: >"$RATION_DIR/service.out"
	api-server --system "$system" --workers 4 --port 0 >"$RATION_DIR/service.out" 2>>"$RATION_DIR/service.log" &
	service=$!
	until_true grep -q '^api-server: http' "$RATION_DIR/service.out" || die 'api-server did not start'
	url=$(sed -n 's/^api-server: \(http:[^,]*\),.*/\1/p' "$RATION_DIR/service.out")
}
stop_daemon() { # [SIGNAL]
	kill "-${1:-TERM}" "$daemon"
	wait "$daemon" 2>/dev/null || true
}
stop_service() {
	end "$service"
}
workers_of() { cat "/proc/$service/task/$service/children"; }

# ---- Time: rationd's, which a sandbox may move ----

# clock SECONDS
clock() {
	ration clock "+$1s" >/dev/null
	moved=$((moved + $1))
}
now() { printf '%d\n' "$(($(date +%s) + moved))"; }
# To the start of the next minute (or of SECONDS), and a little: fixed windows then stay for a while.
aligned() { # [SECONDS]
	local width=${1:-60}
	clock $((width - $(now) % width + 1))
}
# To a local time, "+1 month"-like: clock_to 'DATE' as date -d takes it, in TZ.
clock_to() { clock $(($(date -d "$1" +%s) - $(now))); }

# ---- Requests ----

# Our own server: no proxy, and nothing from a .curlrc.
curl() { command curl --disable --noproxy '*' --silent --max-time 20 "$@"; }

# call METHOD PATH KEY [curl options]: into code, body, and what head tells.  KEY '': none.
call() {
	local method=$1 path=$2 key=$3
	shift 3
	curl -X "$method" ${key:+-H "X-Api-Key: $key"} -D "$RATION_DIR/head" -o "$RATION_DIR/body" "$@" "$url$path" ||
		die "curl $method $path: failed"
	tr -d '\r' <"$RATION_DIR/head" >"$RATION_DIR/head.lf"
	code=$(sed -n '1s/^[^ ]* \([0-9]*\).*/\1/p' "$RATION_DIR/head.lf")
	body=$(cat "$RATION_DIR/body")
}
head_of() { sed -n "s/^$1: //p" "$RATION_DIR/head.lf"; } # the very name
# burst N METHOD PATH KEY [curl options]: N requests over eight connections; prints "N1xCODE N2xCODE"
burst() {
	local n=$1 method=$2 path=$3 key=$4
	shift 4
	curl --no-progress-meter --parallel --parallel-max 8 -X "$method" ${key:+-H "X-Api-Key: $key"} \
		-o /dev/null -w '%{http_code}\n' "$@" "$url$path?[1-$n]" |
		sort | uniq -c | awk '{ printf "%s%dx%s", (NR > 1 ? " " : ""), $1, $2 }'
}
# peek LIMIT KEY JQ: of the decision that the command shows
peek() { ration --json show "$1" "$2" | jq -r "$3"; }
used() { peek "$1" "$2" .used; }
limit_of() { peek "$1" "$2" .limit_units; }
# take LIMIT KEY COST: as another program would
take() { ration acquire "$1" "$2" --cost "$3" >/dev/null; }

# The three headers: what they are to say
headers() { # WHAT LIMIT REMAINING
	is "$1: X-RateLimit-Limit $2" "$(head_of X-RateLimit-Limit)" "$2"
	is "$1: X-RateLimit-Remaining $3" "$(head_of X-RateLimit-Remaining)" "$3"
}
# Of a denial: Retry-After is there, from LOW to HIGH, and Reset is now and that
retry() { # WHAT LOW HIGH
	local retry reset at
	at=$(now)
	retry=$(head_of Retry-After) reset=$(head_of X-RateLimit-Reset)
	between "$1: Retry-After from $2 to $3" "$retry" "$2" "$3"
	between "$1: X-RateLimit-Reset is now + Retry-After" "$reset" $((at + retry - 3)) $((at + retry + 1))
}
