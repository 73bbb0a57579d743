#!/bin/bash
# test_clients_shared.sh BUILD-ROOT limit|breaker - four processes are clients of one upstream, with Ration between
# them and without.
#
# The upstream is the example service with its own rationd, as on another host; the clients have
# another instance, which knows of the upstream only what it answers.  Denials are counted by the
# upstream, not by who was denied.  With "breaker" the upstream is one that falls ill (upstream.mjs).
system=fluxiq part=${2:-limit}
# shellcheck source=tests/system.sh
. "$(dirname "$0")/system.sh"
clients=$examples/clients
export RATION_NODE=$build/examples/clients/ration.node
command -v node >/dev/null || die 'no node: install nodejs'
[[ -e $RATION_NODE ]] || die 'ration.node was not built, for there was no node_api.h: install libnode-dev (./dev setup), and configure again'

# ---- Two hosts ----
top=$RATION_DIR server=$RATION_DIR/server local=$RATION_DIR/local
mkdir -m 700 "$server" "$local"
sed '/^overrides:/,$d; s|^  POST /boletos: .*|  POST /boletos: {rates: 40/2s fixed}|' "$examples/fluxiq.yaml" >"$top/upstream.yaml"
# Fewer than one client asks for: none of them has ended when one is killed.
printf 'overrides:\n  - {key: mercado-norte, limit: POST /boletos, rates: 20/s fixed}\n' >>"$top/upstream.yaml"
cat >"$top/clients.yaml" <<'END'
upstreams:
  fluxiq: {}
  frail: {breaker: {failures: 5, open: 500ms}}
END
start_rationd() { # DIR FILE: its pid into started
	rationd --dir "$1" -f "$2" >>"$1.log" 2>&1 &
	started=$!
	RATION_DIR=$1 until_true answers_as "$started" || die "rationd of $1 did not start"
}
start_rationd "$local" "$top/clients.yaml"
others+=("$started")

# What the upstream has counted of all keys: admitted_total or denied_total
counted() { RATION_DIR=$server ration --json list 'POST /boletos' | jq "map(.$1) | add // 0"; }
four() { # KEY REQUESTS [options]: into figures
	local key=$1 n=$2
	shift 2
	figures=$(node "$clients/processes.mjs" 4 fluxiq.mjs --url "$url" --key "$key" --requests "$n" \
		--at-once 4 "$@" 2>"$top/pids") || true
	printf '   %s\n' "$figures"
}
figure() { jq -r "$1" <<<"$figures"; }
shared=(--ration fluxiq --dir "$local")

if [[ $part == limit ]]; then
	node --expose-gc "$(dirname "$0")/binding.mjs" "$RATION_NODE" "$local" && fine 'the binding by itself' ||
		wrong 'the binding by itself: see above'

	start_rationd "$server" "$top/upstream.yaml"
	daemon=$started
	RATION_DIR=$server
	start_service
	RATION_DIR=$top

	# ---- Without: each finds out by itself ----
	four fq_live_padaria 30
	is 'without Ration: all answered in the end, none too early' "$(figure '"\(.answered) \(.too_early)"')" '120 0'
	denied=$(counted denied_total)
	between 'without Ration: denied, by the upstream' "$denied" 1 1000

	# ---- With: nobody is denied ----
	four fq_live_padaria 20 "${shared[@]}"
	is 'with Ration: all answered, none too early' "$(figure '"\(.answered) \(.too_early)"')" '80 0'
	is 'with Ration: denied, by the upstream' $(($(counted denied_total) - denied)) 0
	is 'with Ration: each was sent once' "$(figure .sent)" 80
	between 'with Ration: 80 of 40 in 2 s took (ms; two windows, and a busy machine)' \
		"$(figure '.took_s * 1000 | floor')" 100 12000

	# ---- One is killed ----
	four fq_live_mercado 25 "${shared[@]}" >"$top/killed" &
	running=$!
	others+=("$running")
	begun() { (($(peek_used) >= 5)); }
	peek_used() { RATION_DIR=$server ration --json list 'POST /boletos' | jq 'map(select(.key == "mercado-norte").admitted_total) | add // 0'; }
	until_true begun || die 'the clients have not begun'
	victim=$(sed -n '2s/^process //p' "$top/pids")
	kill -KILL "$victim"
	wait "$running" || true
	figures=$(cat "$top/killed")
	printf '%s\n' "$figures"
	is 'one of four is killed: all of the other three answered' "$(figure '[.ended, .answered] | join(" ")')" '3 75'
	is 'one of four is killed: denied, by the upstream' $(($(counted denied_total) - denied)) 0
	finish
	exit
fi

# ---- The breaker: what arrives at an upstream that is ill ----
node "$(dirname "$0")/upstream.mjs" >"$top/arrivals" &
others+=($!)
until_true grep -q port "$top/arrivals" || die 'upstream.mjs did not start'
url=http://127.0.0.1:$(jq -r 'select(.port).port' "$top/arrivals")
arrivals() { jq -s "map(select(.phase)) | $1" "$top/arrivals"; }
four any 60 --ration frail --dir "$local"
is 'gone, then ill: all answered' "$(figure .answered)" 240
between 'while well: several at a time' "$(arrivals 'map(select(.phase == "well").under_way) | max')" 4 16
between 'while ill: probes' "$(arrivals 'map(select(.phase == "ill")) | length')" 2 6
is 'while ill: one at a time, of all processes' "$(arrivals 'map(select(.phase == "ill").under_way) | max')" 1
between 'while ill: not before the breaker is half-open again (ms between arrivals)' \
	"$(arrivals 'map(select(.phase == "ill").at) | [.[1:], .[:-1]] | transpose | map(.[0] - .[1]) | min')" 690 2500
between 'well again: until the probe is answered nothing else comes (ms)' \
	"$(arrivals '(map(.phase) | rindex("ill")) as $i | .[$i + 2].at - .[$i + 1].at')" 19 5000
finish
