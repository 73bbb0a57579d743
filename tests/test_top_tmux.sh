#!/bin/bash
# test_top_tmux.sh BUILD-ROOT - the dashboard end to end: a real rationd, real keys pressed
# in a tmux of its own, and what then stands on the screen.
#
# Nothing sleeps for a guess: the dashboard writes its frame's number into the
# terminal's title, and a check is made again whenever that has moved.
set -euo pipefail
build=$(cd "${1:?build root}" && pwd)
PATH=$build/daemon:$build/tui:$PATH
RATION_DIR=$(mktemp -d /dev/shm/ration-top.XXXXXX)
export RATION_DIR TMUX_TMPDIR=$RATION_DIR TZ=UTC
unset RATION_INSTANCE NO_COLOR TMUX
socket=ration-top-$$-$RANDOM.0
seed=${SEED:-$RANDOM}
daemon='' bad=0 opened=0

tm() { tmux -L "$socket" -f /dev/null "$@"; }
wrong() {
	printf 'WRONG: %s\n--- screen\n' "$*"
	tm capture-pane -p 2>/dev/null | sed 's/ *$//' || true
	bad=$((bad + 1))
}
cleanup() {
	local status=$?
	trap - EXIT
	tm kill-server 2>/dev/null || true
	if [[ -n $daemon ]]; then
		kill "$daemon" 2>/dev/null || true
		wait "$daemon" 2>/dev/null || true
	fi
	if ((status)); then tail -n 30 "$RATION_DIR/log" || true; fi
	rm -rf "$RATION_DIR"
	exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

start_daemon() {
	local tries
	rationd -f "$RATION_DIR/p.yaml" "$@" >>"$RATION_DIR/log" 2>&1 &
	daemon=$!
	for ((tries = 0; tries < 1000; tries++)); do
		if [[ $(ration --json status 2>/dev/null | jq -r .pid 2>/dev/null) == "$daemon" ]]; then return; fi
		sleep 0.02
	done
	echo 'rationd: not there in 20 s'
	exit 1
}

# ---- the screen ----
frame() { tm display-message -p '#{pane_title}'; }
screen() { tm capture-pane -p; }
# sees REGEX: until it stands on the screen, 10 s at most
sees() {
	local tries last now
	for ((tries = 0; tries < 200; tries++)); do
		last=$(frame)
		if screen | grep -Eq -- "$1"; then return 0; fi
		# another frame, or a moment for one that takes no other
		for ((now = 0; now < 5; now++)); do
			[[ $(frame) == "$last" ]] || break
			sleep 0.01
		done
	done
	return 1
}
expect() { sees "$1" || wrong "${2:-not on the screen}: expected /$1/"; }
expect_not() { if screen | grep -Eq -- "$1"; then wrong "$2: found /$1/"; fi; }
press() { tm send-keys "$@"; }
text() { tm send-keys -l -- "$1"; }
equal() { [[ $2 == "$3" ]] || wrong "$1: found '$2', expected '$3'"; }
# The line (from 0) of the selected row.
marked() { screen | grep -n '^> ' | head -1 | sed 's/:.*//' | awk '{print $1 - 1}'; }
selected() { screen | sed -n 's/^> \([^ ]*\) .*/\1/p' | head -1; }
cursor_on_selection() {
	local tries
	for ((tries = 0; tries < 100; tries++)); do
		[[ $(tm display-message -p '#{cursor_y}') == "$(marked)" ]] && return
		sleep 0.02
	done
	wrong "$1: the cursor stands in line $(tm display-message -p '#{cursor_y}'), the selection in $(marked)"
}
resize() { tm resize-window -x "$1" -y "$2"; }
open_top() { # COLUMNS LINES [environment...] -- [options]
	local cols=$1 lines=$2 env=()
	shift 2
	while [[ $1 != -- ]]; do
		env+=("$1")
		shift
	done
	shift
	tm kill-server 2>/dev/null || true
	socket=${socket%.*}.$((++opened)) # a server that is leaving does not take new sessions
	tm new-session -d -x "$cols" -y "$lines" \
		"env RATION_TOP_FRAMES=1 LC_ALL=C.UTF-8 ${env[*]} ${command:-ration top} $*; echo status=\$?; exec cat"
	expect 'LIVE|STALE|deny' 'the dashboard did not come up'
}
limit_of() { ration --json show "$1" "$2" | jq -r .limit_units; }
used_of() { ration --json show "$1" "$2" | jq -r .used; }

cat >"$RATION_DIR/p.yaml" <<'YAML'
table: {keys: 4k}
plans: [starter, growth]
limits:
  api: 300/hour
  login: 100/hour
  tokens: {per: month, plans: [500k, 2.5M]}
assign: {"clinic:7": growth}
YAML
start_daemon
ration acquire login ip:203.0.113.9 --cost 100 >/dev/null
ration acquire login ip:198.51.100.77 --cost 97 >/dev/null
for i in 1 2 3 4 5 6 7 8; do ration acquire api "user:$i" --cost $((i * 20)) >/dev/null; done
ration acquire tokens clinic:7 --cost 1M >/dev/null
# A name that would set the title, clear the screen and colour it, if it could.
ration acquire api $'\033]2;pwned\a\033[2J\033[31mred' --cost 30 >/dev/null

# ---- first look ----
open_top 80 24 --
expect '^ration top  default  rw  up .* LIVE .*[0-9]{2}:[0-9]{2}:[0-9]{2}'
expect '^allow .*/s +deny .*/s +over 1 +keys 12'
expect '^  KEY +LIMIT +USED/LIMIT +USE%v +DENY/s +RESET'
expect '^> ip:203\.0\.113\.9 +login +100/100 +100 OVER'
expect '^  ip:198\.51\.100\.77 +login +97/100 +97 !!'
expect '^  \\033\]2;pwned\\007\\033\[2J' 'a hostile key is not shown escaped'
[[ $(frame) == ration-frame-* ]] || wrong "the title was changed: $(frame)"
cursor_on_selection 'at first'

# ---- sort ----
press '>'
expect 'USE% +DENY/sv'
press '<'
expect 'USE%v'
press I
expect 'USE%\^'
press I
expect 'USE%v'

# ---- the selection is a key ----
press +
expect 'every 1.0s'
press j j
expect '^> user:8'
cursor_on_selection 'after j j'
ration acquire api user:1 --cost 250 >/dev/null
expect '^  user:1 .*270/300' 'the order was never let go again'
equal 'the selection' "$(selected)" user:8
cursor_on_selection 'after the order changed'
press Enter
expect '^Key +user:8$'
expect '^From +.*p\.yaml:4'
expect '300/h[a-z]* +160/300'
press Escape
expect '^> user:8'

# ---- filter ----
press /
text 'limit:API'
expect '^Filter: limit:API .*0 of 12 match' 'capitals do not count'
press C-u
text 'limit:api use>40'
press Enter
expect '3 of 12 match'
expect_not 'ip:203' 'the filter let through what it should not'
press /
text ' use>>'
press Enter
expect 'filter, column' 'a wrong filter is not explained'
press Escape
expect '3 of 12 match'
press '\'
expect '12 of 12 match'

# ---- edit a key, undo ----
press /
text 'user:8'
press Enter
expect '^> user:8'
press e
expect 'api  user:8'
expect 'Cancel.*y changes this key'
press Enter
expect '1 of 12 match'
equal 'Enter on Cancel changed the limit' "$(limit_of api user:8)" 300
press e
expect 'y changes this key'
text '400/hour'
expect 'New +400/hour'
press Tab Tab Tab
text 'load test'
press Tab
text y
expect '\[Edit ok\] api user:8 300/hour -> 400/hour, reason: load test'
equal 'the limit after the edit' "$(limit_of api user:8)" 400
expect '^> user:8 .*160/400'
ration acquire api user:8 --cost 200 >/dev/null || wrong '360 of 400 was denied'
equal 'the audit' "$(ration --json audit | jq -r '[.. | .reason? // empty] | index("load test") != null')" true
press u
expect '\[Undo ok\]'
equal 'the limit after the undo' "$(limit_of api user:8)" 300

# ---- somebody else was faster ----
press e
expect 'y changes this key'
text '500/hour'
ration set api 350/hour --key user:8 --reason faster >/dev/null
press Tab Tab Tab Tab
text y
expect 'Changed meanwhile'
expect 'Now +350/hour'
equal 'a conflict changed the limit' "$(limit_of api user:8)" 350
text y
expect '\[Edit ok\]'
equal 'the limit after the second y' "$(limit_of api user:8)" 500
ration unset api --key user:8 >/dev/null

# ---- the whole limit wants its name ----
press 2
expect '^. api +300/hour'
press g
while ! screen | grep -q '^> api'; do press j; sees '^> '; done
press e
expect 'limit api \(9 keys\)'
text '310/hour'
press Tab
text y
expect "Type the limit's name"
equal 'the limit was changed without its name' "$(limit_of api user:1)" 300
text api
press Tab
text y
expect '\[Edit ok\] api 300/hour -> 310/hour'
equal 'the limit after its edit' "$(limit_of api user:1)" 310
press u
expect '\[Undo ok\]'
equal 'the limit after its undo' "$(limit_of api user:1)" 300

# ---- a plan, too; and ten times as much ----
press 1
press '\'
press /
text 'clinic'
press Enter
expect '^> clinic:7'
press e
expect 'plan growth \(1 key\)'
text '3M/month'
press Tab Space
expect '\[plan growth'
text y
expect "Type the limit's name"
text tokens
press Tab
text y
expect '\[Edit ok\] tokens growth 2.5M/month -> 3M/month'
equal "the plan's limit" "$(limit_of tokens clinic:7)" 3000000
press u
expect '\[Undo ok\]'
equal "the plan's limit after its undo" "$(limit_of tokens clinic:7)" 2500000
press e
expect 'Now +2.5M/month'
expect_not 'Confirm' 'the name is wanted for a change of one key'
text '26M/month'
expect 'Confirm' 'ten times as much does not want the name'
press Escape
press /
press C-u
text 'user:8'
press Enter
expect '^> user:8'

# ---- events and audit ----
press 5
expect '[0-9:]{8}  .*api'
press 6
expect 'set .*api.*300/hour'

# ---- reset ----
press 1
expect '^> user:8'
press x
expect 'Reset a key'
press Escape
expect '\? help'
equal 'a cancelled reset' "$(used_of api user:8)" 360
press x
expect 'y resets this key'
text y
expect '\[Reset ok\] api user:8'
equal 'used after the reset' "$(used_of api user:8)" 0
press '\'

# ---- sizes ----
press /
text 'user'
press Enter
expect '7 of 12 match'
press j j
expect '^> user:'
key=$(selected)
resize 140 40
expect 'LEFT +ALLOW/s +DENY/s'
expect 'Selected key .*Limits'
equal 'the selection at 140x40' "$(selected)" "$key"
resize 60 15
expect '^  KEY +LIMIT +USED/LIMIT +USE%v *$'
equal 'the selection at 60x15' "$(selected)" "$key"
resize 40 8
expect '^  KEY +USE%v *$'
cursor_on_selection 'at 40x8'
equal 'the selection at 40x8' "$(selected)" "$key"
resize 40 2
expect '^deny [0-9.-]+/s  over [0-9]+'
resize 10 1
expect '^d[0-9.-]+'
resize 80 24
expect '7 of 12 match'
equal 'the selection after all sizes' "$(selected)" "$key"
press '\'

# ---- rationd is killed, and comes back ----
kill -KILL "$daemon"
wait "$daemon" 2>/dev/null || true
expect 'STALE'
ration acquire api user:after --cost 299 >/dev/null
expect 'user:after .*299/300' 'the dashboard does not go on without rationd'
press e
expect 'rationd is not there'
start_daemon
expect ' rw .*LIVE'

# ---- rationd is stopped: said, and nothing hangs on it ----
kill -STOP "$daemon"
expect 'STALE'
press j
press k
press e
expect 'rationd is not there'
kill -CONT "$daemon"
expect ' rw .*LIVE'

# ---- pause ----
press p
expect 'PAUSED'
ration acquire api user:after --cost 1 >/dev/null
before=$(frame)
for ((i = 0; i < 100; i++)); do
	[[ $(frame) == "$before" ]] || break
	sleep 0.02
done
expect 'user:after .*299/300'
press p
expect 'user:after .*300/300'

# ---- random keys ----
RANDOM=$seed
printf 'SEED=%s\n' "$seed"
named=(Up Down Left Right PPage NPage Home End Tab BTab Enter Escape BSpace DC F1 C-u C-w)
end=$((SECONDS + ${RANDOM_KEYS_S:-5}))
pressed=0
while ((SECONDS < end)); do
	keys=()
	for ((i = 0; i < 12; i++)); do
		if ((RANDOM % 3 == 0)); then
			keys+=("${named[RANDOM % ${#named[@]}]}")
		else
			code=$((33 + RANDOM % 94))
			# q ends it, as it should; ; is tmux's own
			[[ $code == 113 || $code == 59 ]] || keys+=("$(printf "\\x$(printf %x "$code")")")
		fi
	done
	tm send-keys -- "${keys[@]}"
	((RANDOM % 20)) || resize $((1 + RANDOM % 150)) $((1 + RANDOM % 45))
	pressed=$((pressed + 12))
done
printf 'random keys: %s\n' "$pressed"
resize 80 24
press Escape
press Escape
press 1
expect '^allow |^Filter' 'after random keys'
expect_not 'status=' 'random keys ended the dashboard'
press Escape
press '\'
press 1
expect '^  KEY.*LIMIT' 'after random keys'

# ---- another segment takes the place of this one ----
ration reset tokens clinic:7 >/dev/null # as one of the random keys may have
ration acquire tokens clinic:7 --cost 1M >/dev/null
stop_daemon() {
	kill "$daemon"
	wait "$daemon" || true
}
open_top 80 24 --
stop_daemon
start_daemon --sandbox
ration clock +1d >/dev/null
stop_daemon
expect 'STALE'
start_daemon # a clock that was moved is no clock to go on with: a new segment
expect 'attached to the new one'
ration acquire api user:new --cost 60 >/dev/null
expect ' user:new .*60/300' 'the new segment is not shown'
expect '^> clinic:7 .*1M/2.5M' 'what was used of the month is not put back'
expect ' rw .*LIVE'

# ---- it ends as asked ----
press Escape
press q
expect 'status=0' 'q'

# ---- without a command it is the dashboard; ended from outside it gives the terminal back ----
command=ration open_top 80 24 --
expect '^  KEY +LIMIT'
shell=$(tm display-message -p '#{pane_pid}')
child=$(cat "/proc/$shell/task/$shell/children")
kill -TERM "${child%% *}"
expect 'status='

# ---- for those who may not, or do not want to ----
open_top 80 24 -- --readonly
expect ' ro '
press x
expect 'read-only: started with --readonly'
open_top 140 40 NO_COLOR=1 LC_ALL=C --
expect '#+-*'
if screen | LC_ALL=C grep -q '[^ -~]'; then wrong 'beyond ASCII without UTF-8'; fi
if tm capture-pane -pe | grep -qE $'\033\\[[0-9;]*(3[1-7]|9[0-7])m'; then wrong 'colours with NO_COLOR'; fi
open_top 80 24 TERM=vt100 --
expect '^> '

ration acquire api $'\033]2;pwned\a\033[2J\033[31mred' --cost 30 >/dev/null

# ---- without a terminal ----
out=$(ration top </dev/null | cat)
grep -Eq '^KEY +LIMIT +USED/LIMIT' <<<"$out" || wrong "no snapshot: $out"
grep -qF '\033]2;pwned' <<<"$out" || wrong 'a hostile key is not escaped in the snapshot'
equal 'JSON snapshots' "$(ration --json top -b -n 2 -d 1 -s key | jq -rs 'map(.keys | length == 3) | join(" ")')" 'true true'
rc=0
ration top -b -s nonsense 2>"$RATION_DIR/err" || rc=$?
equal 'a wrong column' "$rc" 2
grep -q nonsense "$RATION_DIR/err" || wrong 'a wrong column is not named'
rc=0
RATION_DIR=/nonexistent ration top -b 2>/dev/null || rc=$?
equal 'no segment' "$rc" 3

if ((bad)); then
	printf '%d wrong\n' "$bad"
	exit 1
fi
echo 'test_top_tmux: all as expected'
