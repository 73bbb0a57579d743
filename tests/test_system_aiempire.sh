#!/bin/bash
# test_system_aiempire.sh BUILD-ROOT - AI Empire's ten resources by five tiers, row by row.  See system.sh.
# shellcheck source=tests/system.sh
. "$(dirname "$0")/system.sh"
start_daemon
start_service

# tiers: the table.  Months count messages, tokens, bytes; minutes requests; the rest is held or looked up.
# Last: where the account's months end.
tiers() {
	cat <<'LIST'
ae_1 clinic:1 starter 1000 1500 500000 1000000 10000 60 30 5 100000000 12 Europe/Madrid
ae_7 clinic:7 growth 5000 7500 2500000 5000000 50000 300 100 25 500000000 24 Europe/Madrid
ae_8 clinic:8 scale 15000 22500 7500000 15000000 150000 600 200 100 2000000000 36 Europe/Madrid
ae_9 clinic:9 elite 50000 75000 25000000 50000000 500000 1200 500 500 10000000000 84 America/Mexico_City
ae_77 clinic:77 enterprise 200000 300000 100000000 200000000 2000000 5000 2000 2000 50000000000 120 Europe/Madrid
LIST
}
madrid() { TZ=Europe/Madrid date "$@"; }
# month_ends ZONE: the month under way, into month_end and paused_date
month_ends() {
	month_end=$(TZ=$1 date -d "$(TZ=$1 date -d "@$(now)" +%Y-%m-01) +1 month" +%s)
	paused_date=$(TZ=$1 date -d "@$month_end" +%F)
}
docs=https://docs.aiempire.example
paused() { # TITLE USED LIMIT
	printf '{"error":"quota_exceeded","message":"%s paused until %s: %s of %s used this month","paused_until":"%s","retry_after_seconds":%s,"docs_url":"%s/plans"}' \
		"$1" "$paused_date" "$2" "$3" "$(date -u -d "@$month_end" +%FT%TZ)" "$(head_of Retry-After)" "$docs"
}
burst_body() { # LIMIT
	printf '{"error":"rate_limit_exceeded","message":"API burst limit reached (%s/min)","retry_after_seconds":%s,"docs_url":"%s/limits"}' \
		"$1" "$(head_of Retry-After)" "$docs"
}
tokens() { head -c $((4 * $1)) /dev/zero | tr '\0' x; } # text of N tokens
llm() { # KEY MAX_TOKENS REAL_TOKENS
	call POST /v1/llm "$1" -d "{\"max_tokens\":$2,\"prompt\":\"$(tokens "$3")\"}"
}

# The tenth of a month, at noon: nothing ends by itself.
clock_to "$(madrid -d "$(madrid -d "@$(now)" +%Y-%m-01) +1 month +9 days" +%F) 12:00 UTC"

# ---- An admitted request ----
call GET /v1/contacts ae_7
is 'an admitted request: 200' "$code" 200
is 'an admitted request: the body' "$body" '{"contacts":[{"contact":"con_1","name":"Ana"}]}'
headers 'an admitted request' 300 299
is 'an admitted request: X-RateLimit-Window' "$(head_of X-RateLimit-Window)" 60
between 'an admitted request: X-RateLimit-Reset' "$(head_of X-RateLimit-Reset)" $(($(now) + 59)) $(($(now) + 66))
is 'an admitted request: no Retry-After' "$(head_of Retry-After)" ''

# ---- Sliding, and tolerant of bursts ----
clock 70
is 'growth: 200 GET at once' "$(burst 200 GET /v1/contacts ae_7)" 200x200
clock 20
is 'growth: twenty seconds later 100 of 101' "$(burst 101 GET /v1/contacts ae_7)" '100x200 1x429'
call GET /v1/contacts ae_7
retry 'growth, when the first come back' 30 45
is 'denied: X-RateLimit-Window' "$(head_of X-RateLimit-Window)" 60
is 'denied: Content-Type' "$(head_of Content-Type)" application/json
clock "$(head_of Retry-After)"
is 'growth: after Retry-After' "$(burst 200 GET /v1/contacts ae_7)" 200x200

