#!/bin/bash
# test_usage_tmux.sh BUILD-ROOT - usage end to end: forty days by a sandbox's clock with known
# units in each quarter, then what ration usage draws in a tmux of its own, read back bar by bar.
#
# Nothing sleeps for a guess: the pane tells when the command has ended.
set -euo pipefail
build=$(cd "${1:?build root}" && pwd)
PATH=$build/daemon:$build/tui:$PATH
RATION_DIR=$(mktemp -d /dev/shm/ration-usage.XXXXXX)
export RATION_DIR TMUX_TMPDIR=$RATION_DIR TZ=UTC LC_ALL=C.UTF-8
unset RATION_INSTANCE NO_COLOR COLUMNS TMUX
socket=ration-usage-$$-$RANDOM.0
daemon='' bad=0 opened=0

tm() { tmux -L "$socket" -f /dev/null "$@"; }
wrong() {
	printf 'WRONG: %s\n' "$*"
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
equal() { [[ $2 == "$3" ]] || wrong "$1: found '$2', expected '$3'"; }

start_daemon() {
	local tries
	rationd -f "$RATION_DIR/p.yaml" --sandbox >>"$RATION_DIR/log" 2>&1 &
	daemon=$!
	for ((tries = 0; tries < 1000; tries++)); do
		if [[ $(ration --json status 2>/dev/null | jq -r .pid 2>/dev/null) == "$daemon" ]]; then return; fi
		sleep 0.02
	done
	echo 'rationd: not there in 20 s'
	exit 1
}

# ---- forty days: four calls a day, at 0, 6, 12 and 18 o'clock (UTC) ----
days=40 key='clinic:7'
units() { echo $((($1 + 1) * 100 + $2 * 10)); } # DAY QUARTER
denials() { echo $(($2 == 2 ? $1 % 3 : 0)); }

cat >"$RATION_DIR/p.yaml" <<'YAML'
plans: [small, big]
limits:
  llm: {per: month, plans: [10M, 20M]}
  api: 1000/min
assign: {"clinic:7": small, "clinic:8": big}
YAML
start_daemon
now=$(ration --json status | jq .now)
first=$(((now / 86400 + 1) * 86400)) # the next midnight is day 0
ration clock "+$((first + 30 - now))s" >/dev/null
for ((d = 0; d < days; d++)); do
	for ((q = 0; q < 4; q++)); do
		# Totals are as they were recorded last, which is before the clock is moved.
		if ((d == days - 1 && q == 3)); then ration acquire llm clinic:8 --cost 5 >/dev/null; fi
		if ((d > 0 || q > 0)); then ration clock +6h >/dev/null; fi
		ration acquire llm "$key" --cost "$(units "$d" "$q")" >/dev/null
		for ((i = $(denials "$d" "$q"); i > 0; i--)); do
			if ration acquire llm "$key" --cost 11M >/dev/null; then wrong '11M were admitted'; fi
		done
	done
done
ration acquire api "$key" --cost 1000 >/dev/null
if ration acquire api "$key" >/dev/null; then wrong '1001 were admitted'; fi
now=$(ration --json status | jq .now)
end=$((first + days * 86400 - 21600)) # the last call was at 18 o'clock
((now >= end && now < end + 900)) || wrong "the clock is at $now, expected just after $end"

# sum FROM units|denials: all since that Unix time
sum() {
	local d q t=0
	for ((d = 0; d < days; d++)); do
		for ((q = 0; q < 4; q++)); do
			if ((first + d * 86400 + q * 21600 >= $1)); then t=$((t + $($2 "$d" "$q"))); fi
		done
	done
	echo "$t"
}

# ---- the terminal ----
# draw COLUMNS LINES ARGUMENTS...: run ration usage there; all it printed comes to $screen
draw() {
	local columns=$1 lines=$2
	shift 2
	tm kill-server 2>/dev/null || true
	socket=${socket%.*}.$((++opened)) # a server that is leaving does not take new sessions
	tm new-session -d -x "$columns" -y "$lines" \
		"${environment:-env} ration usage $*; tmux -L $socket wait-for -S drawn; exec cat"
	timeout 20 tmux -L "$socket" wait-for drawn || wrong "ration usage $* does not end"
	screen=$(tm capture-pane -p -S - | sed 's/ *$//')
}
# The figures of a limit in the table, commas taken out.
figures() { awk -v limit="$1" '$1 == limit && NF == 7 { gsub(",", ""); $1 = ""; print substr($0, 2) }' <<<"$screen"; }
# plot LIMIT: its lines, from the title on
plot() { awk -v title="$1: " 'index($0, title) == 1 { on = 1 } on && NF == 0 { exit } on' <<<"$screen"; }
# number TEXT: of "800", "40k", "1.5M"
number() {
	local n=${1//[[:blank:]]/} unit
	unit=${n: -1} n=${n%[kMG]}
	case $unit in
	k) n=$(jq -n "$n * 1000") ;;
	M) n=$(jq -n "$n * 1000000") ;;
	esac
	echo "$n"
}
# read_plot LIMIT: $top, $height, and the eighths of each column in the array $seen
read_plot() {
	local lines line i glyph at glyphs=' ▁▂▃▄▅▆▇█'
	top='' height=0 seen=()
	mapfile -t lines < <(plot "$1")
	for line in "${lines[@]:1}"; do
		if [[ ${line:8:1} == ┼ ]]; then return; fi
		if [[ -z $top ]]; then top=$(number "${line:0:8}"); fi
		height=$((height + 1))
		line=${line:9}
		for ((i = 0; i < ${#line}; i++)); do
			glyph=${line:i:1}
			at=${glyphs%%"$glyph"*}
			((${#at} < 9)) || wrong "$1: '$glyph' is no bar"
			seen[i]=$((${seen[i]:-0} + ${#at}))
		done
	done
	wrong "$1: no axis in: ${lines[*]}"
}
# check_bars WHAT FROM SPAN BARS WIDE [SINCE]: do the bars from FROM on show what was used SINCE?
check_bars() {
	local what=$1 from=$2 span=$3 bars=$4 wide=$5 since=${6:-$2} want=() i t d q e most=0 fill
	for ((i = 0; i < bars; i++)); do want[i]=0; done
	for ((d = 0; d < days; d++)); do
		for ((q = 0; q < 4; q++)); do
			t=$((first + d * 86400 + q * 21600 - from))
			if ((t + from >= since)); then want[t / span]=$((${want[t / span]} + $(units "$d" "$q"))); fi
		done
	done
	for t in "${want[@]}"; do most=$((t > most ? t : most)); done
	read_plot llm
	((top >= most && top <= 2 * most)) || wrong "$what: the axis ends at $top, the most is $most"
	fill=$((wide > 2 ? wide - 1 : wide))
	for ((i = 0; i < bars; i++)); do
		e=$(((want[i] * 8 * height + top / 2) / top))
		if ((want[i] > 0 && e == 0)); then e=1; fi
		for ((t = 0; t < fill; t++)); do
			equal "$what: bar $i of $bars, ${want[i]} units of $top, column $t" "${seen[i * wide + t]:-0}" "$e"
		done
	done
	((${#seen[@]} <= bars * wide)) || wrong "$what: ${#seen[@]} columns, expected $bars bars of $wide"
}

quarter=$((now / 900 * 900 + 900)) hour=$((now / 3600 * 3600 + 3600)) day=$((first + days * 86400))
table="$(sum $((quarter - 86400)) units) $(sum $((quarter - 86400)) denials)"
table+=" $(sum $((hour - 7 * 86400)) units) $(sum $((hour - 7 * 86400)) denials)"
table+=" $(sum $((day - 30 * 86400)) units) $(sum $((day - 30 * 86400)) denials)"

for size in '80 24 6' '140 36 10'; do
	read -r columns lines want_height <<<"$size"
	draw "$columns" "$lines" "$key"
	equal "llm at $columns" "$(figures llm)" "$table"
	equal "api at $columns" "$(figures api)" '1000 1 1000 1 1000 1'
	equal "the first line at $columns" "$(head -1 <<<"$screen")" 'clinic:7, plan small'
	if grep -Eq ".{$((columns + 1))}" <<<"$screen"; then wrong "lines longer than $columns"; fi
	if ((columns == 80)); then
		check_bars '24h at 80' $(((quarter - 86400) / 1800 * 1800)) 1800 $((((quarter - 86400) % 1800 ? 1 : 0) + 48)) 1 $((quarter - 86400))
	else
		check_bars '24h at 140' $((quarter - 86400)) 900 96 1
	fi
	equal "lines of bars at $columns" "$height" "$want_height"
	draw "$columns" "$lines" "$key --last 7d"
	if ((columns == 80)); then
		begin=$(((hour - 7 * 86400) / 10800 * 10800))
		check_bars '7d at 80' "$begin" 10800 $(((hour - begin + 10799) / 10800)) 1 $((hour - 7 * 86400))
	else
		begin=$(((hour - 7 * 86400) / 7200 * 7200))
		check_bars '7d at 140' "$begin" 7200 $(((hour - begin + 7199) / 7200)) 1 $((hour - 7 * 86400))
	fi
	draw "$columns" "$lines" "$key --last 30d"
	check_bars "30d at $columns" $((day - 30 * 86400)) 86400 30 $(((columns - 9) / 30))
	equal "the title at $columns" "$(plot llm | head -1)" \
		"llm: $(printf "%'d" "$(sum $((day - 30 * 86400)) units)" | sed ':a; s/^\([0-9]\+\)\([0-9]\{3\}\)\(,\|$\)/\1,\2\3/; ta') admitted, $(sum $((day - 30 * 86400)) denials) denied in 30 days; a bar is 1 day"
	equal "denied at $columns" "$(plot llm | sed -n 's/.*at most \([0-9]*\) in one bar.*/\1/p')" 2
	draw "$columns" "$lines" "$key --last 40d"
	check_bars "40d at $columns" "$first" 86400 40 $(((columns - 9) / 40))
done

# ---- totals ----
draw 80 24 ''
equal 'the totals of llm' "$(figures llm)" "$(awk '{ print $1 + 5, $2, $3 + 5, $4, $5 + 5, $6 }' <<<"$table")"
draw 80 24 '--by plan'
equal 'the plans' "$(awk '$1 == "small" || $1 == "big" { if (NF == 8) print $1, $2 }' <<<"$screen" | sort -u | tr '\n' ' ')" \
	'big llm small api small llm '

# ---- for programs ----
equal 'JSON' "$(ration --json usage "$key" --last 30d | jq -r '.totals[] | select(.limit == "llm") | [.["24h"], .["7d"], .["30d"]] | map(.admitted, .denied) | join(" ")')" "$table"
equal 'CSV' "$(ration usage "$key" --last 30d --csv | awk -F, '$2 == "llm" && $3 == "clinic:7" && $4 == "small" { a += $5; d += $6 } END { print a, d }')" \
	"$(cut -d' ' -f5,6 <<<"$table")"
equal "CSV's names" "$(ration usage --csv | head -1)" 'start,limit,key,plan,admitted,denied'

# ---- without a terminal; without UTF-8; without colours ----
out=$(ration usage "$key" | cat)
if grep -q 'a bar is' <<<"$out"; then wrong 'a plot without a terminal, though nobody asked'; fi
grep -q '^llm ' <<<"$out" || wrong 'no table without a terminal'
out=$(COLUMNS=100 ration usage "$key" --last 24h | cat)
grep -q 'a bar is' <<<"$out" || wrong 'no plot without a terminal, though it was asked for'
for options in '--ascii' '--last 24h'; do
	# shellcheck disable=SC2086 # several words
	out=$(if [[ $options == --last* ]]; then export LC_ALL=C; fi; ration usage "$key" $options | cat)
	if LC_ALL=C grep -q '[^ -~]' <<<"$out"; then wrong "beyond ASCII: $options"; fi
	grep -q '#' <<<"$out" || wrong "no bars: $options"
done
draw 80 24 "$key"
tm capture-pane -pe -S - | grep -q $'\033\[32m' || wrong 'no colours on a terminal'
environment='env NO_COLOR=1' draw 80 24 "$key"
if tm capture-pane -pe -S - | grep -q $'\033\[3[0-9]m'; then wrong 'colours with NO_COLOR'; fi
# shellcheck disable=SC2086 # several words
equal 'wrong use' "$(for a in "$key --by plan" '--by nobody' "$key --last 0s" "$key --last x" "$key --csv --json"; do
	ration usage $a >/dev/null 2>&1 || printf '%s ' $?
done)" '2 2 2 2 2 '

if ((bad)); then
	printf '%d wrong\n' "$bad"
	exit 1
fi
echo 'test_usage_tmux: all as expected'
