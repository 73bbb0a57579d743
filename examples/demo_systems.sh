#!/bin/bash
# demo_systems.sh BUILD NAME - one of the five example systems on a terminal, in under half a minute.
#
# What is limited, an admitted and a denied answer in full, and the change that is typical for it,
# made while its service runs.  Every figure that is said is checked; exit status 0 only if all
# were right.  rationd runs as a sandbox: where a month has to end, its clock is moved.
set -euo pipefail
build=$(cd "${1:?usage: demo_systems.sh BUILD-DIRECTORY NAME}" && pwd)
name=${2:?usage: demo_systems.sh BUILD-DIRECTORY NAME}
cd "$(dirname "${BASH_SOURCE[0]}")/.."
case $name in
mivicall | oxenty | fluxiq | aiempire | apviso) ;;
*)
	printf 'demo: %s: no such system\n' "$name" >&2
	exit 2
	;;
esac
# shellcheck source=examples/demo_common.sh
. examples/demo_common.sh

# run COMMAND...: shows it as one would type it
run() {
	local word line='$'
	for word in "$@"; do
		[[ $word =~ ^[A-Za-z0-9_./:=@%+,-]+$ ]] || word="'$word'"
		line+=" $word"
	done
	printf '%s\n' "$line"
	"$@"
}
# answer METHOD PATH KEY [curl options]: a response in full
answer() {
	local method=$1 path=$2 key=$3
	shift 3
	printf '$ curl -i -X %s -H "X-Api-Key: %s" %s\n' "$method" "$key" "$path"
	curl --silent --include -X "$method" -H "X-Api-Key: $key" "$@" "$url$path" |
		tee "$RATION_DIR/answer" | sed 's/^/    /'
	printf '\n'
}
status() { sed -n '1s/^[^ ]* \([0-9]*\).*/\1/p' "$RATION_DIR/answer"; }
# burst N METHOD PATH KEY [curl options]: N requests at once; says and sets how many were let in
burst() {
	local n=$1 method=$2 path=$3 key=$4
	shift 4
	admitted=$(curl --silent --no-progress-meter --parallel --parallel-max 8 -X "$method" -H "X-Api-Key: $key" \
		-o /dev/null -w '%{http_code}\n' "$@" "$url$path?[1-$n]" | grep -c '^2' || true)
	printf '%d requests %s %s with %s at once: %d admitted, %d denied\n' "$n" "$method" "$path" "$key" \
		"$admitted" $((n - admitted))
}
peek() { ration --json show "$1" "$2" | jq -r "$3"; }
# used LIMIT KEY: "used of limit"
used() { peek "$1" "$2" '"\(.used) of \(.limit_units)"'; }
# To the start of a minute, so that none ends in the middle.
full_minute() { ration clock "+$((61 - $(date +%s) % 60))s" >/dev/null; }

demo_mivicall() {
	title 'Mivicall limits an API key by the minute and by the second, and an address besides'
	run ration routes
	run ration show api vendor-birch
	title 'an admitted answer'
	answer GET /v1/numbers mv_live_birch
	figure 'status' "$(status)" 200
	sleep 1.2
	title 'a second has 30, the minute 300: both count'
	burst 35 GET /v1/numbers mv_live_birch
	figure 'admitted in a second' "$admitted" 30
	answer GET /v1/numbers mv_live_birch
	figure 'status of the next' "$(status)" 429
	title 'a made-up key is nobody: only the address is counted, 100 a minute'
	curl --silent --parallel --no-progress-meter -H 'X-Api-Key: made-up' -H 'X-Forwarded-For: 203.0.113.9' \
		-o /dev/null -w '%{http_code}\n' "$url/v1/numbers?[1-120]" | sort | uniq -c
	figure 'counted on the address' "$(used per-ip 203.0.113.9)" '100 of 100'
	title 'the vendor has six active customers: his limit is raised, from the next request on'
	run ration set api '600/min, 60/s' --key vendor-birch --reason 'six active customers'
	sleep 1.2
	burst 35 GET /v1/numbers mv_live_birch
	figure 'admitted in a second after the raise' "$admitted" 35
	burst 35 GET /v1/numbers mv_live_cedar -H 'X-Forwarded-For: 203.0.113.10'
	figure 'admitted of another vendor' "$admitted" 30
	run ration show api vendor-birch
	figure 'the minute, with what was used before' "$(peek api vendor-birch '.rates[] | select(.window_s == 60) | "\(.used) of \(.limit_units)"')" '66 of 600'
}