# monthly RESOURCE TITLE KEY WHO TIER LIMIT COST curl options: all but COST is used by others already.
# COST fits, one unit more does not, and nothing of it is charged.
monthly() {
	local name=$1 title=$2 key=$3 who=$4 tier=$5 limit=$6 cost=$7 path=$8 what
	shift 8
	what="$tier $name $limit/month"
	take "$name" "$who" $((limit - cost))
	call POST "$path" "$key" "$@"
	is "$what: the last is admitted" "${code:0:2}" 20
	is "$what: all is used" "$(used "$name" "$who")" "$limit"
	call POST "$path" "$key" "$@"
	is "$what: one over is denied" "$code" 429
	is "$what: the body says until when" "$body" "$(paused "$title" "$limit" "$limit")"
	is "$what: Limit, Remaining, Reset at the month's end" \
		"$(head_of X-RateLimit-Limit) $(head_of X-RateLimit-Remaining) $(head_of X-RateLimit-Reset)" "$limit 0 $month_end"
	is "$what: X-RateLimit-Window is a month" "$(head_of X-RateLimit-Window)" 2678400
	is "$what: nothing is charged beyond" "$(used "$name" "$who")" "$limit"
}
head -c 1000 /dev/zero >"$RATION_DIR/upload"

while read -r key who tier in out llm emb hooks get post sockets files months zone; do
	clock 70
	month_ends "$zone"
	# ---- By minute ----
	is "$tier api.get $get/min: $get of $((get + 1))" "$(burst $((get + 1)) GET /v1/contacts "$key")" "${get}x200 1x429"
	call GET /v1/contacts "$key"
	is "$tier api.get $get/min: the next is denied" "$code $(head_of X-RateLimit-Limit) $(head_of X-RateLimit-Remaining) $(head_of X-RateLimit-Window)" \
		"429 $get 0 60"
	is "$tier api.get $get/min: the body to the byte" "$body" "$(burst_body "$get")"
	call POST /v1/contacts "$key"
	is "$tier: POST goes on beside GET" "$code $(head_of X-RateLimit-Limit)" "201 $post"
	is "$tier api.post $post/min: the rest of $post and one" "$(burst "$post" POST /v1/contacts "$key")" "$((post - 1))x201 1x429"
	call POST /v1/contacts "$key"
	is "$tier api.post $post/min: the body to the byte" "$body" "$(burst_body "$post")"
	retry "$tier api.post $post/min" 40 66
	clock 70
	# ---- By month ----
	monthly whatsapp.in 'WhatsApp inbound messages' "$key" "$who" "$tier" "$in" 1 /hooks/whatsapp
	monthly whatsapp.out 'WhatsApp outbound messages' "$key" "$who" "$tier" "$out" 1 /v1/messages
	monthly llm.tokens 'LLM tokens' "$key" "$who" "$tier" "$llm" 100 /v1/llm \
		-d "{\"max_tokens\":100,\"prompt\":\"$(tokens 100)\"}"
	monthly embeddings 'Embeddings tokens' "$key" "$who" "$tier" "$emb" 50 /v1/embeddings -d "{\"input\":\"$(tokens 50)\"}"
	monthly webhooks.out 'Outbound webhooks' "$key" "$who" "$tier" "$hooks" 1 /v1/events
	monthly files 'File uploads' "$key" "$who" "$tier" "$files" 1000 /v1/files --data-binary "@$RATION_DIR/upload"
	# ---- Looked up ----
	call GET /v1/retention "$key"
	is "$tier retention: $months months" "$body" "{\"audit_log\":\"$months months\"}"
	is "$tier sockets: $sockets" "$(limit_of sockets "$who")" "$sockets"
done < <(tiers)

