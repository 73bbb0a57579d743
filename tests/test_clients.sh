#!/bin/bash
# test_clients.sh BUILD-ROOT NAME - the client of one of the five systems (examples/clients/NAME.mjs).
#
# client_NAME.mjs: its rules to the millisecond against a script, then the example service, both
# without waiting (rationd's clock is a sandbox's, which a sleeping client moves).  Then the program
# itself in real time, where the limit is about to come free in a few seconds.
system=${2:?name of a system}
# shellcheck source=tests/system.sh
. "$(dirname "$0")/system.sh"
command -v node >/dev/null || die 'no node: install nodejs'
start_daemon
start_service
clients=$examples/clients

export TEST_SYSTEM=$system TEST_URL=$url TEST_SERVICE=$service
aligned
TEST_MOVED=$moved node "$(dirname "$0")/client_$system.mjs" || wrong 'see above'

# program N KEY [options]: in real time; into summary
program() {
	local n=$1 key=$2 begin
	shift 2
	begin=$(date +%s%N)
	summary=$(node "$clients/$system.mjs" --url "$url" --key "$key" --requests "$n" --json "$@") ||
		wrong "in real time: exit status $?"
	took=$((($(date +%s%N) - begin) / 1000000))
	is 'in real time: all answered' "$(jq -c '[.requests, .answered]' <<<"$summary")" "[$n,$n]"
	is 'in real time: none too early' "$(jq -c .too_early <<<"$summary")" null
	between 'in real time: it was denied' "$(jq .denied <<<"$summary")" 1 "$n"
	is 'in real time: each request once' "$(jq .most_denied <<<"$summary")" 1
}
if [[ -s $RATION_DIR/service.pid ]]; then service=$(cat "$RATION_DIR/service.pid"); fi # started again
moved=$(($(ration --json status | jq .now) - $(date +%s)))

case $system in
mivicall) # 30 in the second
	clock 70
	program 60 mv_live_birch --at-once 4
	between 'in real time: it took (ms)' "$took" 1000 5000
	;;
oxenty) # a minute's requests were spent nearly a minute ago
	clock 70
	take requests shop-arequipa 120
	clock 59
	program 2 ox_arequipa
	;;
fluxiq) # the window ends in three seconds
	clock $((60 + 57 - $(now) % 60))
	take 'POST /boletos' padaria-sol 100
	program 30 fq_live_padaria
	;;
aiempire)
	clock 70
	take api.get clinic:1 60
	clock 60
	program 30 ae_1
	;;
apviso)
	clock $((60 + 57 - $(now) % 60))
	take api team-lobo 120
	program 4 av_lobo
	;;
esac
finish
