#!/bin/bash
# test_system_mivicall.sh BUILD-ROOT - Mivicall's table, row by row.  See system.sh.
# shellcheck source=tests/system.sh
. "$(dirname "$0")/system.sh"
start_daemon
start_service

# from ADDRESS: curl options of a request that a proxy passed on
from() { printf 'X-Forwarded-For: %s' "$1"; }
# spend N KEY ADDRESS: N requests in rounds of 30, as much as a second allows; into $spent what burst prints
spend() {
	local left=$1 n
	while ((left > 0)); do
		n=$((left < 30 ? left : 30)) left=$((left - 30))
		clock 2
		spent+="$(burst "$n" GET /v1/numbers "$2" -H "$(from "$3")") "
	done
}
limited() { # WHO UNITS PER
	printf '{"error":"rate_limit_exceeded","message":"%s exceeded %s req/%s. Retry in %s seconds.","retryAfter":%s}' \
		"$@" "$(head_of Retry-After)" "$(head_of Retry-After)"
}

# ---- An admitted request ----
call GET /v1/numbers mv_live_birch -H "$(from 198.51.100.1)"
is 'an admitted request: 200' "$code" 200
is 'an admitted request: the body' "$body" \
	'{"numbers":[{"number":"+34600000017","region":"ES"},{"number":"+351210000042","region":"PT"}]}'
headers 'an admitted request' 300 299
between 'an admitted request: X-RateLimit-Reset, when all has come back' "$(head_of X-RateLimit-Reset)" \
	$(($(now) + 59)) $(($(now) + 66))
is 'an admitted request: no Retry-After' "$(head_of Retry-After)" ''

# ---- API key, 30 in a second, beside the minute ----
clock 70
is 'API key 30/s: 30 of 35 at once' "$(burst 35 GET /v1/numbers mv_live_birch -H "$(from 198.51.100.1)")" '30x200 5x429'
call GET /v1/numbers mv_live_birch -H "$(from 198.51.100.2)"
is 'API key 30/s: the next is denied' "$code" 429
headers 'denied by the second, the minute is shown' 300 270
retry 'API key 30/s' 1 3
is 'API key 30/s: the body to the byte' "$body" "$(limited 'API key' 30 s)"
is 'API key 30/s: Content-Type' "$(head_of Content-Type)" application/json
is 'API key 30/s: the denied cost nothing' "$(used api vendor-birch)" 30
clock "$(head_of Retry-After)"
call GET /v1/numbers mv_live_birch -H "$(from 198.51.100.2)"
is 'API key 30/s: after Retry-After it is admitted' "$code" 200
headers 'two windows at once: the minute has gone on' 300 269

# ---- API key, 300 in a minute ----
clock 70
spent=''
for i in 1 2 3; do spend 90 mv_live_birch "198.51.100.1$i"; done
is 'API key 300/min: 270 in nine seconds of 30 are admitted' "$spent" \
	'30x200 30x200 30x200 30x200 30x200 30x200 30x200 30x200 30x200 '
clock 2
is 'API key 300/min: 271 to 299 are' "$(burst 29 GET /v1/numbers mv_live_birch -H "$(from 198.51.100.14)")" 29x200
clock 2
call GET /v1/numbers mv_live_birch -H "$(from 198.51.100.14)"
is 'API key 300/min: the 300th is admitted' "$code" 200
headers 'the 300th' 300 0
call GET /v1/numbers mv_live_birch -H "$(from 198.51.100.15)"
is 'API key 300/min: the 301st is denied' "$code" 429
headers 'the 301st' 300 0
retry 'the 301st' 35 50
is 'the 301st: the body to the byte' "$body" "$(limited 'API key' 300 min)"
is 'another key meanwhile' "$(burst 3 GET /v1/numbers mv_live_cedar -H "$(from 198.51.100.15)")" 3x200
call GET /v1/numbers '' -H "$(from 198.51.100.15)" -H 'Authorization: Bearer mv_live_birch'
is 'the same key as Authorization: Bearer' "$code" 429

