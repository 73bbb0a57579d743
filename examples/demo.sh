#!/bin/bash
# demo.sh BUILD - the main job end to end, with every figure checked.
#
# Four workers of api-server answer 400 requests of one key under 300/min; the
# limit is raised while they run; rationd is killed and comes back.  All of it
# lies in a directory of its own in memory, on a free loopback port, and is gone
# at the end.  Exit status 0 only if every figure was as said.
set -euo pipefail
build=$(cd "${1:?usage: demo.sh BUILD-DIRECTORY}" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# shellcheck source=examples/demo_common.sh
. examples/demo_common.sh

# requests KEY N: one connection each, 16 at a time; prints "STATUS WORKER" for each
requests() {
	curl --silent --no-progress-meter --parallel --parallel-max 16 --max-time 20 \
		--header 'Connection: close' --header "X-Api-Key: $1" --output /dev/null \
		--write-out '%{http_code} %header{x-worker}\n' "$url/hello?n=[1-$2]" || true
}
count() { grep -c "^$1 " "$2" || true; } # STATUS FILE
used() { ration --json show api "$1" | jq -r .used; }
limit() { ration --json show api "$1" | jq -r .limit_units; }

title "rationd and $workers workers of api-server, in $RATION_DIR"
start_daemon -f examples/ration.yaml
start_service
printf 'rationd is pid %s, the service %s\n' "$daemon" "$url"

title "400 requests with one key, under 300/min sliding"
first=$SECONDS
requests alice 400 >"$RATION_DIR/400"
admitted=$(count 200 "$RATION_DIR/400")
denied=$(count 429 "$RATION_DIR/400")
for ((w = 0; w < workers; w++)); do
	share=$(grep -c " $w\$" "$RATION_DIR/400" || true)
	printf 'worker %d answered %3d: %3d admitted, %3d denied\n' "$w" "$share" \
		"$(grep -c "^200 $w\$" "$RATION_DIR/400" || true)" \
		"$(grep -c "^429 $w\$" "$RATION_DIR/400" || true)"
	((share >= 40)) || figure "requests answered by worker $w" "$share" "40 or more"
done
printf 'demo: admitted %d of 400\n' "$admitted"
figure admitted "$admitted" 300
figure denied "$denied" 100

title "an admitted response (of another key) and a denied one"
curl --silent --include --header 'X-Api-Key: bob' "$url/hello"
printf '\n\n'
curl --silent --include --header 'X-Api-Key: alice' "$url/hello"
printf '\n'

title "ration set api 350/min, while the service runs"
ration set api 350/min --reason 'demo: more room'
requests alice 100 >"$RATION_DIR/100"
raised=$(count 200 "$RATION_DIR/100")
printf 'demo: after raise %d of 100\n' "$raised"
figure 'admitted after the raise' "$raised" 50
figure 'denied after the raise' "$(count 429 "$RATION_DIR/100")" 50

title "SIGKILL to rationd (pid $daemon); the workers go on"
{ kill -KILL "$daemon" && wait "$daemon"; } 2>/dev/null || true # nor does bash say "Killed"
requests alice 20 >"$RATION_DIR/alone.alice"
requests carol 400 >"$RATION_DIR/alone.carol"
wrong_before=$wrong
figure 'the spent key, denied without rationd' "$(count 429 "$RATION_DIR/alone.alice")" 20
figure 'a fresh key, admitted without rationd' "$(count 200 "$RATION_DIR/alone.carol")" 350
figure 'a fresh key, denied without rationd' "$(count 429 "$RATION_DIR/alone.carol")" 50
printf 'without rationd: the spent key got %d of 20, a fresh key %d of 400\n' \
	"$(count 200 "$RATION_DIR/alone.alice")" "$(count 200 "$RATION_DIR/alone.carol")"

start_daemon -f examples/ration.yaml
printf 'rationd is back as pid %s\n' "$daemon"
figure 'units used by the first key after the restart' "$(used alice)" 350
figure 'units used by the fresh key after the restart' "$(used carol)" 350
figure 'the raised limit after the restart' "$(limit alice)" 350
requests alice 20 >"$RATION_DIR/back"
figure 'the spent key, denied after the restart' "$(count 429 "$RATION_DIR/back")" 20
ration show api alice
exact=yes
((wrong == wrong_before)) || exact=no
printf 'demo: daemon killed, still exact: %s\n' "$exact"
((SECONDS - first < 55)) ||
	figure 'seconds from the first request (the window is 60)' "$((SECONDS - first))" 'less than 55'

# Several keys, each with its own number of requests a second, for something to look
# at: some stay below the limit, some meet it.  At SIGTERM it takes along what it
# is waiting for.
run_traffic() {
	local round=0 i n keys=(erin frank grace heidi ivan judy) rate=(1 2 4 5 8 12)
	trap 'kill "$!" 2>/dev/null; exit' TERM
	while :; do
		for i in "${!keys[@]}"; do
			n=$((rate[i] * (round + 1) / 4 - rate[i] * round / 4))
			((n > 0)) || continue
			requests "${keys[i]}" "$n" >/dev/null &
			wait "$!"
		done
		round=$((round + 1))
		sleep 0.2 &
		wait "$!"
	done
}
run_traffic 2>/dev/null &
traffic=$!

if [[ -t 0 && -t 1 && ${DEMO_SNAPSHOT-} != 1 ]] && ((wrong == 0)); then
	title "ration top over running traffic (q leaves)"
	sleep 1
	infocmp >/dev/null 2>&1 || export TERM=xterm-256color # a terminal newer than the system
	ration top || wrong=$((wrong + 1))
else
	title "ration top -b over running traffic"
	sleep 3
	ration top -b || figure 'exit status of ration top -b' "$?" 0
fi

finish