demo_oxenty() {
	local worker pids
	title 'Oxenty: a plan with requests and messages, which are spent, and sessions and webhooks, which are held'
	run ration routes
	title 'an admitted answer: the session holds a permit of the limit for as long as it lives'
	answer POST /sessions ox_lima
	figure 'status' "$(status)" 201
	worker=$(sed -n 's/^X-Worker: \([0-9]*\).*/\1/p' "$RATION_DIR/answer")
	run ration show sessions shop-lima
	title 'a denied one: basic has one session, and no time helps'
	answer POST /sessions ox_lima
	figure 'status of a second session' "$(status)" 429
	title 'the plan is upgraded: it counts from the next request on'
	run ration plan shop-lima plus --reason 'bought plus'
	answer POST /sessions ox_lima
	figure 'status after the upgrade' "$(status)" 201
	figure 'sessions held' "$(used sessions shop-lima)" '2 of 3'
	sleep 1
	read -ra pids <"/proc/$service/task/$service/children" || true
	title "worker $worker is killed: its sessions are back"
	kill -KILL "${pids[worker]}"
	session_back() { (($(peek sessions shop-lima .used) < 2)); }
	await 'its session' session_back
	run ration show sessions shop-lima
	title 'a webhook is registered for as long as nobody removes it, over restarts too'
	answer POST /webhooks ox_puno
	figure 'status of the webhook' "$(status)" 201
	run ration leases
	end "$service" "$daemon"
	start_daemon --sandbox -f examples/oxenty.yaml
	start_service --system oxenty
	printf 'rationd and the service were restarted\n'
	answer POST /webhooks ox_puno
	figure 'status of a second webhook, after the restart' "$(status)" 429
}

demo_fluxiq() {
	title 'FluxiQ limits each endpoint by itself; environments multiply'
	run ration routes
	run ration show 'POST /boletos' padaria-sol:sandbox
	full_minute
	title 'an admitted answer'
	answer POST /boletos fq_test_padaria
	figure 'status' "$(status)" 201
	title 'the sandbox has a tenth: 10 a minute'
	burst 15 POST /boletos fq_test_padaria
	figure 'admitted in the sandbox, one before' "$admitted" 9
	answer POST /boletos fq_test_padaria
	figure 'status of the next' "$(status)" 429
	title 'the customer goes live: production, from the next request on; what was used stays used'
	run ration env padaria-sol:sandbox production --reason 'went live'
	burst 100 POST /boletos fq_test_padaria
	figure 'admitted in production' "$admitted" 90
	title 'a raise of this endpoint alone: asked for, with a promised answer, and approved'
	run ration request 'POST /boletos' --key padaria-sol:sandbox --to '150/min fixed' \
		--reason 'second bakery' --volume '20k slips a day'
	run ration approve 1 --reason 'known for years'
	burst 60 POST /boletos fq_test_padaria
	figure 'admitted after the raise' "$admitted" 50
	run ration list
}

demo_aiempire() {
	title 'AI Empire: ten resources by five tiers'
	run ration status
	title 'an admitted answer: a thousand tokens are reserved, thirty were needed, the rest is given back'
	answer POST /v1/llm ae_1 -d "{\"max_tokens\":1000,\"prompt\":\"$(printf 'x%.0s' {1..120})\"}"
	figure 'status' "$(status)" 200
	figure 'tokens used' "$(used llm.tokens clinic:1)" '30 of 500000'
	title "the month's messages are sent: the next is paused, not billed"
	run ration acquire whatsapp.out clinic:1 --cost 1.5k
	answer POST /v1/messages ae_1
	figure 'status of the next message' "$(status)" 429
	title 'upgraded in the middle of the month: the new cap at once, and what was used stays used'
	run ration plan clinic:1 growth --reason upgrade
	answer POST /v1/messages ae_1
	figure 'status after the upgrade' "$(status)" 202
	figure 'messages used' "$(used whatsapp.out clinic:1)" '1501 of 7500'
	run ration show whatsapp.out clinic:1
	title 'an enterprise has what was negotiated, and an entitlement is looked up'
	run ration show llm.tokens clinic:77
	figure 'tokens of the contract' "$(peek llm.tokens clinic:77 .limit_units)" 100000000
	answer GET /v1/retention ae_77
	figure 'the entitlement' "$(tail -n 1 "$RATION_DIR/answer")" '{"audit_log":"120 months"}'
	title 'the month ends (the clock of a sandbox can be moved)'
	run ration clock +31d
	figure 'messages used in the new month' "$(used whatsapp.out clinic:1)" '0 of 7500'
	run ration show whatsapp.out clinic:1
}

demo_apviso() {
	title 'APVISO: one limit, 120 a minute for an API key, in windows that start on the full minute'
	run ration show api team-lobo
	full_minute
	title 'an admitted answer'
	answer GET /v1/scans/7 av_lobo
	figure 'status' "$(status)" 200
	burst 150 GET /v1/scans/7 av_lobo
	figure 'admitted, one before' "$admitted" 119
	title 'a denied one'
	answer GET /v1/scans/7 av_lobo
	figure 'status of the 121st' "$(status)" 429
	title 'the customer signs: a limit of his own, from the next request on; what was used stays used'
	run ration set api '600/min fixed' --key team-lobo --reason 'enterprise contract of April'
	burst 500 GET /v1/scans/7 av_lobo
	figure 'admitted after the change' "$admitted" 480
	run ration show api team-lobo
	title 'and it can be written down'
	run ration diff --as-policy
}

title "rationd with examples/$name.yaml, four workers of api-server with examples/$name.json"
start_daemon --sandbox -f "examples/$name.yaml"
start_service --system "$name"
printf 'rationd is pid %s, the service %s\n' "$daemon" "$url"
"demo_$name"
finish
