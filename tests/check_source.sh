#!/bin/bash
# check_source.sh SOURCE-ROOT CC - rules of the tree that no compiler knows:
# who may include whom; headers that compile alone; a public interface that
# header, export map and manual describe alike.
set -euo pipefail
cd "${1:?source root}"
shift
cc=("${@:-cc}")
bad=0

wrong() {
	printf '%s\n' "$*"
	bad=1
}

# header FILE -> the folders that a quoted name can come from
includes() { sed -n 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*"\([^"]*\)".*/\1/p' "$1"; }

# forbid FOLDER OTHER...: no file of FOLDER includes a header that stands in OTHER
forbid() {
	local folder=$1 other file name
	shift
	for file in "$folder"/*.[ch]; do
		[[ -e $file ]] || continue
		while read -r name; do
			for other in "$@"; do
				if [[ ! -e $folder/${name##*/} && -e $other/${name##*/} ]]; then
					wrong "$file: includes $name of $other/: $folder/ must not"
				fi
			done
		done < <(includes "$file")
	done
}
forbid lib daemon tui tests
forbid daemon tui tests
forbid tui daemon tests

# Examples are programs of users: the public header, in angle brackets, and their own.
for file in examples/*.[ch] examples/*/*.[ch]; do
	[[ -e $file ]] || continue
	while read -r name; do
		[[ -e ${file%/*}/$name ]] || wrong "$file: includes $name of the tree: expected <ration.h> alone"
	done < <(includes "$file")
done

# Only the screen and the views know curses.
while read -r file; do
	case ${file##*/} in
	screen*.[ch] | view*.[ch] | top*.c) ;;
	*) wrong "$file: includes curses: only screen, top and views may" ;;
	esac
done < <(grep -lE '#[[:space:]]*include[[:space:]]*<n?curses' tui/*.[ch] lib/*.[ch] daemon/*.[ch] 2>/dev/null || true)

# Every header compiles alone.
for file in lib/*.h daemon/*.h tui/*.h; do
	[[ -e $file ]] || continue
	if ! "${cc[@]}" -std=gnu17 -D_GNU_SOURCE -Ilib -I"${file%/*}" -Wall -Wextra -Wno-unused-parameter \
		-Werror -fsyntax-only -x c - <<<"#include \"${file##*/}\""; then
		wrong "$file: does not compile alone"
	fi
done

# A .c includes its own header first, if it has one.
for file in lib/*.c daemon/*.c tui/*.c; do
	[[ -e ${file%.c}.h ]] || continue
	first=$(sed -n 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*[<"]\([^>"]*\)[>"].*/\1/p' "$file" | head -1)
	own=${file##*/}
	[[ $first == "${own%.c}.h" ]] || wrong "$file: includes $first first, expected ${own%.c}.h"
done

# What the map exports, the header declares and the manual explains, all alike.
exported=$(sed -n 's/^[[:space:]]*\(ration_[a-z_]*\);$/\1/p' lib/ration.map | sort)
declared=$(grep -oE '^[a-z].*[ *](ration_[a-z_]+)\(' lib/ration.h | grep -oE 'ration_[a-z_]+\($' | tr -d '(' | sort)
documented=$(sed -n 's/^\.Fn \(ration_[a-z_]*\).*/\1/p; s/^\.Fo \(ration_[a-z_]*\).*/\1/p' lib/ration.3 | sort -u)
[[ -n $exported ]] || wrong "lib/ration.map: exports nothing"
[[ $exported == "$declared" ]] ||
	wrong "lib/ration.map and lib/ration.h differ:"$'\n'"$(diff <(echo "$exported") <(echo "$declared"))"
[[ $exported == "$documented" ]] ||
	wrong "lib/ration.map and lib/ration.3 differ:"$'\n'"$(diff <(echo "$exported") <(echo "$documented"))"

errors=$(sed -n 's/.*X(\(RATION_E[A-Z]*\),.*/\1/p' lib/ration.h | sort)
explained=$(sed -n 's/^\.It Bq Er \(RATION_E[A-Z]*\)$/\1/p' lib/ration.3 | sort)
[[ -n $errors && $errors == "$explained" ]] ||
	wrong "errors of lib/ration.h and lib/ration.3 differ:"$'\n'"$(diff <(echo "$errors") <(echo "$explained"))"

exit "$bad"
