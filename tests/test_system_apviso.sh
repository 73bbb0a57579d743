#!/bin/bash
# test_system_apviso.sh BUILD-ROOT - APVISO's one limit, row by row.  See system.sh.
# shellcheck source=tests/system.sh
. "$(dirname "$0")/system.sh"
start_daemon
start_service

# ---- 120 a minute for an API key, fixed window ----
aligned
boundary=$(($(now) / 60 * 60 + 60))
call GET /v1/targets av_lobo
is 'an admitted request: 200' "$code" 200
is 'an admitted request: the body' "$body" '{"targets":["staging.example.com"]}'
headers 'an admitted request' 120 119
is 'an admitted request: X-RateLimit-Reset is the full minute' "$(head_of X-RateLimit-Reset)" "$boundary"
is 'an admitted request: no Retry-After' "$(head_of Retry-After)" ''
is 'API key 120/min: requests 2 to 119 are admitted' "$(burst 118 GET /v1/scans/7 av_lobo)" 118x200
call POST /v1/scans av_lobo
is 'API key 120/min: the 120th is admitted' "$code" 202
headers 'the 120th' 120 0
call GET /v1/targets av_lobo
is 'API key 120/min: the 121st is denied' "$code" 429
headers 'the 121st' 120 0
is 'the 121st: X-RateLimit-Reset is the full minute' "$(head_of X-RateLimit-Reset)" "$boundary"
retry 'the 121st' 40 60
is 'the 121st: the body to the byte' "$body" \
	"{\"error\":\"rate_limit_exceeded\",\"message\":\"Too many requests. Please retry after the reset time.\",\"retryAfter\":$(head_of Retry-After)}"
is 'the 121st: Content-Type' "$(head_of Content-Type)" application/json
is 'as Authorization: Bearer the key is the same' \
	"$(burst 5 GET /v1/targets '' -H 'Authorization: Bearer av_lobo')" 5x429
is 'a denial costs nothing' "$(used api team-lobo)" 120
is 'another key meanwhile' "$(burst 3 GET /v1/targets av_zorro)" 3x200

# ---- After the window ----
clock "$(head_of Retry-After)"
call GET /v1/targets av_lobo
is 'API key 120/min: after Retry-After it is admitted' "$code" 200
headers 'the new window' 120 119
is 'the new window: X-RateLimit-Reset is the next minute' "$(head_of X-RateLimit-Reset)" $((boundary + 60))

# ---- Custom limits of enterprise customers ----
aligned
is 'enterprise by policy 600/min: 600 of 601' "$(burst 601 GET /v1/targets av_aurora)" '600x200 1x429'
is 'enterprise by policy: where it comes from' "$(peek api corp-aurora .origin)" \
	"$(grep -n 'key: corp-aurora' "$examples/apviso.yaml" | cut -d: -f1 | sed 's/.*/apviso.yaml:&: override, enterprise contract of March/')"
is 'enterprise by policy: fixed windows as well' "$(peek api corp-aurora .decided_by)" '600/min fixed'
is 'before a raise 120' "$(burst 121 GET /v1/targets av_zorro)" '120x200 1x429'
ration set api '300/min fixed' --key team-zorro --reason 'contract of April' >/dev/null
is 'a raise to 300/min in the middle of the window: what was used stays used' \
	"$(burst 181 GET /v1/targets av_zorro)" '180x200 1x429'
call GET /v1/targets av_zorro
headers 'after the raise' 300 0
is 'others keep 120' "$(limit_of api team-lobo)" 120
ration unset api --key team-zorro >/dev/null
is 'the raise taken back' "$(limit_of api team-zorro)" 120

# ---- Who is nobody ----
call GET /v1/targets ''
is 'no key: 401' "$code" 401
call GET /v1/targets av_nobody
is 'an unknown key: 401' "$code" 401
is 'an unknown key: the body' "$body" '{"error":"unauthorized","message":"Unknown or missing API key."}'
is 'an unknown key takes no place in the table' "$(ration --json list | jq '[.[] | select(.key == "av_nobody")] | length')" 0
call GET /v1/nothing av_lobo
is 'an unknown endpoint: 404' "$code" 404
is 'an unknown endpoint is counted' "$(head_of X-RateLimit-Limit)" 120

finish
