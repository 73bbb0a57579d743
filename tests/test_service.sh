#!/bin/bash
# test_service.sh BUILD-ROOT - the example service end to end, asked by curl.
#
# Exact counts over several workers and keys, headers, bodies, who is limited,
# a limit changed under traffic, workers killed and replaced, and no service of
# rationd at all.  Everything in a directory of its own.
set -euo pipefail
build=$(cd "${1:?build root}" && pwd)
PATH=$build/daemon:$build/tui:$build/examples:$PATH
RATION_DIR=$(mktemp -d /dev/shm/ration-service.XXXXXX)
export RATION_DIR
unset RATION_INSTANCE
daemon='' service='' url='' bad=0

wrong() {
	printf 'WRONG: %s\n' "$*"
	bad=$((bad + 1))
}
equal() { [[ $2 == "$3" ]] || wrong "$1: found '$2', expected '$3'"; } # WHAT FOUND EXPECTED
like() { [[ $2 =~ $3 ]] || wrong "$1: found '$2', expected a match of '$3'"; }
die() {
	printf 'test_service: %s\n' "$*" >&2
	exit 1
}
end() {
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
	end "$service" "$daemon"
	if ((status)); then tail -n 30 "$RATION_DIR"/*.log "$RATION_DIR"/*.err || true; fi
	rm -rf "$RATION_DIR"
	exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

await() { # WHAT COMMAND...
	local what=$1 tries
	shift
	for ((tries = 0; tries < 1000; tries++)); do
		if "$@" >/dev/null 2>&1; then return; fi
		sleep 0.02
	done
	die "$what: not in 20 s"
}
answers_as() { [[ $(ration --json status | jq -r .pid) == "$1" ]]; }
start_daemon() {
	rationd -f "$RATION_DIR/policy.yaml" >>"$RATION_DIR/rationd.log" 2>&1 &
	daemon=$!
	await 'rationd' answers_as "$daemon"
}
start_service() { # [options]
	: >"$RATION_DIR/service.out"
	api-server --port 0 "$@" >"$RATION_DIR/service.out" 2>"$RATION_DIR/service.err" &
	service=$!
	await 'api-server' grep -q '^api-server: http' "$RATION_DIR/service.out"
	url=$(sed -n 's/^api-server: \(http:[^,]*\),.*/\1/p' "$RATION_DIR/service.out")
}
path=/
many() { # N curl options: "STATUS WORKER" for each request to $path, a connection each
	local n=$1
	shift
	curl --silent --no-progress-meter --parallel --parallel-max 16 --max-time 30 -H 'Connection: close' \
		-o /dev/null -w '%{http_code} %header{x-worker}\n' "$@" "$url$path?n=[1-$n]" || true
}
tally() { grep -c "^$1 " || true; }
one() { # curl options: the response of $path into head (name: value, lower case), body, code
	curl --silent --max-time 10 -D "$RATION_DIR/head" -o "$RATION_DIR/body" "$@" "$url$path" || die "curl $*: failed"
	tr -d '\r' <"$RATION_DIR/head" >"$RATION_DIR/head.lf"
	code=$(sed -n '1s/^[^ ]* \([0-9]*\).*/\1/p' "$RATION_DIR/head.lf")
	body=$(cat "$RATION_DIR/body")
}
head_of() { sed -n "s/^$1: //Ip" "$RATION_DIR/head.lf"; }

cat >"$RATION_DIR/policy.yaml" <<'END'
table: {keys: 4k}
limits:
  api: {rates: 300/hour, key: key, title: API key}
  per-ip: {rates: 300/hour, key: ip, title: IP address}
  none: 0/hour
  open: unlimited
routes:
  "* /*": api
  "* /address": per-ip
  "* /none": none
  "* /open": open
answers:
  default:
    reset: retry
    body: '{"error":"rate_limit_exceeded","message":"${title} exceeded ${units} req/${per}. Retry in ${retry_after} seconds.","retryAfter":${retry_after}}'
