#!/bin/bash
# test_install.sh SOURCE-ROOT BUILD-ROOT CC - the library as a user's program meets it.
#
# Installs into an empty directory and builds there with pkg-config alone:
# examples/api-server.c and its companions against the shared library, the same statically, and
# a C++ program.  Nothing but ration.h may be needed, nor libc be exceeded.
set -euo pipefail
source=$(cd "${1:?source root}" && pwd)
build=$(cd "${2:?build root}" && pwd)
shift 2
cc=("${@:-cc}")

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
die() {
	printf 'test_install: %s\n' "$*" >&2
	exit 1
}

DESTDIR='' meson install -C "$build" --no-rebuild --quiet --destdir "$tmp/root" >"$tmp/install.log" 2>&1 || {
	cat "$tmp/install.log" >&2
	die 'meson install failed'
}
pc=$(find "$tmp/root" -name ration.pc)
[[ -n $pc ]] || die 'ration.pc was not installed'
prefix=$(sed -n 's/^prefix=//p' "$pc")
[[ $prefix == /* ]] || die "ration.pc: found prefix '$prefix', expected an absolute path"

ration_flags() {
	PKG_CONFIG_PATH=${pc%/*} pkg-config --define-variable=prefix="$tmp/root$prefix" "$@" ration
}
libdir=$(ration_flags --variable=libdir)
includedir=$(ration_flags --variable=includedir)

headers=$(cd "$includedir" && find . -type f | sort)
[[ $headers == ./ration.h ]] || die "installed headers: found $headers, expected ration.h alone"
[[ -e $libdir/libration.so.0 ]] || die 'libration.so.0 was not installed'

exports=$(nm -D --defined-only "$libdir/libration.so" | awk '{ print $3 }' | sed 's/@.*//' | grep -v '^RATION_' || true)
[[ -n $exports ]] || die 'libration.so exports nothing'
if grep -v '^ration_' <<<"$exports"; then die 'libration.so exports a name that is not ration_...'; fi

# Flags of a build with sanitizers are not a user's: there only the files are looked at.
if nm -D "$libdir/libration.so" | grep -qE '__(asan|tsan|ubsan)_'; then
	printf 'test_install: a build with sanitizers: not compiled against\n'
	exit 0
fi
needed=$(readelf -d "$libdir/libration.so" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
[[ $needed == libc.so.6 ]] || die "libration.so needs: found ${needed:-nothing}, expected libc.so.6 alone"

read -ra cflags < <(ration_flags --cflags)
read -ra libs < <(ration_flags --libs)
read -ra others < <(pkg-config --cflags --libs libevent jansson)
service=("$source"/examples/{api-server,data,work,workers}.c)
"${cc[@]}" -Wall -Wextra -Werror "${service[@]}" -o "$tmp/shared" \
	"${cflags[@]}" "${libs[@]}" "${others[@]}"
LD_LIBRARY_PATH=$libdir "$tmp/shared" --help >/dev/null
readelf -d "$tmp/shared" | grep -q 'NEEDED.*\[libration.so.0\]' || die 'api-server is not linked with libration.so.0'

"${cc[@]}" "${service[@]}" -o "$tmp/static" "${cflags[@]}" "$libdir/libration.a" "${others[@]}"
"$tmp/static" --help >/dev/null

for dir in /usr/include/node /usr/include/nodejs/src; do
	[[ -e $dir/node_api.h ]] || continue
	"${cc[@]}" -Wall -Wextra -Werror -Wno-unused-parameter -shared -fPIC "$source/examples/clients/ration.c" \
		-o "$tmp/ration.node" -isystem "$dir" "${cflags[@]}" "${libs[@]}"
	LD_LIBRARY_PATH=$libdir node -e 'if (!require(process.argv[1]).begin) process.exit(1)' "$tmp/ration.node" ||
		die 'ration.node, built as its first lines say, cannot be loaded'
	break
done

cat >"$tmp/user.cc" <<'END'
#include <ration.h>
#include <cstdio>
#include <cstring>
int main()
{
	ration_decision_t d = RATION_DECISION_INIT;
	ration_t *r = nullptr;
	int e = ration_open_dir("/nonexistent", nullptr, 0, &r);
	if (e != RATION_ENOSEG || r)
		return std::printf("open: %d %s\n", e, ration_strerror(e)), 1;
	if (ration_open_dir("/nonexistent", nullptr, RATION_FAIL_OPEN, &r) != 0)
		return std::puts("open, failing open: refused"), 1;
	if (ration_acquire(r, "api", "k", 1, &d) != RATION_ADMITTED || !(d.flags & RATION_F_DEGRADED))
		return std::puts("acquire, failing open: not admitted as degraded"), 1;
	ration_close(r);
	return std::strncmp(ration_version(), "0.", 2) != 0;
}
END
c++ -std=c++11 -Wall -Wextra -Wno-missing-field-initializers -Werror -x c++ "$tmp/user.cc" -o "$tmp/user" \
	"${cflags[@]}" "${libs[@]}" || c++ -std=c++20 -x c++ "$tmp/user.cc" -o "$tmp/user" "${cflags[@]}" "${libs[@]}"
LD_LIBRARY_PATH=$libdir "$tmp/user"

# What README and manual show compiles as it stands, and says what is missing without rationd.  The
# README's first C is a program, what follows are pieces of a caller.
sed -n '/^```c$/,/^```$/{/^```$/q;/^```/!p}' "$source/README.md" >"$tmp/readme.c"
sed -n '/^\.Sh EXAMPLES/,$p' "$source/lib/ration.3" | sed -n '/^\.Bd/,/^\.Ed/p' | sed '1d;/^\.Ed/,$d;s/\\e/\\/g' >"$tmp/manual.c"
for program in readme manual; do
	grep -q 'ration_acquire(' "$tmp/$program.c" || die "the example of the $program was not found"
	"${cc[@]}" -Wall -Wextra -Werror "$tmp/$program.c" -o "$tmp/$program" "${cflags[@]}" "${libs[@]}"
	status=0
	said=$(RATION_DIR=/nonexistent LD_LIBRARY_PATH=$libdir "$tmp/$program" 2>&1) || status=$?
	[[ $status == 3 && $said == *rationd* ]] ||
		die "the example of the $program without rationd: found status $status, '$said'"
done
{
	printf '%s\n' '#include <ration.h>' 'void pause_ms(uint64_t);' \
		'int send_request(ration_attr_t *, size_t *);' 'void pieces(ration_t *);' \
		'void pieces(ration_t *r)' '{' 'int status;' 'ration_attr_t headers[32];' 'size_t n = 32;'
	awk '/^```c$/ { blocks++; inside = blocks > 1; next } /^```$/ { inside = 0 } inside' "$source/README.md"
	printf '}\n'
} >"$tmp/pieces.c"
grep -q 'ration_upstream_end(' "$tmp/pieces.c" || die 'the loop of the README was not found'
"${cc[@]}" -Wall -Wextra -Werror -c "$tmp/pieces.c" -o "$tmp/pieces.o" "${cflags[@]}"
sed -n '/^```yaml$/,/^```$/p' "$source/README.md" | sed '/^```/d' >"$tmp/readme.yaml"
(umask 077 && head -c 32 /dev/urandom | base64 >"$tmp/hook.secret") # that the policy names
for policy in "$tmp/readme.yaml" "$source"/examples/*.yaml; do
	"$build/daemon/rationd" -n -f "$policy" || die "$policy: refused by rationd -n"
done

[[ -n $(find "$tmp/root" -path '*/man3/ration.3*') ]] || die 'ration.3 was not installed'
printf 'test_install: ok\n'
