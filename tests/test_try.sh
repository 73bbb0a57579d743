#!/bin/bash
# test_try.sh BUILD-ROOT - ration try over the logs that a real nginx writes, and around it:
# formats, attributes, wrong use, packed logs, what is left behind, a hundred thousand lines, the
# progress bar.  With --long ten million lines: time and memory of all processes.
set -euo pipefail
build=$(cd "${1:?build root}" && pwd)
long=${2-}
PATH=$build/daemon:$build/tui:$build/tests:$PATH:/usr/sbin
dir=$(mktemp -d /dev/shm/ration-trytest.XXXXXX)
export TZ=UTC RATIOND=$build/daemon/rationd XDG_RUNTIME_DIR=$dir
unset RATION_DIR RATION_INSTANCE
server='' bad=0

cleanup() {
	local status=$?
	trap - EXIT
	if [[ -n $server ]]; then
		kill "$server" 2>/dev/null || true
		wait "$server" 2>/dev/null || true
	fi
	if ((status || bad)); then
		head -c 3000 "$dir/out" "$dir/err" 2>/dev/null || true
	fi
	rm -rf "$dir"
	exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

wrong() {
	printf 'WRONG: %s\n' "$*"
	bad=$((bad + 1))
}
# run WANT ARGS...: ration try, its exit status
run() {
	local want=$1 status=0
	shift
	ration try "$@" >"$dir/out" 2>"$dir/err" </dev/null || status=$?
	((status == want)) || wrong "ration try $*: exit $status, expected $want: $(head -c 300 "$dir/err")"
}
# is JQ WANT: a figure of the last --json
is() {
	local found
	found=$(jq -c "$1" "$dir/out" 2>&1) || true
	[[ $found == "$2" ]] || wrong "$1 is $found, expected $2"
}
# says FILE TEXT
says() { grep -qF -- "$2" "$dir/$1" || wrong "no \"$2\" in $1: $(head -c 300 "$dir/$1")"; }

cat >"$dir/p.yaml" <<'END'
limits:
  api: {rates: 5/min, key: {attribute: key}}
  per-ip: {rates: 8/min, key: {attribute: ip, address: true}}
  bytes: {rates: 1000/day, key: {attribute: key}}
routes:
  "GET /api/:name": [api, per-ip]
  "GET /files/*": [bytes]
END

# ---- a real nginx ----
start_nginx() {
	local tries port
	for ((tries = 0; tries < 30; tries++)); do
		port=$((20000 + RANDOM % 30000))
		cat >"$dir/nginx.conf" <<END
daemon off; master_process off; pid $dir/nginx.pid; error_log $dir/nginx.err;
events { worker_connections 64; }
http {
	log_format lines escape=json '{"time":"\$time_iso8601","msec":"\$msec","remote_addr":"\$remote_addr",'
		'"request":"\$request","status":\$status,"bytes":\$body_bytes_sent,"agent":"\$http_user_agent",'
		'"headers":{"key":"\$http_x_api_key"},"user":"\$remote_user"}';
	access_log $dir/combined.log combined; access_log $dir/lines.json lines;
	client_body_temp_path $dir/b; proxy_temp_path $dir/p; fastcgi_temp_path $dir/f;
	uwsgi_temp_path $dir/u; scgi_temp_path $dir/s;
	server { listen 127.0.0.1:$port; location / { return 200 "0123456789"; } }
}
END
		nginx -e "$dir/nginx.err" -c "$dir/nginx.conf" >>"$dir/nginx.out" 2>&1 &
		server=$!
		url=http://127.0.0.1:$port
		while kill -0 "$server" 2>/dev/null; do
			if curl -s -o "$dir/pid" "$url/started" && grep -q 0123456789 "$dir/pid"; then return; fi
			sleep 0.02
		done
		wait "$server" 2>/dev/null || true
	done
	echo 'nginx did not start'
	exit 1
}
start_nginx
get() { curl -s -o /dev/null "$@"; }
# All within a minute.
for i in 1 2 3 4 5 6 7; do get -H 'X-Api-Key: k 1' -u "alice:x" "$url/api/a?api_key=k%201&n=$i"; done
for i in 1 2 3 4; do get -H 'X-Api-Key: "k2\' -A 'say "hi" \ ü' "$url/api/b?api_key=%22k2%5C&n=$i"; done
get "$url/elsewhere"
printf 'nonsense\r\n\r\n' | curl -s --max-time 2 "telnet://127.0.0.1:${url##*:}" >/dev/null 2>&1 || true
kill "$server"
wait "$server" 2>/dev/null || true
server=''
grep -q '"nonsense" 400' "$dir/combined.log" || wrong 'nginx did not log what is no request'

run 0 "$dir/p.yaml" --log "$dir/combined.log" --attr key=arg.api_key --json
is .format '"combined"'
is .malformed 0
is .without_request 1
is .calls 11
is .denied 3
is '[.limits[]|select(.limit=="api")|.calls,.denied,.denied_by_others]' '[11,2,1]'
is '[.limits[]|select(.limit=="per-ip")|.calls,.denied]' '[11,1]'
is '.keys|map(.key)|sort' '["127.0.0.1","k\\0401"]'
run 0 "$dir/p.yaml" --log "$dir/lines.json" --attr key=headers.key --json
is .format '"json"'
is .malformed 0
is '[.limits[]|select(.limit=="api")|.calls,.denied]' '[11,2]'
is '.routes|map(select(.calls>0)|.route)' '["GET /api/:name"]'
run 0 "$dir/p.yaml" --log "$dir/combined.log"
says out 'lines 1'
says out 'GET /api/:name'
says out 'have no route'

# The same packed, and from standard input.
gzip -k "$dir/combined.log"
run 0 "$dir/p.yaml" --log "$dir/combined.log.gz" --attr key=arg.api_key --json
is .denied 3
ration try "$dir/p.yaml" --log - --attr key=arg.api_key --json <"$dir/combined.log" >"$dir/out"
is .denied 3
head -c 200 "$dir/combined.log.gz" >"$dir/cut.log.gz"
run 1 "$dir/p.yaml" --log "$dir/cut.log.gz"

# Costs: what was sent, of a thousand bytes a day.
for i in 1 2 3; do
	echo "10.0.0.1 - bob [20/Oct/2026:10:0$i:00 +0000] \"GET /files/$i HTTP/1.1\" 200 400 \"-\" \"-\""
done >"$dir/files.log"
run 0 "$dir/p.yaml" --log "$dir/files.log" --attr cost=bytes --json
is '[.limits[]|select(.limit=="bytes")|.units,.admitted,.denied,.first_denial_line]' '[1200,2,1,3]'

# Older lines count as at the newest; a year and a half in one log, whose calendar is made anew.
for t in 20/Oct/2024:10:00:00 20/Oct/2024:09:59:58 20/Oct/2025:10:00:00 20/Apr/2026:10:00:00 20/Apr/2026:23:59:59 21/Apr/2026:00:00:00; do
	echo "10.0.0.1 - bob [$t +0000] \"GET /files/1 HTTP/1.1\" 200 900 \"-\" \"-\""
done >"$dir/years.log"
run 0 "$dir/p.yaml" --log "$dir/years.log" --attr cost=bytes --json
is .older 1
is '[.limits[]|select(.limit=="bytes")|.admitted,.denied]' '[4,2]'

# ---- wrong use ----
run 2 "$dir/p.yaml"
run 2 "$dir/p.yaml" --log "$dir/none.log"
run 2 "$dir/p.yaml" --log "$dir"
run 2 "$dir/p.yaml" --log "$dir/files.log" --format xml
run 2 "$dir/p.yaml" --log "$dir/files.log" --attr key
run 2 "$dir/p.yaml" --log "$dir/files.log" --attr key=header
says err 'expected addr, ident, user'
run 2 "$dir/p.yaml" --log "$dir/files.log" --top x
: >"$dir/empty.log"
run 1 "$dir/p.yaml" --log "$dir/empty.log"
run 1 "$dir/p.yaml" --log "$dir/files.log" --format json
says err 'files.log:1: found "10.0.0.1 - bob'
says err 'expected a JSON object'
echo 'limits: {a: 3/fortnight}' >"$dir/bad.yaml"
run 1 "$dir/bad.yaml" --log "$dir/files.log"
says err 'bad.yaml:1:13:'
RATIOND=$dir/none run 3 "$dir/p.yaml" --log "$dir/files.log"
{
	cat "$dir/files.log"
	echo 'a line of nothing'
	head -c 70000 /dev/zero | tr '\0' x
	echo
	cat "$dir/files.log"
} >"$dir/mixed.log"
run 0 "$dir/p.yaml" --log "$dir/mixed.log" --json
is '[.lines,.malformed]' '[8,2]'
says err 'mixed.log:4: found "a line of nothing", expected'
says err 'mixed.log:5: found "", expected a line of at most 65,536 bytes'

# ---- nothing is left behind ----
left() { find "$dir" -maxdepth 1 -name 'ration-try.*' | wc -l; }
before=$(left)
mkfifo "$dir/pipe"
for sig in INT TERM; do
	(
		trap - INT
		exec ration try "$dir/p.yaml" --log "$dir/pipe" >"$dir/out" 2>"$dir/err"
	) &
	server=$!
	exec 9>"$dir/pipe"
	head -n 1 "$dir/files.log" >&9
	for ((tries = 0; tries < 500; tries++)); do
		(($(left) <= before)) || break
		sleep 0.02
	done
	(($(left) > before)) || wrong 'no directory of its own'
	kill "-$sig" "$server"
	status=0
	wait "$server" || status=$?
	server=''
	exec 9>&-
	((status > 128)) || wrong "ended by SIG$sig with $status"
	(($(left) <= before)) || wrong "SIG$sig leaves $(left) directories"
done
# What a SIGKILL leaves, the next one takes away.
ration try "$dir/p.yaml" --log "$dir/pipe" >"$dir/out" 2>"$dir/killed" & # its rationd lives on
server=$!
exec 9>"$dir/pipe"
head -n 1 "$dir/files.log" >&9
for ((tries = 0; tries < 500; tries++)); do
	(($(left) <= before)) || break
	sleep 0.02
done
kill -KILL "$server"
wait "$server" 2>/dev/null || true
server=''
exec 9>&-
run 0 "$dir/p.yaml" --log "$dir/files.log"
(($(left) <= before)) || wrong 'what a SIGKILL left is still there'

# ---- the bar: on a terminal alone ----
make_log 100000 >"$dir/large.log"
run 0 "$dir/p.yaml" --log "$dir/large.log" --json
is '[.lines,.malformed]' '[100000,0]'
is '.seconds < 20' true
[[ ! -s $dir/err ]] || wrong "without a terminal: $(head -c 200 "$dir/err")"
for ((i = 0; i < 3; i++)); do
	cat "$dir/large.log"
	sleep 0.25
done >"$dir/pipe" &
server=$!
script -qec "ration try '$dir/p.yaml' --log '$dir/pipe' 2>&1 >/dev/null" /dev/null </dev/null >"$dir/bar" 2>&1 || true
wait "$server" || true
server=''
grep -q 'lines, .*/s' "$dir/bar" || wrong "no progress on a terminal: $(head -c 200 "$dir/bar")"
make_log 100000 json >"$dir/large.json"
run 0 "$dir/p.yaml" --log "$dir/large.json" --attr key=api.key --json
is '[.lines,.malformed]' '[100000,0]'

# ---- ten million lines: the processor's time, for others may be on the machine too ----
if [[ $long == --long ]]; then
	make_log 10000000 >"$dir/day.log"
	cat >"$dir/day.yaml" <<-'END'
		limits:
		  api: [300/min, 30/s]
		  per-ip: {rates: [10/s burst 20, 60/min], key: {attribute: ip, address: true}}
		  daily: 2000/day
	END
	start=$EPOCHREALTIME
	ration try "$dir/day.yaml" --log "$dir/day.log" --attr key=arg.api_key --json >"$dir/out" &
	server=$! most=0 cpu='' last=0
	while kill -0 "$server" 2>/dev/null; do
		# Its own memory, and the segment, all of which is allocated.
		kb=$({
			awk '/^Rss(Anon|File):/ { print $2 }' "/proc/$server/status"
			du -sk "$dir"/ration-try.*
		} 2>/dev/null | awk '{ n += $1 } END { print n + 0 }') || kb=0
		((kb <= most)) || most=$kb
		cpu=$(awk -v hz="$(getconf CLK_TCK)" '{ print ($14 + $15 + $16 + $17) / hz }' "/proc/$server/stat" 2>/dev/null) || true
		[[ -z $cpu ]] || last=$cpu
		sleep 0.1
	done
	wait "$server"
	server=''
	awk -v a="$start" -v b="$EPOCHREALTIME" -v kb="$most" -v cpu="$last" \
		'BEGIN { printf "10,000,000 lines: %.1f s, of a processor %.1f s, %.0f MiB\n", b - a, cpu, kb / 1024 }'
	is .lines 10000000
	awk -v cpu="$last" 'BEGIN { exit !(cpu < 30) }' || wrong "$last s of a processor"
	((most < 500 * 1024)) || wrong "$most KiB"
fi
((bad == 0))
