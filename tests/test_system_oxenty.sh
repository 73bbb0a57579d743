#!/bin/bash
# test_system_oxenty.sh BUILD-ROOT - Oxenty's plan and endpoints, row by row.  See system.sh.
# shellcheck source=tests/system.sh
. "$(dirname "$0")/system.sh"
start_daemon
start_service
id_of() { jq -r .id <<<"$body"; }
limited() {
	printf '{"statusCode":429,"error":"TOO_MANY_REQUESTS","message":"Rate limit exceeded. Try again in %s seconds.","retryAfter":%s}' \
		"$(head_of Retry-After)" "$(head_of Retry-After)"
}
in_use() { # TITLE
	printf '{"statusCode":429,"error":"TOO_MANY_REQUESTS","message":"Rate limit exceeded. %s: 1 of 1 in use.","retryAfter":null}' "$1"
}
clock_to "$(date -u -d "@$(($(now) + 86400))" +%F) 00:01 UTC" # a day that does not end meanwhile

# ---- Requests, 40 a minute ----
call GET /chats ox_lima
is 'an admitted request: 200' "$code" 200
is 'an admitted request: the body' "$body" '{"chats":[{"with":"+51900000001","unread":2}]}'
headers 'an admitted request' 40 39
is 'an admitted request: no Retry-After' "$(head_of Retry-After)" ''
is 'requests 40/min: 2 to 39 are admitted' "$(burst 38 GET /chats ox_lima)" 38x200
call GET /chats ox_lima
is 'requests 40/min: the 40th is admitted' "$code" 200
headers 'the 40th' 40 0
call GET /chats ox_lima
is 'requests 40/min: the 41st is denied' "$code" 429
headers 'the 41st' 40 0
retry 'the 41st' 50 65
is 'the 41st: the body to the byte' "$body" "$(limited)"
is 'the 41st: Content-Type' "$(head_of Content-Type)" application/json
is 'another key meanwhile' "$(burst 3 GET /chats ox_puno)" 3x200
clock "$(head_of Retry-After)"
call GET /chats ox_lima
is 'requests 40/min: after Retry-After it is admitted' "$code" 200

clock 70
burst 20 GET /chats ox_lima >/dev/null
clock 20
is 'requests 40/min: 20, and twenty seconds later 20 of 21' "$(burst 21 GET /chats ox_lima)" '20x200 1x429'
call GET /chats ox_lima
retry 'requests 40/min, when the first come back' 30 45

# ---- Endpoints of their own ----
endpoint() { # LIMIT METHOD PATH N STATUS
	clock 70
	is "$1: $4 of $(($4 + 1))" "$(burst $(($4 + 1)) "$2" "$3" ox_lima)" "$4x$5 1x429"
	call "$2" "$3" ox_lima
	is "$1: the next is denied" "$code" 429
	headers "$1, denied" "$4" 0
	retry "$1" 50 66
	is "$1: the body to the byte" "$body" "$(limited)"
	is "$1: the denied cost no request" "$(used requests shop-lima)" "$4"
	clock "$(head_of Retry-After)"
	call "$2" "$3" ox_lima
	is "$1: after Retry-After it is admitted" "$code" "$5"
}
endpoint 'GET /contacts/check 10/min' GET /contacts/check 10 200
endpoint 'POST /groups 3/min' POST /groups 3 201

# ---- Active sessions: one, held while it lives ----
clock 70
call POST /sessions ox_lima
is 'sessions 1: the first opens' "$code" 201
first=$(id_of) worker=$(head_of X-Worker)
like 'sessions: an id' "$first" '^ses_[a-z0-9]{12}$'
call POST /sessions ox_lima
is 'sessions 1: the second is denied' "$code" 429
is 'sessions 1: the body to the byte' "$body" "$(in_use 'Active sessions')"
headers 'sessions 1, denied' 1 0
is 'sessions 1: no Retry-After, for no time helps' "$(head_of Retry-After)" ''
is 'sessions 1: one is held' "$(used sessions shop-lima)" 1
call POST /sessions ox_puno
is "sessions 1: another key's opens" "$code" 201
call DELETE "/sessions/$first" ox_puno
is "a stranger's session cannot be closed" "$code" 404
for try in 1 2 3 4 5 6; do # by whichever worker is asked
	call DELETE "/sessions/$first" ox_lima
	[[ $(head_of X-Worker) == "$worker" ]] || break
	[[ $try == 6 ]] || { call POST /sessions ox_lima && first=$(id_of) worker=$(head_of X-Worker); }
	clock 13
done
is 'a session is closed' "$code" 200
is 'a session is closed: the body' "$body" "{\"id\":\"$first\",\"status\":\"closed\"}"
call DELETE "/sessions/$first" ox_lima
is 'closed once' "$code" 404
is 'sessions 1: none is held' "$(used sessions shop-lima)" 0

# ---- POST /sessions, 5 a minute ----
clock 70
for i in 1 2 3 4 5; do
	call POST /sessions ox_lima
	is "POST /sessions 5/min: opened and closed, $i" "$code" 201
	call DELETE "/sessions/$(id_of)" ox_lima
