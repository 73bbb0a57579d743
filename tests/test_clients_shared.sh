#!/bin/bash
# test_clients_shared.sh BUILD-ROOT - four processes are clients of one upstream, with Ration between
# them and without.
#
# The upstream is the example service with its own rationd, as on another host; the clients have
# another instance, which knows of the upstream only what it answers.  Denials are counted by the
# upstream, not by who was denied.
system=fluxiq
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
cat >"$top/clients.yaml" <<'END'
limits: {}
END
rationd --dir "$server" -f "$top/upstream.yaml" >>"$top/rationd.log" 2>&1 &
daemon=$!
rationd --dir "$local" -f "$top/clients.yaml" >>"$top/clients.log" 2>&1 &
others+=($!)
RATION_DIR=$server until_true answers_as "$daemon" || die 'rationd of the upstream did not start'
RATION_DIR=$local until_true answers_as "${others[0]}" || die 'rationd of the clients did not start'
RATION_DIR=$server
start_service
RATION_DIR=$top

# What the upstream has counted of a key
counted() { # KEY MEMBER
	ration --json list 'POST /boletos' | jq "[.[] | select(.key == \"$1\") | .$2] | add // 0"
}
at_server() { RATION_DIR=$server "$@"; }
four() { # KEY REQUESTS [options]: into figures
	local key=$1 n=$2
	shift 2
	figures=$(node "$clients/processes.mjs" 4 fluxiq.mjs --url "$url" --key "$key" --requests "$n" \
		--at-once 4 "$@" 2>"$top/pids") || true
	printf '   %s\n' "$figures"
}
figure() { jq -r "$1" <<<"$figures"; }

# ---- Without: each finds out by itself ----
four fq_live_padaria 30
is 'without Ration: all answered in the end' "$(figure '[.requests, .answered, .too_early] | join(" ")')" '120 120 0'
between 'without Ration: denied, by the upstream' "$(at_server counted padaria-sol denied_total)" 2 1000

# ---- With: nobody is denied ----
four fq_live_mercado 30 --ration fluxiq --dir "$local"
is 'with Ration: all answered' "$(figure '[.requests, .answered, .too_early] | join(" ")')" '120 120 0'
is 'with Ration: denied, by the upstream' "$(at_server counted mercado-norte denied_total)" 0
is 'with Ration: each was sent once' "$(figure .sent)" 120
between 'with Ration: 120 of 40 in 2 s took (ms)' "$(figure '.took_s * 1000 | floor')" 2000 8000
finish