# ---- A raise, while it is denied ----
ration set api '600/min, 60/s' --key vendor-birch --reason '6 active customers' >/dev/null
call GET /v1/numbers mv_live_birch -H "$(from 198.51.100.15)"
is 'raised to 600/min: admitted at once' "$code" 200
headers 'raised to 600/min, 300 stay used' 600 299
is 'the other key keeps 300 and 30' "$(peek api vendor-cedar '[.rates[].limit_units] | sort | join(" ")')" '30 300'
ration unset api --key vendor-birch >/dev/null
call GET /v1/numbers mv_live_birch -H "$(from 198.51.100.15)"
is 'the raise taken back: denied again' "$code" 429
clock "$(head_of Retry-After)"
call GET /v1/numbers mv_live_birch -H "$(from 198.51.100.15)"
is 'API key 300/min: after Retry-After it is admitted' "$code" 200
clock 70
call GET /v1/numbers mv_live_birch -H "$(from 198.51.100.15)"
headers 'a minute later all has come back' 300 299
call GET /v1/numbers mv_live_harbor -H "$(from 198.51.100.16)"
headers 'a vendor raised by policy' 900 899
is 'a vendor raised by policy: both windows' "$(peek api vendor-harbor '[.rates[].rate] | sort | join(" ")')" '90/s 900/min'

# ---- IP address, 100 in a minute, also when the key is unknown ----
clock 70
is 'IP 100/min: 100 of 101 with unknown keys' "$(burst 101 GET /v1/numbers mv_made_up -H "$(from 203.0.113.1)")" '100x401 1x429'
call GET /v1/numbers '' -H "$(from 203.0.113.1)"
is 'IP 100/min: without a key it is the same' "$code" 429
is 'IP 100/min: the body to the byte' "$body" "$(limited 'IP address' 100 min)"
headers 'nobody has only the limit of the address' 100 0
retry 'IP 100/min' 55 66
is 'unknown keys take no place in the table' \
	"$(ration --json list | jq '[.[] | select(.key | test("made_up"))] | length')" 0
call GET /v1/numbers mv_live_cedar -H "$(from 203.0.113.1)"
is 'IP 100/min: a good key from that address is denied too' "$code" 429
is 'IP 100/min: and told why' "$body" "$(limited 'IP address' 100 min)"
is 'IP 100/min: X-RateLimit-Limit is 300 in every response to a key' "$(head_of X-RateLimit-Limit)" 300
call GET /v1/numbers mv_live_cedar -H "$(from 203.0.113.2)"
is 'the same key from another address' "$code" 200
headers 'it was not charged by the denial' 300 299
clock 70
is 'IP 100/min: a minute later' "$(burst 100 GET /v1/numbers '' -H "$(from 203.0.113.1)")" 100x401

# ---- One client, one address ----
clock 70
for address in '203.0.113.9' '::ffff:203.0.113.9' '192.0.2.66, 203.0.113.9' '203.0.113.9, 127.0.0.1'; do
	call GET /v1/numbers '' -H "$(from "$address")"
done
is 'IPv4, mapped, behind what it wrote itself, by two proxies: one key' "$(used per-ip 203.0.113.9)" 4
for address in 2001:db8:1:2::1 2001:0DB8:1:2:ffff::; do call GET /v1/numbers '' -H "$(from "$address")"; done
is 'IPv6 counts by /64' "$(used per-ip 2001:db8:1:2::/64)" 2
call GET /v1/numbers '' -H 'Forwarded: for="[2001:db8:1:2::77]:4711";proto=https'
is 'Forwarded as well' "$(used per-ip 2001:db8:1:2::/64)" 3
call GET /v1/numbers '' -H "X-Forwarded-For: $(printf '%03000d' 7), 203.0.113.200"
is 'however long a client makes X-Forwarded-For' "$(used per-ip 203.0.113.200)" 1
call GET /v1/numbers ''
is 'without a proxy it is the peer' "$(used per-ip 127.0.0.1)" 1

# ---- Webhooks: unlimited, counted ----
is 'webhooks: 30 calls begin' "$(burst 30 POST /v1/calls mv_live_cedar -H "$(from 203.0.113.3)")" 30x201
is 'webhooks: counted' "$(peek webhooks vendor-cedar .admitted_total)" 30
is 'webhooks: unlimited' "$(peek webhooks vendor-cedar .limit_units)" null

# ---- Cache hints: five minutes, an hour, an hour, 30 seconds, none ----
while read -r path hint; do
	call GET "$path" mv_live_harbor -H "$(from 203.0.113.4)"
	is "cache hint of $path" "$(head_of Cache-Control)" "$hint"
done <<'LIST'
/v1/numbers max-age=300
/v1/regions max-age=3600
/v1/prices max-age=3600
/v1/presence/34600000017 max-age=30
/v1/calls/call_1 no-store
LIST

finish