END

# ---- Without rationd: it starts, says why, answers 503 with a body, and recovers. ----
start_service --workers 1
one -H 'X-Api-Key: early'
equal 'status without rationd' "$code" 503
like 'body without rationd' "$body" '^\{"error":"rate_limiter_unavailable","message":"[^"]+"\}$'
like 'log without rationd' "$(cat "$RATION_DIR/service.err")" 'rationd'
start_daemon
one -H 'X-Api-Key: early'
equal 'status when rationd has come' "$code" 200
end "$service"

# ---- Exactly 300 of 400, over all workers, for a key by name, as bearer, and by address. ----
start_service --workers 4
many 400 -H 'X-Api-Key: k1' >"$RATION_DIR/k1"
equal 'admitted of 400' "$(tally 200 <"$RATION_DIR/k1")" 300
equal 'denied of 400' "$(tally 429 <"$RATION_DIR/k1")" 100
for w in 0 1 2 3; do
	share=$(grep -c " $w\$" "$RATION_DIR/k1" || true)
	((share >= 40)) || wrong "worker $w answered $share of 400, expected a tenth"
done
one -H 'Authorization: Bearer k1'
equal 'the same key as bearer' "$code" 429
equal 'another key meanwhile' "$(many 10 -H 'X-Api-Key: k2' | tally 200)" 10
path=/address
equal 'requests without a key' "$(many 310 | tally 200)" 300
one
equal 'an address over its limit' "$code" 429
like 'message for an address' "$body" 'IP address exceeded 300 req/'

path=/

# ---- Headers and bodies. ----
one -H 'X-Api-Key: k3'
now=$(date +%s)
equal 'status' "$code" 200
equal 'X-RateLimit-Limit' "$(head_of X-RateLimit-Limit)" 300
equal 'X-RateLimit-Remaining' "$(head_of X-RateLimit-Remaining)" 299
reset=$(head_of X-RateLimit-Reset)
((reset > now && reset <= now + 3600 + 242)) || wrong "X-RateLimit-Reset: found $reset at $now"
like 'X-Worker' "$(head_of X-Worker)" '^[0-3]$'
equal 'Content-Type' "$(head_of Content-Type)" application/json
equal 'Retry-After when admitted' "$(head_of Retry-After)" ''
jq -e . "$RATION_DIR/body" >/dev/null || wrong "body is not JSON: $body"

one -H 'X-Api-Key: k1'
now=$(date +%s)
retry=$(head_of Retry-After)
equal 'X-RateLimit-Remaining, denied' "$(head_of X-RateLimit-Remaining)" 0
like 'Retry-After' "$retry" '^[1-9][0-9]*$'
equal 'body, denied' "$body" \
	"{\"error\":\"rate_limit_exceeded\",\"message\":\"API key exceeded 300 req/hour. Retry in $retry seconds.\",\"retryAfter\":$retry}"
reset=$(head_of X-RateLimit-Reset)
((reset - now - retry >= -1 && reset - now - retry <= 1)) ||
	wrong "X-RateLimit-Reset, denied: found $reset at $now, expected now + Retry-After $retry"

# ---- Keys that are bytes of a caller's choosing. ----
long=$(printf 'a%.0s' {1..255})
one -H "X-Api-Key: $long"
equal 'the longest key' "$code" 200
one -H "X-Api-Key: ${long}a"
equal 'a key that is too long' "$code" 400
one -H $'X-Api-Key: \033[31m"\\\x01\xff'
equal 'a key of control bytes' "$code" 200
equal 'units of that key' "$(ration --json list api | jq -s '[.[] | if type == "array" then .[] else . end
	| select(.key | test("033|\\^\\["))] | length')" 1

