# Sourced by scripts/run, scripts/test and others: makes the virtual environment .venv from the lock files, once.
#
# ensure_environment runtime|development|fuzzing
#   Returns at once when .venv is good (a few ms: no Python is started). Else it is made anew under a lock, so that
#   two that start together make it once; the stamp that calls it good is written last, so that one that was
#   interrupted half way is never taken for good.
# Needs $root, the folder of the checkout. Sets $python, the interpreter of .venv.

fail() {
    printf 'nun-db: %s\n' "$1" >&2
    exit 1
}

# Prints the interpreter to make .venv with: $PYTHON if set, else the first that is new enough and has venv.
choose_python() {
    found_without_venv=
    for candidate in ${PYTHON:+"$PYTHON"} ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        command -v "$candidate" >/dev/null 2>&1 || continue
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
        if "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
        found_without_venv=${found_without_venv:-$candidate}
    done
    if [ -n "$found_without_venv" ]; then
        package=$("$found_without_venv" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
        [ "$found_without_venv" != python3 ] || package=python3-venv
        fail "the module venv of $found_without_venv is missing; install it with: apt-get install $package"
    fi
    [ -z "${PYTHON:-}" ] || fail "PYTHON=$PYTHON is not a Python of version 3.11 or newer; give the path of one, or unset PYTHON"
    fail "Python 3.11 or newer is missing; install it with: apt-get install python3 python3-venv"
}

# The lock files a kind of environment is made from, and this file, which says how.
fingerprint() {
    case $1 in
        runtime) cat "$root/requirements.lock" "$root/scripts/environment.sh" ;;
        development) cat "$root/requirements.lock" "$root/requirements-dev.lock" "$root/scripts/environment.sh" ;;
        fuzzing) cat "$root"/requirements*.lock "$root/scripts/environment.sh" ;;
    esac | sha256sum
}

# Is .venv good for this kind? The stamp's lines: fingerprint, the interpreter's real path (it goes away, or becomes
# another file, when the system changes to another Python), the checkout's path (it may have been moved), PYTHON.
is_good() {
    [ -x "$python" ] && [ -r "$venv/stamp-$1" ] || return 1
    {
        read -r made_from
        read -r made_with
        read -r made_in
        read -r made_by || made_by=
    } <"$venv/stamp-$1"
    [ "$made_in" = "$root" ] && [ "$python" -ef "$made_with" ] || return 1
    [ -z "${PYTHON:-}" ] || [ "$PYTHON" = "$made_by" ] || return 1
    [ "$made_from" = "$(fingerprint "$1")" ]
}

install_locked() {
    # Wheels only: a build from source would download build tools that no lock file pins.
    "$python" -m pip install --quiet --disable-pip-version-check --no-input --require-hashes --only-binary :all: \
        --requirement "$root/$1" >&2 ||
        fail "the packages of $1 could not be installed (see above); is the package index reachable from here?"
}

write_stamp() {
    {
        fingerprint "$1"
        readlink -f "$python"
        printf '%s\n' "$root" "${PYTHON:-}"
    } >"$venv/stamp-$1.new"
    mv "$venv/stamp-$1.new" "$venv/stamp-$1"
}

make_environment() {
    if ! is_good runtime; then
        interpreter=$(choose_python) || exit 1
        printf 'nun-db: making %s (once; this takes up to a minute, longer on a slow network)\n' "$venv" >&2
        rm -f "$venv/stamp-runtime" "$venv/stamp-development" "$venv/stamp-fuzzing"
        rm -rf "$venv"
        "$interpreter" -m venv "$venv" || fail "$venv could not be created (see above)"
        install_locked requirements.lock
        # The package itself is put on the path as it stands: nothing to build, and changes show at once.
        site_packages=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
        printf '%s\n' "$root" >"$site_packages/pynun-checkout.pth"
        write_stamp runtime
    fi
    if [ "$1" != runtime ] && ! is_good development; then
        printf 'nun-db: adding the tools for development to %s\n' "$venv" >&2
        rm -f "$venv/stamp-development"
        install_locked requirements-dev.lock
        write_stamp development
    fi
    if [ "$1" = fuzzing ] && ! is_good fuzzing; then
        printf 'nun-db: adding the fuzzer to %s\n' "$venv" >&2
        rm -f "$venv/stamp-fuzzing"
        install_locked requirements-fuzz.lock
        write_stamp fuzzing
    fi
}

# Explains why .venv is missing or unusable, to a user who may not create it.
explain_unwritable() {
    [ -e "$venv" ] || fail "cannot write in $root, where .venv must be created"
    who=$(id -un)
    interpreter=$(readlink -m "$python")
    [ -x "$python" ] || fail "$venv can't be used by $who: its Python, $interpreter, is missing or in a folder that only others may enter; as the owner of $root, run: PYTHON=/usr/bin/python3 scripts/run version"
    fail "$venv must be created again, because the packages, the Python or the checkout's location changed, but $who can't write in $root; as its owner, run: scripts/run version"
}

ensure_environment() {
    venv=$root/.venv
    python=$venv/bin/python
    is_good "$1" && { [ "$1" = runtime ] || is_good runtime; } && return
    # In a subshell, so that the lock is given back however it ends and is never handed on to the server.
    (
        [ -w "$root" ] || explain_unwritable
        exec 9>"$root/.venv.lock"
        flock 9 || fail "cannot lock $root/.venv.lock"
        make_environment "$1"
    ) || exit 1
}
