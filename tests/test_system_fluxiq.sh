#!/bin/bash
# test_system_fluxiq.sh BUILD-ROOT - FluxiQ's endpoints and environments, row by row.  See system.sh.
# shellcheck source=tests/system.sh
. "$(dirname "$0")/system.sh"
start_daemon
start_service
# The body of a denial; the request's id is looked at by itself.
limited() {
	printf '{"success":false,"error":{"code":"RATE_LIMITED","message":"Limite de requisicoes excedido","details":"Aguarde %s segundos antes de fazer novas requisicoes"},"meta":{"request_id":"req_#"}}' \
		"$(head_of Retry-After)"
}
without_id() { sed 's/"req_[a-z0-9]\{12\}"/"req_#"/' <<<"$body"; }
endpoints() {
	cat <<'LIST'
POST /boletos 100 10 201
PATCH /boletos/109000001 100 10 200
DELETE /boletos/109000001 100 10 200
POST /boletos/109000001/pay 100 10 200
GET /boletos 1000 100 200
GET /boletos/109000001 1000 100 200
GET /settlements 1000 100 200
GET /settlements/set_1 1000 100 200
GET /health 1000 100 200
LIST
}

# ---- Production ----
aligned
boundary=$(($(now) / 60 * 60 + 60))
while read -r method path n _ status; do
	is "production $method $path $n/min: $n of $((n + 1))" \
		"$(burst $((n + 1)) "$method" "$path" fq_live_padaria)" "${n}x$status 1x429"
done < <(endpoints)
while read -r method path n _; do
	call "$method" "$path" fq_live_padaria
	is "$method $path, denied: status, Limit, Remaining, Reset on the full minute" \
		"$code $(head_of X-RateLimit-Limit) $(head_of X-RateLimit-Remaining) $(head_of X-RateLimit-Reset)" \
		"429 $n 0 $boundary"
	is "$method $path, denied: the body to the byte" "$(without_id)" "$(limited)"
done < <(endpoints)
is 'denied: Content-Type' "$(head_of Content-Type)" application/json
between 'denied: Retry-After leads to the full minute' "$(($(now) + $(head_of Retry-After)))" $((boundary - 1)) $((boundary + 1))
first=$(jq -r .meta.request_id <<<"$body")
like 'denied: a request id' "$first" '^req_[a-z0-9]{12}$'
call GET /health fq_live_padaria
[[ $(jq -r .meta.request_id <<<"$body") != "$first" ]] && fine 'denied: each has its own id' || wrong 'denied: each has its own id'
call POST /boletos fq_live_padaria
is 'POST /boletos and GET /boletos are counted apart' "$(used 'POST /boletos' padaria-sol) $(used 'GET /boletos' padaria-sol)" '100 1000'
is 'the slips of a key share a limit' "$(burst 2 GET "/boletos/1090000" fq_live_padaria)" 2x429
clock $((boundary - $(now) - 2))
call POST /boletos fq_live_padaria
is 'fixed window: two seconds before the full minute still denied' "$code $(head_of X-RateLimit-Reset)" "429 $boundary"
clock "$(head_of Retry-After)"
call POST /boletos fq_live_padaria
is 'fixed window: after Retry-After admitted' "$code" 201
headers 'fixed window: the new one' 100 99
is 'fixed window: Reset is the next full minute' "$(head_of X-RateLimit-Reset)" $((boundary + 60))
is 'an admitted request: no Retry-After' "$(head_of Retry-After)" ''
is 'an admitted request: the body' "$(without_id)" \
	'{"success":true,"data":{"nosso_numero":"109000001","valor":150.0},"meta":{"request_id":"req_#"}}'
aligned
is 'fixed window: all 100 are back on the full minute' "$(burst 101 POST /boletos fq_live_padaria)" '100x201 1x429'

# ---- POST /settlements/trigger, 10 an hour ----
aligned 3600
hour=$(($(now) / 3600 * 3600 + 3600))
is 'production POST /settlements/trigger 10/hour: 10 of 11' "$(burst 11 POST /settlements/trigger fq_live_padaria)" '10x202 1x429'
clock 1800
call POST /settlements/trigger fq_live_padaria
is 'half an hour later still denied, Reset on the full hour' \
	"$code $(head_of X-RateLimit-Limit) $(head_of X-RateLimit-Remaining) $(head_of X-RateLimit-Reset)" "429 10 0 $hour"
between 'Retry-After leads to the full hour' "$(($(now) + $(head_of Retry-After)))" $((hour - 1)) $((hour + 1))
is 'trigger, denied: the body to the byte' "$(without_id)" "$(limited)"
clock "$(head_of Retry-After)"
is 'on the full hour it is admitted' "$(burst 10 POST /settlements/trigger fq_live_padaria)" 10x202