# ---- A change under traffic counts at once. ----
many 200 -H 'X-Api-Key: k5' >"$RATION_DIR/k5"
ration set api 350/hour --reason 'test of the service' >/dev/null
many 200 -H 'X-Api-Key: k5' >>"$RATION_DIR/k5"
equal 'admitted with the limit raised' "$(tally 200 <"$RATION_DIR/k5")" 350
ration set api 250/hour >/dev/null
equal 'admitted with the limit lowered' "$(many 20 -H 'X-Api-Key: k5' | tally 200)" 0
ration unset api >/dev/null

# ---- A worker that is killed is replaced, and says so; no unit is lost. ----
many 100 -H 'X-Api-Key: k6' >"$RATION_DIR/k6"
sleep 1 # a worker that dies within its first second ends the service
victim=$(awk '{ print $2 }' "/proc/$service/task/$service/children")
kill -KILL "$victim"
await 'message about the killed worker' grep -q "(pid $victim) was ended by signal 9; starting another" \
	"$RATION_DIR/service.err"
many 300 -H 'X-Api-Key: k6' >>"$RATION_DIR/k6"
equal 'admitted over a killed worker' "$(tally 200 <"$RATION_DIR/k6")" 300
equal 'answers over a killed worker' "$(wc -l <"$RATION_DIR/k6")" 400

# ---- rationd killed while requests run: not one answer is wrong. ----
many 400 -H 'X-Api-Key: k7' >"$RATION_DIR/k7" &
load=$!
kill -KILL "$daemon"
wait "$daemon" 2>/dev/null || true
wait "$load"
equal 'admitted while rationd was killed' "$(tally 200 <"$RATION_DIR/k7")" 300
start_daemon
equal 'units kept over the restart' "$(ration --json show api k7 | jq .used)" 300
one -H 'X-Api-Key: k7'
equal 'status after the restart' "$code" 429

# ---- A second service on the port is refused; SIGTERM ends all processes. ----
if timeout 10 api-server --port "${url##*:}" >/dev/null 2>"$RATION_DIR/second.err"; then
	wrong 'a second service on the same port was let in'
fi
like 'message of the second service' "$(cat "$RATION_DIR/second.err")" 'Address already in use'
read -ra children <"/proc/$service/task/$service/children" || true # no newline at its end
equal 'number of workers' "${#children[@]}" 4
kill -TERM "$service"
status=0
wait "$service" || status=$?
service=''
equal 'status after SIGTERM' "$status" 0
for pid in "${children[@]}"; do
	if kill -0 "$pid" 2>/dev/null; then wrong "worker $pid outlived its parent"; fi
done

# ---- Other limits; wrong use. ----
start_service --workers 2
path=/none
one -H 'X-Api-Key: k8'
equal 'status under a limit of 0' "$code" 429
equal 'Retry-After where no waiting helps' "$(head_of Retry-After)" ''
equal 'retryAfter where no waiting helps' "$(jq -c .retryAfter <<<"$body")" null
path=/open
one -H 'X-Api-Key: k8'
equal 'status without a limit' "$code" 200
equal 'X-RateLimit-Limit without a limit' "$(head_of X-RateLimit-Limit)" ''
end "$service"
service=''
for args in '--port x' '--port 65536' '--workers 0' '--workers 65' '--nonsense' 'stray' '--system'; do
	status=0
	# shellcheck disable=SC2086 # words, on purpose
	timeout 10 api-server $args >/dev/null 2>&1 || status=$?
	equal "status of api-server $args" "$status" 2
done
api-server --help | grep -q -- '--system NAME' || wrong '--help does not explain --system'
status=0
timeout 10 api-server --data "$RATION_DIR/policy.yaml" >/dev/null 2>"$RATION_DIR/data.err" || status=$?
equal 'status with data that are not JSON' "$status" 1
like 'message about data that are not JSON' "$(cat "$RATION_DIR/data.err")" 'policy\.yaml:1:[0-9]+: '

((bad == 0)) || die "$bad wrong"
printf 'test_service: ok\n'