# ---- Connections that are held ----
# hold KEY N: opens N connections, one after the other; how many were let in
fds=()
hold() {
	local fd line in=0 port=${url##*:}
	for ((i = 0; i < $2; i++)); do
		exec {fd}<>"/dev/tcp/127.0.0.1/$port"
		printf 'GET /v1/ws HTTP/1.1\r\nHost: x\r\nX-Api-Key: %s\r\n\r\n' "$1" >&"$fd"
		read -rt 10 line <&"$fd" || line=none
		if [[ $line == *' 200 '* ]]; then
			in=$((in + 1)) fds+=("$fd")
		else
			exec {fd}>&-
		fi
	done
	printf -v held %d "$in"
}
leave() { # N of the connections
	local fd
	for fd in "${fds[@]:0:$1}"; do exec {fd}>&-; done
	fds=("${fds[@]:$1}")
}
sockets_are() { [[ $(used sockets "$1") == "$2" ]]; }
clock 70
while read -r key who tier _ _ _ _ _ _ _ sockets _; do
	[[ $tier != enterprise ]] || continue
	hold "$key" $((sockets + 1))
	is "$tier sockets $sockets: $sockets of $((sockets + 1)) are open" "$held" "$sockets"
	call GET /v1/ws "$key"
	is "$tier sockets $sockets: the next is denied" "$code" 429
	is "$tier sockets $sockets: the body to the byte" "$body" \
		"{\"error\":\"too_many_connections\",\"message\":\"WebSocket connections: $sockets of $sockets open\",\"retry_after_seconds\":null,\"docs_url\":\"$docs/limits\"}"
	headers "$tier sockets, denied" "$sockets" 0
	leave 2
	until_true sockets_are "$who" $((sockets - 2)) || true
	hold "$key" 3
	is "$tier sockets $sockets: two left, two more come in" "$held" 2
	leave "${#fds[@]}"
	until_true sockets_are "$who" 0 || true
	is "$tier sockets: all left" "$(used sockets "$who")" 0
done < <(tiers)
clock 70
hold ae_8 100
read -ra workers <<<"$(workers_of)"
kill -KILL "${workers[@]}"
before=$(date +%s%N)
until_true sockets_are clinic:8 0 || true
is 'workers are killed: their connections are back' "$(used sockets clinic:8)" 0
between 'workers are killed: within two seconds (ms)' $((($(date +%s%N) - before) / 1000000)) 0 2000
leave 100
hold ae_8 2
is 'workers are killed: new ones come in' "$held" 2
leave 2

# ---- Tokens: an estimate, then what it was ----
clock_to "$(date -u -d "@$month_end" +%F) 12:00 UTC +10 days"
month_ends Europe/Madrid
is 'months: a new one begins with nothing used' \
	"$(for l in whatsapp.in whatsapp.out llm.tokens embeddings webhooks.out files; do used $l clinic:7; done | xargs)" '0 0 0 0 0 0'
llm ae_7 1000 30
is 'llm: reserved and used are told' "$body" '{"text":"Your appointment is on Monday.","reserved_tokens":1000,"used_tokens":30}'
is 'llm: the difference was given back' "$(used llm.tokens clinic:7)" 30
is 'llm: the request counts as one POST' "$(used api.post clinic:7)" 1
call POST /v1/llm ae_8 -d '{"prompt":"hello"}'
is 'llm: what does not say how much reserves a thousand' "$(jq -c '[.reserved_tokens, .used_tokens]' <<<"$body") $(used llm.tokens clinic:8)" '[1000,2] 2'
llm ae_7 10 200
is 'llm: more than the estimate is charged too' "$(used llm.tokens clinic:7)" 230
take llm.tokens clinic:7 $((2500000 - 230 - 99))
llm ae_7 100 1
is 'llm: an estimate above what is left is denied' "$code" 429
is 'llm: it says what is used' "$body" "$(paused 'LLM tokens' 2499901 2500000)"
llm ae_7 99 150
is 'llm: one that fits is served, and may owe' "$code $(used llm.tokens clinic:7)" '200 2500051'
llm ae_7 1 1
is 'llm: thereafter it is paused' "$code" 429
llm ae_7 3000000 1
is 'llm: one that never fits is told so' "$(jq -c '[.error, .paused_until, .retry_after_seconds]' <<<"$body")" '["quota_exceeded",null,null]'
is 'llm: and no Retry-After' "$(head_of Retry-After)" ''
head -c 10000000 /dev/zero >"$RATION_DIR/upload"
call POST /v1/files ae_1 --data-binary "@$RATION_DIR/upload"
is 'files: ten million bytes cost ten million' "$body $(used files clinic:1)" '{"file":"file_1","bytes":10000000} 10000000'

# ---- How far along ----
for percent in 59:0 1:60 20:80 15:95 5:100; do
	take whatsapp.in clinic:8 $((15000 * ${percent%:*} / 100))
	is "level ${percent#*:}" "$(peek whatsapp.in clinic:8 .level)" "${percent#*:}"
done

# ---- An upgrade in the middle of the month ----
take whatsapp.out clinic:1 1500
call POST /v1/messages ae_1
is 'starter whatsapp.out is used up: paused' "$code $body" "429 $(paused 'WhatsApp outbound messages' 1500 1500)"
is 'the decision says so too' "$(peek whatsapp.out clinic:1 .paused_until)" "$month_end"
ration plan clinic:1 growth --reason 'upgrade' >/dev/null
call POST /v1/messages ae_1
is 'upgraded to growth: admitted at once' "$code" 202
is 'upgraded to growth: the whole cap, what was used stays used' \
	"$(used whatsapp.out clinic:1) of $(limit_of whatsapp.out clinic:1)" '1501 of 7500'
call GET /v1/retention ae_1
is 'upgraded to growth: the entitlement too' "$body" '{"audit_log":"24 months"}'
call GET /v1/contacts ae_1
headers 'upgraded to growth: the minute too' 300 298
ration plan clinic:1 - >/dev/null
call POST /v1/messages ae_1
is 'the upgrade taken back: paused again' "$code" 429
take whatsapp.out clinic:9 75000
clock_to "@$((month_end - 2))"
call POST /v1/messages ae_1
is 'two seconds before the month ends in Madrid: still paused' "$code $(head_of X-RateLimit-Reset)" "429 $month_end"
clock "$(head_of Retry-After)"
call POST /v1/messages ae_1
is 'the month has ended in Madrid: admitted' "$code $(used whatsapp.out clinic:1)" '202 1'
call POST /v1/messages ae_9
month_ends America/Mexico_City
is 'the month has not ended in Mexico City: paused' "$code $body" "429 $(paused 'WhatsApp outbound messages' 75000 75000)"
like 'it is the account that is there' "$(peek whatsapp.out clinic:9 .origin)" \
	'^aiempire.yaml:[0-9]+: plan elite, timezone America/Mexico_City \(aiempire.yaml:[0-9]+\)$'
clock "$(head_of Retry-After)"
call POST /v1/messages ae_9
is 'the month has ended in Mexico City: admitted' "$code $(used whatsapp.out clinic:9)" '202 1'
month_ends America/Mexico_City
ration plan clinic:9 scale --reason 'downgrade' >/dev/null
is 'on another plan its months still end there' "$(peek whatsapp.out clinic:9 '"\(.used) of \(.limit_units) until \(.reset_at)"')" \
	"1 of 22500 until $month_end"
like 'and it says so' "$(peek whatsapp.out clinic:9 .origin)" 'plan scale, timezone America/Mexico_City \(aiempire.yaml:[0-9]+\)$'
ration plan clinic:9 - >/dev/null

# ---- Enterprise: what was negotiated, and what was not ----
is 'enterprise: where it comes from' "$(peek llm.tokens clinic:77 .origin)" \
	"$(grep -n 'clinic:77.*llm.tokens' "$examples/aiempire.yaml" | cut -d: -f1 | sed 's/.*/aiempire.yaml:&: override, contract 4711/')"
while read -r name method path; do
	call "$method" "$path" ae_78
	is "enterprise, nothing negotiated: $name is denied" "$code $(head_of Retry-After)" '429 '
done <<'LIST'
api.get GET /v1/contacts
api.post POST /v1/messages
whatsapp.in POST /hooks/whatsapp
LIST
ration set api.get 100/min --key clinic:78 --reason 'contract 4890' >/dev/null
ration set api.post 100/min --key clinic:78 --reason 'contract 4890' >/dev/null
call GET /v1/retention ae_78
is 'enterprise, nothing negotiated: no value' "$body" '{"audit_log":""}'
for path in llm embeddings messages events files; do
	call POST "/v1/$path" ae_78 -d '{}'
	is "enterprise, nothing negotiated: POST /v1/$path is denied" "$code" 429
done
ration set whatsapp.out 10k/month --key clinic:78 --reason 'contract 4890' >/dev/null
call POST /v1/messages ae_78
is 'enterprise, negotiated while it runs: admitted' "$code $(limit_of whatsapp.out clinic:78)" '202 10000'

# ---- Notifications: each once, with the policy's words; a reminder; an upgrade makes them new ----
told() { # all that was told of clinic:5, oldest first
	ration --json events clinic:5 |
		jq -r '[.events[] | "\(.type) \(.level) \(.action) of \(.limit_units)"] | join("; ")'
}
tells() { [[ $(told) == "$1" ]]; }
told_is() { # WHAT EXPECTED: within some seconds
	until_true tells "$2" || true
	is "$1" "$(told)" "$2"
}
take llm.tokens clinic:5 299999
take llm.tokens clinic:5 1
so_far='threshold 60 inform of 500000'
told_is 'at 60 % of the month: informed' "$so_far"
take llm.tokens clinic:5 100000
so_far+='; threshold 80 suggest an upgrade of 500000'
told_is 'at 80 %: an upgrade is suggested' "$so_far"
take llm.tokens clinic:5 1000
clock 172700
told_is 'before two days have passed: nothing more' "$so_far"
clock 101
so_far+='; reminder 80 suggest an upgrade of 500000'
told_is 'after two days in which nothing changed: reminded' "$so_far"
take llm.tokens clinic:5 99000
so_far+='; threshold 95 escalate of 500000; threshold 100 paused of 500000'
told_is 'at 100 %: escalated, and paused' "$so_far"
ration plan clinic:5 growth --reason upgrade >/dev/null
take llm.tokens clinic:5 1000000
so_far+='; threshold 60 inform of 2500000'
told_is 'upgraded, and at 60 % of the new cap: informed anew' "$so_far"

# ---- Who is nobody ----
call GET /v1/contacts ''
is 'no key: 401' "$code" 401
finish