done
call POST /sessions ox_lima
is 'POST /sessions 5/min: the 6th is denied' "$code" 429
headers 'POST /sessions 5/min, denied' 5 0
retry 'POST /sessions 5/min' 50 66
is 'POST /sessions 5/min: the body to the byte' "$body" "$(limited)"
is 'POST /sessions 5/min: a denied one holds no session' "$(used sessions shop-lima)" 0
clock "$(head_of Retry-After)"
call POST /sessions ox_lima
is 'POST /sessions 5/min: after Retry-After it opens' "$code" 201

# ---- A worker that dies takes its sessions with it ----
read -ra workers <<<"$(workers_of)"
victim=${workers[$(head_of X-Worker)]}
sleep 1 # a worker that dies within its first second ends the service
kill -KILL "$victim"
none_held() { [[ $(used sessions shop-lima) == 0 ]]; }
before=$(date +%s%N)
until_true none_held || true
took=$((($(date +%s%N) - before) / 1000000))
is 'a worker is killed: its session is back' "$(used sessions shop-lima)" 0
between 'a worker is killed: within two seconds (ms)' "$took" 0 2000
clock 70
call POST /sessions ox_lima
is 'a worker is killed: the next session opens' "$code" 201
call DELETE "/sessions/$(id_of)" ox_lima
is 'a worker is killed: and closes' "$code" 200

# ---- Webhooks registered: one, which lasts ----
call POST /webhooks ox_lima
is 'webhooks 1: registered' "$code" 201
hook=$(id_of)
call POST /webhooks ox_lima
is 'webhooks 1: the second is denied' "$code" 429
is 'webhooks 1: the body to the byte' "$body" "$(in_use 'Registered webhooks')"
headers 'webhooks 1, denied' 1 0
stop_service
start_service
is 'webhooks: still registered when the service was restarted' "$(used webhooks shop-lima)" 1
stop_daemon KILL
start_daemon
is 'webhooks: still registered when rationd was killed' "$(used webhooks shop-lima)" 1
call POST /webhooks ox_lima
is 'webhooks 1: denied after the restarts' "$code" 429
stop_service
stop_daemon
rm "$RATION_DIR"/*.counters "$RATION_DIR"/*.policy # as a restart of the host does
moved=0
start_daemon
start_service
is 'webhooks: still registered after a restart of the host' "$(used webhooks shop-lima)" 1
call POST /webhooks ox_lima
is 'webhooks 1: denied after it' "$code" 429
call DELETE "/webhooks/$hook" ox_puno
is "a stranger's webhook cannot be removed" "$code" 404
call DELETE "/webhooks/$hook" ox_lima
is 'webhooks: removed by its id' "$code" 200
call POST /webhooks ox_lima
is 'webhooks 1: the next is registered' "$code" 201

# ---- Messages, 480 a day ----
clock_to "$(date -u -d "@$(($(now) + 86400))" +%F) 00:01 UTC"
midnight=$(($(now) / 86400 * 86400 + 86400))
sent=''
for ((i = 0; i < 12; i++)); do
	n=40
	((i < 11)) || n=39
	sent+="$(burst "$n" POST /messages/send ox_lima) "
	clock 70
done
is 'messages 480/day: 479 in twelve minutes, as fast as the plan allows' "$sent" \
	"$(printf '40x202 %.0s' {1..11})39x202 "
call POST /messages/send ox_lima
is 'messages 480/day: the 480th is admitted' "$code" 202
is 'messages 480/day: the body' "$body" '{"status":"queued"}'
headers 'the 480th' 480 0
call POST /messages/send ox_lima
is 'messages 480/day: the 481st is denied' "$code" 429
headers 'the 481st' 480 0
is 'the 481st: X-RateLimit-Reset is midnight' "$(head_of X-RateLimit-Reset)" "$midnight"
retry 'the 481st' $((midnight - $(now) - 1)) $((midnight - $(now) + 1))
is 'the 481st: the body to the byte' "$body" "$(limited)"
call GET /chats ox_lima
is 'other requests go on' "$code" 200

# ---- The plan is upgraded, in the middle of the day ----
ration plan shop-lima plus --reason 'bought plus' >/dev/null
call POST /messages/send ox_lima
is 'upgraded: the next message is admitted at once' "$code" 202
is 'upgraded: what was used stays used' "$(used messages shop-lima) of $(limit_of messages shop-lima)" '481 of 2000'
call GET /chats ox_lima
is 'upgraded: 120 requests a minute' "$(head_of X-RateLimit-Limit)" 120
clock 70
call POST /sessions ox_lima
call POST /sessions ox_lima
is 'upgraded: a second session' "$code" 201
ration plan shop-lima - >/dev/null
call POST /messages/send ox_lima
is 'the upgrade taken back: denied again' "$code" 429
clock "$(head_of Retry-After)"
call POST /messages/send ox_lima
is 'messages 480/day: after midnight they are admitted' "$code" 202
is 'messages 480/day: of the new day' "$(used messages shop-lima)" 1

# ---- Plans and an override of the policy ----
is 'plus of the policy' "$(for l in requests messages sessions webhooks; do limit_of $l shop-arequipa; done | xargs)" '120 2000 3 5'
is 'a key without a plan is on basic' "$(for l in requests messages sessions webhooks; do limit_of $l shop-puno; done | xargs)" '40 480 1 1'
is 'an override of one key' "$(limit_of messages shop-cusco)" 600
call GET /chats ''
is 'no key: 401' "$code" 401
is 'no key: the body' "$body" '{"statusCode":401,"error":"UNAUTHORIZED","message":"Unknown or missing API key."}'

finish