# ---- Sandbox: a tenth ----
aligned
while read -r method path _ n status; do
	is "sandbox $method $path $n/min: $n of $((n + 1))" \
		"$(burst $((n + 1)) "$method" "$path" fq_test_padaria)" "${n}x$status 1x429"
done < <(endpoints)
aligned 3600
is 'sandbox POST /settlements/trigger 1/hour: 1 of 2' "$(burst 2 POST /settlements/trigger fq_test_padaria)" '1x202 1x429'
call POST /boletos fq_test_padaria
headers 'sandbox' 10 9
is 'production has its own figures meanwhile' "$(used 'POST /boletos' padaria-sol)" 0

# ---- Local: unlimited ----
while read -r method path n _ status; do
	((n < 1000)) || continue
	is "local $method $path: $((2 * n)) of $((2 * n))" "$(burst $((2 * n)) "$method" "$path" fq_local_padaria)" "$((2 * n))x$status"
done < <(endpoints)
is 'local GET /boletos: 1200 of 1200' "$(burst 1200 GET /boletos fq_local_padaria)" 1200x200
is 'local POST /settlements/trigger: 12 of 12' "$(burst 12 POST /settlements/trigger fq_local_padaria)" 12x202
is 'local is counted all the same' "$(peek 'GET /boletos' padaria-sol:local .admitted_total)" 1200
call GET /boletos fq_local_padaria
is 'local: no figures in headers' "$(head_of X-RateLimit-Limit)$(head_of X-RateLimit-Remaining)" ''

# ---- Going live, and a raise, in the middle of a window ----
aligned
is 'sandbox: 10 of 11' "$(burst 11 POST /boletos fq_test_padaria)" '10x201 1x429'
ration env padaria-sol:sandbox production --reason 'went live' >/dev/null
is 'now in production: 90 more of 91' "$(burst 91 POST /boletos fq_test_padaria)" '90x201 1x429'
ration env padaria-sol:sandbox - >/dev/null
is 'back in the sandbox' "$(limit_of 'POST /boletos' padaria-sol:sandbox)" 10
call POST /boletos fq_live_mercado
headers 'a raise of the policy' 500 499
is 'a raise is of its endpoint alone' "$(limit_of 'PATCH /boletos/:nosso_numero' mercado-norte)" 100
aligned
is 'before a raise 100 of 101' "$(burst 101 POST /boletos fq_live_padaria)" '100x201 1x429'
ration request 'POST /boletos' --key padaria-sol --to '150/min fixed' --reason Natal --volume 20k/day >/dev/null
request() { ration --json requests --all | jq -r ".requests[0]$1"; }
is 'a raise is asked for: it is answered in five business days of a standard account' \
	"$(($(request .left_s) >= 5 * 86400 && $(request .left_s) <= 11 * 86400))" 1
is 'and nothing has changed' "$(limit_of 'POST /boletos' padaria-sol)" 100
ration approve 1 --reason 'raise 2311' >/dev/null
is 'it is granted' "$(request .state)" approved
is 'raised to 150: 50 more of 51' "$(burst 51 POST /boletos fq_live_padaria)" '50x201 1x429'
ration set 'POST /boletos' '200/min fixed' --plan standard --reason 'everybody' >/dev/null
is 'a raise of the plan is multiplied by the environment' "$(limit_of 'POST /boletos' padaria-sol:sandbox)" 20

# ---- Paths that are written otherwise ----
aligned
for path in '/%62oletos' /boletos// '/boletos?page=2' '/./boletos' /x/../boletos; do
	call GET "$path" fq_live_padaria --path-as-is
	is "GET $path: served only as what it is counted as" "$code $(head_of X-RateLimit-Limit)" \
		"$([[ $path == *.* ]] && echo 404 || echo 200) 1000"
done
is 'they are all GET /boletos' "$(used 'GET /boletos' padaria-sol)" 5
for path in /boletos/.. /boletos/%2e%2e /boletos%2F109000001 /Boletos; do
	call GET "$path" fq_live_padaria --path-as-is
	is "GET $path: no route, and not served" "$code $(head_of X-RateLimit-Limit)" '404 '
done

# ---- Who is nobody ----
call GET /boletos ''
is 'no key: 401' "$code" 401
is 'no key: the body' "$(without_id)" \
	'{"success":false,"error":{"code":"UNAUTHORIZED","message":"Chave de API ausente ou desconhecida"},"meta":{"request_id":"req_#"}}'

finish
