#!/bin/sh
# Installs pynun from the unpacked bundle that this file lies in, without any network. sh install.sh --help says how.
#
# Whatever fails takes back what this run has made. Settings and data that are there are never changed. The generated
# password is written to the settings file and shown on the terminal, and goes nowhere else: into no argument of a
# program, no log.
set -eu
umask 022
LC_ALL=C
export LC_ALL
# What the machine sets for other programs of its own must not reach this one.
unset PYTHONPATH PYTHONHOME CDPATH

usage() {
    cat <<'TEXT'
usage: sh install.sh [--upgrade | --rollback] [options]

Installs pynun, or does again what is missing of an installation. Settings and data that are there are kept.

  --upgrade         install this bundle's version in place of the installed one
  --rollback        go back to the version before the last upgrade
  --dry-run         check everything, say what would be done, and change nothing

  --prefix DIR      the program, default /opt/pynun
  --data-dir DIR    the data, default /var/lib/pynun
  --config-dir DIR  the settings, default /etc/pynun
  --unit-dir DIR    the unit of systemd, default /etc/systemd/system
  --bin-dir DIR     the link nun-db, default /usr/local/bin
  --user NAME       who the server runs as, default pynun; made when missing
  --python FILE     the Python to use, 3.11 to 3.13; default: the first that is found
  --no-systemd      for a machine without systemd: no unit; says how to start the server
  --no-start        don't start the server

  --cluster         make this machine a node of a cluster: installs etcd too, and asks for what the next four don't say
  --nodes LIST      all nodes, the same on each machine: NAME=ADDRESS,NAME=ADDRESS,NAME=ADDRESS
  --node NAME       which of them this machine is
  --certificates DIR    this node's ca.pem, node.pem and node-key.pem; cluster_certificates.sh makes them
  --password-file FILE  the administrator's password, the same on each machine; without it, a new one
TEXT
}

say() { printf '%s\n' "$1"; }
step() { printf '%s\n' "- $1"; }
warn() { printf 'install.sh: %s\n' "$1" >&2; }
fail() {
    printf 'install.sh: %s\n' "$1" >&2
    exit 1
}

# --- taking back what was made

# Commands that take back what this run has made, one a line, the newest first. Paths in them hold no blanks (see
# check_path).
undo=
on_failure() { undo="$1
$undo"; }

finish() {
    code=$?
    trap - EXIT
    trap '' INT TERM HUP
    if [ "$code" != 0 ] && [ -n "$undo" ]; then
        warn "it failed; undoing what was done"
        printf '%s' "$undo" | while IFS= read -r command; do
            [ -z "$command" ] || eval "$command" || warn "this could not be undone: $command"
        done
    fi
    [ -z "$scratch" ] || rm -rf "$scratch"
    exit "$code"
}
scratch=
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# --- options

mode=install
dry_run=
prefix=/opt/pynun
data_dir=/var/lib/pynun
config_dir=/etc/pynun
unit_dir=/etc/systemd/system
bin_dir=/usr/local/bin
user=pynun
python=
systemd=yes
start=yes
user_made=no
cluster=no
joining=
nodes=
node=
certificates=
password_file=
given=

while [ $# -gt 0 ]; do
    case $1 in
        --prefix | --data-dir | --config-dir | --unit-dir | --bin-dir | --user | --python | --nodes | --node | --certificates | --password-file)
            [ $# -ge 2 ] || fail "$1 needs a value; see sh install.sh --help"
            case $1 in
                --prefix) prefix=$2 ;;
                --data-dir) data_dir=$2 given="$given $1" ;;
                --config-dir) config_dir=$2 given="$given $1" ;;
                --unit-dir) unit_dir=$2 given="$given $1" ;;
                --bin-dir) bin_dir=$2 given="$given $1" ;;
                --user) user=$2 given="$given $1" ;;
                --python) python=$2 ;;
                --nodes) nodes=$2 ;;
                --node) node=$2 ;;
                --certificates) certificates=$2 ;;
                --password-file) password_file=$2 ;;
            esac
            shift
            ;;
        --upgrade) mode=upgrade ;;
        --rollback | --undo) mode=rollback ;;
        --dry-run) dry_run=yes ;;
        --no-systemd) systemd=no given="$given $1" ;;
        --no-start) start=no ;;
        --cluster) joining=yes ;;
        --help)
            usage
            exit 0
            ;;
        *) fail "unknown option $1; see sh install.sh --help" ;;
    esac
    shift
done

check_path() {
    case $2 in
        *[!A-Za-z0-9._/-]* | *..* | *//* | */) fail "$1: $2 is not accepted; accepted: an absolute path of letters, digits and . _ -" ;;
        /*/*) ;;
        *) fail "$1: $2 is not accepted; accepted: an absolute path, at least two folders deep" ;;
    esac
}
check_path --prefix "$prefix"
check_path --data-dir "$data_dir"
check_path --config-dir "$config_dir"
check_path --unit-dir "$unit_dir"
check_path --bin-dir "$bin_dir"
case $user in
    "" | root | [!a-z_]* | *[!a-z0-9_-]*) fail "--user: $user is not accepted; accepted: a name of small letters, digits, _ and -, and not root" ;;
esac

[ "$(id -u)" = 0 ] || [ -n "$dry_run" ] || fail "it must be run as root: sudo sh install.sh"
here=$(cd "$(dirname "$0")" 2>/dev/null && pwd -P) ||
    fail "this user can't enter the folder that install.sh is in: run it as root, or unpack the bundle where this user may go"
settings=$config_dir/pynun.env
etcd_settings=$config_dir/etcd.env
etcd_dir=$data_dir-etcd
conf=$prefix/install.conf
[ -n "$joining" ] || [ -z "$nodes$node$certificates$password_file" ] ||
    fail "--nodes, --node, --certificates and --password-file go with --cluster"

# --- what is there

conf_value() { sed -n "s/^$1=//p" "$conf"; }

is_installed() { [ -r "$conf" ] && [ -L "$prefix/current" ]; }

# The version that a link (current, previous) names.
linked() { readlink "$prefix/$1" 2>/dev/null | sed 's#^versions/##'; }

read_conf() {
    [ -z "$given" ] || for name in $given; do
        case $name in
            --data-dir) is_same "$name" "$data_dir" data_dir ;;
            --config-dir) is_same "$name" "$config_dir" config_dir ;;
            --unit-dir) is_same "$name" "$unit_dir" unit_dir ;;
            --bin-dir) is_same "$name" "$bin_dir" bin_dir ;;
            --user) is_same "$name" "$user" user ;;
        esac
    done
    data_dir=$(conf_value data_dir)
    config_dir=$(conf_value config_dir)
    unit_dir=$(conf_value unit_dir)
    bin_dir=$(conf_value bin_dir)
    user=$(conf_value user)
    systemd=$(conf_value systemd)
    user_made=$(conf_value user_made)
    settings=$config_dir/pynun.env
    etcd_settings=$config_dir/etcd.env
    etcd_dir=$data_dir-etcd
    cluster=$(conf_value cluster)
    cluster=${cluster:-no}
}
is_same() {
    chosen=$(conf_value "$3")
    [ "$2" = "$chosen" ] ||
        fail "$1 can't be changed afterwards: it is $chosen since the installation; uninstall first (the data is kept)"
}

# Is systemd in charge of this machine, and does it have a say in this installation?
has_systemd() { [ "$systemd" = yes ] && [ -d /run/systemd/system ] && command -v systemctl >/dev/null 2>&1; }

is_active() { has_systemd && systemctl --quiet is-active pynun; }

# --- checks

check_bundle() {
    for name in SHA256SUMS VERSION ARCHITECTURE wheels/requirements.txt; do
        [ -r "$here/$name" ] || fail "$here is not a complete bundle, $name is missing: unpack the bundle again, and run the install.sh in it"
    done
    command -v sha256sum >/dev/null 2>&1 || fail "sha256sum is missing; it is a part of coreutils"
    if ! damaged=$(cd "$here" && sha256sum -c SHA256SUMS 2>&1 | grep -v ': OK$'); then damaged=; fi
    [ -z "$damaged" ] || fail "the bundle is damaged or was changed, nothing was installed; copy it again. sha256sum says:
$damaged"
    for file in "$here"/wheels/*; do
        grep -q "  wheels/${file##*/}\$" "$here/SHA256SUMS" || fail "wheels/${file##*/} does not belong to the bundle; unpack it again, into an empty folder"
    done
    version=$(cat "$here/VERSION")
    architecture=$(cat "$here/ARCHITECTURE")
    machine=$(uname -m)
    [ "$architecture" = "$machine" ] || fail "this bundle is for $architecture, this machine is $machine: take the bundle for that"
    step "the bundle is whole: pynun $version for $architecture"
}

# What a Python must be: told by itself, on one line; nothing if it will do.
judge_python() {
    "$1" -I - <<'PYTHON' 2>/dev/null || printf 'it does not run'
import os, platform, sys
def judge():
    if sys.implementation.name != "cpython" or not (3, 11) <= sys.version_info[:2] <= (3, 13):
        return "it is %s %d.%d" % (sys.implementation.name, *sys.version_info[:2])
    libc, number = platform.libc_ver()
    if libc != "glibc" or tuple(map(int, number.split(".")[:2])) < (2, 28):
        return "its C library is not glibc 2.28 or newer"
    try:
        import ctypes, ssl, venv
    except ImportError as error:
        return "its module %s is missing" % error.name
    if os.geteuid() == 0 and os.fork() == 0:
        # As somebody else: the server won't be root.
        try:
            os.setgroups([]); os.setgid(65534); os.setuid(65534)
            os.execv(sys.executable, [sys.executable, "-I", "-c", "import ssl"])
        except OSError:
            os._exit(1)
    if os.geteuid() == 0 and os.wait()[1] != 0:
        return "only root can run it"
    return ""
print(judge())
PYTHON
}

choose_python() {
    looked=
    for candidate in ${python:-python3.13 python3.12 python3.11 python3 /usr/bin/python3 /usr/local/bin/python3}; do
        found=$(command -v "$candidate" 2>/dev/null) || continue
        verdict=$(judge_python "$found")
        if [ -z "$verdict" ]; then
            python=$found
            step "Python: $python"
            return
        fi
        looked="$looked; $found: $verdict"
    done
    fail "no suitable Python was found: 3.11, 3.12 or 3.13 with its module venv is needed, such as Debian's package python3 on 12 and 13; --python FILE names one${looked}"
}

check_room() {
    place=$prefix
    while [ ! -d "$place" ]; do place=$(dirname "$place"); done
    free=$(df -Pk "$place" | awk 'NR == 2 { print $4 }')
    free=$((free / 1024))
    [ "$free" -ge 150 ] || fail "not enough space in $place: 150 MB are needed, $free MB are free"
}

check_link() {
    link=$bin_dir/nun-db
    wanted=$prefix/current/bin/nun-db
    if [ -L "$link" ] && [ "$(readlink "$link")" = "$wanted" ]; then return 0; fi
    if [ -e "$link" ] || [ -L "$link" ]; then
        fail "$link already exists and does not belong to this installation: move it away, or choose another folder with --bin-dir"
    fi
}

# --- a cluster: what is needed, by the options or from the terminal

ask() {
    [ -t 0 ] || fail "--$2 is missing, and there is no terminal to ask on; see sh install.sh --help"
    printf '%s ' "$1"
    read -r answer || answer=
}

ask_for_cluster() {
    cluster=yes
    [ -x "$here/docker/etcd/etcd" ] || fail "this bundle was made without etcd, which a cluster needs: make it with scripts/bundle where Go is installed"
    [ "$systemd" = yes ] || fail "--cluster needs systemd: without it, run etcd and the server as docs/cluster-setup.md says"
    if [ -e "$settings" ] && [ -n "$(setting NUN_ETCD)" ]; then
        step "$settings has the settings of a cluster already; they stay"
        return
    fi
    if [ -z "$nodes" ]; then
        ask "All nodes, the same on each machine (a=10.0.0.1,b=10.0.0.2,c=10.0.0.3):" nodes
        nodes=$answer
    fi
    for one in $(printf '%s' "$nodes" | tr ',' ' '); do
        case $one in
            =* | *= | *[!A-Za-z0-9._=-]* | *=*=*) fail "--nodes: $one is not accepted; accepted: NAME=ADDRESS, an IPv4 address or a host name" ;;
            *=*) ;;
            *) fail "--nodes: $one is not accepted; accepted: NAME=ADDRESS" ;;
        esac
    done
    if [ -z "$node" ]; then
        ask "Which of them is this machine ($(printf '%s' "$nodes" | sed "s/=[^,]*//g; s/,/, /g"))?" node
        node=$answer
    fi
    address=
    for one in $(printf '%s' "$nodes" | tr ',' ' '); do
        [ "${one%%=*}" != "$node" ] || address=${one#*=}
    done
    [ -n "$address" ] || fail "--node: $node is none of $nodes"
    if [ -z "$certificates" ]; then
        ask "The folder with this node's ca.pem, node.pem and node-key.pem:" certificates
        certificates=$answer
    fi
    for name in ca.pem node.pem node-key.pem; do
        [ -r "$certificates/$name" ] || fail "--certificates: $certificates/$name is missing; cluster_certificates.sh makes it"
    done
    if [ -e "$settings" ]; then
        [ -z "$password_file" ] || fail "--password-file: $settings has a password already, which stays"
    elif [ -n "$password_file" ]; then
        [ -r "$password_file" ] || fail "--password-file: $password_file can't be read"
    elif [ -t 0 ]; then
        say "The administrator's password must be the same on all nodes: --password-file FILE names a file with it."
        say "Without, this makes a new one: copy it from $settings to the other nodes."
    fi
}

# The settings of etcd, and those of the cluster behind the server's others.
make_cluster_settings() {
    tls=$config_dir/cluster
    if [ ! -e "$tls" ]; then
        mkdir -p "$tls"
        on_failure "rm -rf $tls"
    fi
    for name in ca.pem node.pem node-key.pem; do
        [ "$certificates" = "$tls" ] || cp "$certificates/$name" "$tls/$name"
    done
    chmod 0750 "$tls"
    chmod 0640 "$tls"/*
    chown -R "root:$(id -gn "$user")" "$tls"
    peers=
    clients=https://$address:2379
    for one in $(printf '%s' "$nodes" | tr ',' ' '); do
        peers=$peers${peers:+,}${one%%=*}=https://${one#*=}:2380
        [ "${one#*=}" = "$address" ] || clients=$clients,https://${one#*=}:2379
    done
    case $address in
        *[!0-9.]*) listen=0.0.0.0 ;;
        *) listen=$address ;;
    esac
    on_failure "rm -f $etcd_settings"
    cat >"$etcd_settings" <<TEXT
# The settings of etcd for pynun's cluster, made by install.sh --cluster.
ETCD_NAME=$node
ETCD_DATA_DIR=$etcd_dir
ETCD_LISTEN_CLIENT_URLS=https://$listen:2379
ETCD_LISTEN_PEER_URLS=https://$listen:2380
ETCD_ADVERTISE_CLIENT_URLS=https://$address:2379
ETCD_INITIAL_ADVERTISE_PEER_URLS=https://$address:2380
ETCD_INITIAL_CLUSTER=$peers
ETCD_CLIENT_CERT_AUTH=true
ETCD_TRUSTED_CA_FILE=$tls/ca.pem
ETCD_CERT_FILE=$tls/node.pem
ETCD_KEY_FILE=$tls/node-key.pem
ETCD_PEER_CLIENT_CERT_AUTH=true
ETCD_PEER_TRUSTED_CA_FILE=$tls/ca.pem
ETCD_PEER_CERT_FILE=$tls/node.pem
ETCD_PEER_KEY_FILE=$tls/node-key.pem
ETCD_ELECTION_TIMEOUT=500
ETCD_HEARTBEAT_INTERVAL=100
ETCD_AUTO_COMPACTION_MODE=periodic
ETCD_AUTO_COMPACTION_RETENTION=10s
ETCD_QUOTA_BACKEND_BYTES=4294967296
ETCD_LOG_LEVEL=warn
TEXT
    cp -p "$settings" "$scratch/pynun.env.before"
    on_failure "cp -p $scratch/pynun.env.before $settings"
    cat >>"$settings" <<TEXT
# The cluster; docs/cluster-setup.md explains it.
NUN_ETCD=$clients
NUN_ETCD_CA=$tls/ca.pem
NUN_ETCD_CERT=$tls/node.pem
NUN_ETCD_KEY=$tls/node-key.pem
NUN_NODE_NAME=$node
NUN_CLUSTER_EXTERNAL_ADDR=$address:3015
TEXT
    if [ ! -e "$etcd_dir" ]; then
        mkdir -p "$etcd_dir"
        on_failure "rm -rf $etcd_dir"
        chmod 0700 "$etcd_dir"
        chown "$user:$(id -gn "$user")" "$etcd_dir"
    fi
    step "the settings of etcd are in $etcd_settings, its data in $etcd_dir"
}

start_etcd() {
    if ! has_systemd; then
        warn "systemd does not run here: the units are installed, and nothing was started"
    elif [ "$start" = yes ]; then
        systemctl --quiet enable pynun-etcd pynun
        # It is ready when a majority of all runs, so this does not wait for it.
        systemctl --no-block start pynun-etcd || fail "systemd could not start pynun-etcd; journalctl -u pynun-etcd says why"
        step "etcd starts, and waits for those of the other machines: systemctl status pynun-etcd"
    fi
}

say_next_steps() {
    say ""
    say "When this is done on all machines, check each, then start the servers one after another:"
    say "  sudo nun-db cluster check"
    say "  sudo systemctl start pynun"
    say "  sudo nun-db cluster status"
    say "If one of them has data that the cluster should begin with: docs/cluster-setup.md"
}

# One at a time.
take_lock() {
    made_prefix=$(missing_top "$prefix")
    mkdir -p "$prefix"
    [ -z "$made_prefix" ] || on_failure "rm -rf $made_prefix"
    if command -v flock >/dev/null 2>&1; then
        exec 9>"$prefix/.lock"
        flock -n 9 || fail "another install.sh is running in $prefix: wait until it is done"
    fi
}

# The topmost folder of a path that does not exist; nothing if all do.
missing_top() {
    missing=
    path=$1
    while [ ! -e "$path" ]; do
        missing=$path
        path=$(dirname "$path")
    done
    printf '%s' "$missing"
}

# --- the pieces

# The program: a virtual environment of its own for each version.
make_version() {
    target=$prefix/versions/$version
    if is_complete "$version" && cmp -s "$here/SHA256SUMS" "$target/share/pynun/SHA256SUMS"; then
        step "the program is there: $target"
        return
    fi
    mkdir -p "$prefix/versions"
    if [ -e "$target" ]; then
        rm -rf "$target.replaced"
        mv "$target" "$target.replaced"
        on_failure "mv $target.replaced $target"
    fi
    on_failure "rm -rf $target"
    "$python" -I -m venv --without-pip "$target" || fail "the virtual environment $target could not be created (see above)"
    # The machine's own settings of pip must not lend a hand: what is missing in the bundle has to show.
    pip=$(echo "$here"/wheels/pip-*.whl)
    env -i PATH="$PATH" HOME="$scratch" TMPDIR="$scratch" PIP_CONFIG_FILE=/dev/null \
        "$target/bin/python" -I "$pip/pip" install --isolated --no-index --find-links "$here/wheels" \
        --only-binary :all: --require-hashes --no-deps --no-compile --no-cache-dir --quiet --no-input \
        --disable-pip-version-check --root-user-action ignore --requirement "$here/wheels/requirements.txt" ||
        fail "the packages could not be installed (see above)"
    "$target/bin/python" -I -m compileall -q "$target/lib" || fail "the packages could not be compiled (see above)"
    mkdir -p "$target/share/pynun"
    for name in SHA256SUMS README.txt LICENSE CHANGELOG.md sbom.json docs install.sh uninstall.sh pynun.service data_folder.py \
        pynun-etcd.service cluster_certificates.sh; do
        [ ! -e "$here/$name" ] || cp -R "$here/$name" "$target/share/pynun/"
    done
    [ ! -e "$here/docker/etcd/etcd" ] || cp "$here/docker/etcd/etcd" "$target/bin/etcd"
    "$target/bin/nun-db" version >/dev/null || fail "the installed program does not run (see above)"
    touch "$target/.complete"
    rm -rf "$target.replaced"
    step "the program is in $target"
}

is_complete() { [ -e "$prefix/versions/$1/.complete" ] && "$prefix/versions/$1/bin/python" -I -c 'import lmdb' 2>/dev/null; }

make_user() {
    if id -u "$user" >/dev/null 2>&1; then
        return
    fi
    command -v useradd >/dev/null 2>&1 || fail "there is no user $user, and no useradd to make it with: make it yourself, then run this again"
    useradd --system --user-group --home-dir "$data_dir" --no-create-home --shell /usr/sbin/nologin "$user" ||
        fail "the user $user could not be created (see above)"
    on_failure "userdel $user"
    user_made=yes
    step "the server runs as the new user $user"
}

make_data_dir() {
    if [ ! -e "$data_dir" ]; then
        made=$(missing_top "$data_dir")
        mkdir -p "$data_dir"
        on_failure "rm -rf $made"
        chmod 0700 "$data_dir"
        chown "$user:$(id -gn "$user")" "$data_dir"
        step "the data will be in $data_dir"
    elif [ "$(stat -c %U "$data_dir")" != "$user" ]; then
        warn "$data_dir belongs to $(stat -c %U "$data_dir"); the server needs it: chown -R $user: $data_dir"
    fi
}

# The settings with a new password; those that are there stay as they are.
make_settings() {
    password=
    [ ! -e "$settings" ] || return 0
    made=$(missing_top "$config_dir")
    mkdir -p "$config_dir"
    [ -z "$made" ] || on_failure "rm -rf $made"
    if [ -n "$password_file" ]; then
        password=$(cat "$password_file")
    else
        password=$("$python" -I -c 'import secrets; print(secrets.token_urlsafe(18))')
    fi
    on_failure "rm -f $settings $settings.new"
    (
        umask 077
        cat >"$settings.new" <<TEXT
# The settings of pynun, one a line: NAME=VALUE. All are in docs/configuration.md.
# After a change: nun-db check-config && systemctl restart pynun
NUN_USER=admin
NUN_PWD=$password
NUN_DBS_DIR=$data_dir
# Viewers need port 3012 alone. The two others are for this machine only; without these lines, they are open to all.
NUN_HTTP_ADDR=127.0.0.1:3013
NUN_TCP_ADDR=127.0.0.1:3014
TEXT
    )
    mv "$settings.new" "$settings"
    step "the settings are in $settings"
}

show_login() {
    [ -n "$password" ] || return 0
    say ""
    say "The console: http://127.0.0.1:3013/console, in a browser on this machine."
    say "From another one, first: ssh -L 3013:127.0.0.1:3013 THIS-MACHINE"
    # On a terminal only: everything else may be kept somewhere.
    if [ -t 1 ]; then
        say "The administrator's user is admin, the password (shown this once): $password"
        say "It is also in $settings, which only root can read."
    else
        say "The administrator's user is admin; the password is in $settings, which only root can read."
    fi
}

# Write the units of a version.
make_unit() {
    [ "$systemd" = yes ] || return 0
    write_unit "$1" pynun
    [ "$cluster" = no ] || write_unit "$1" pynun-etcd
}

write_unit() {
    template=$prefix/versions/$1/share/pynun/$2.service
    unit=$unit_dir/$2.service
    made=$(missing_top "$unit_dir")
    mkdir -p "$unit_dir"
    [ -z "$made" ] || on_failure "rm -rf $made"
    sed -e "s#@PREFIX@#$prefix#g" -e "s#@DATA_DIR@#$data_dir#g" -e "s#@CONFIG_DIR@#$config_dir#g" -e "s#@USER@#$user#g" \
        -e "s#@GROUP@#$(id -gn "$user")#g" "$template" >"$scratch/$2.service"
    if has_systemd; then on_failure "systemctl daemon-reload"; fi
    if [ -e "$unit" ]; then
        if cmp -s "$scratch/$2.service" "$unit"; then return 0; fi
        cp "$unit" "$scratch/$2.service.before"
        on_failure "cp $scratch/$2.service.before $unit"
    else
        on_failure "rm -f $unit"
    fi
    cp "$scratch/$2.service" "$unit"
    chmod 0644 "$unit"
    if has_systemd; then
        systemctl daemon-reload
    fi
    step "the unit of systemd is $unit"
}

make_link() {
    if [ -L "$link" ]; then return 0; fi
    mkdir -p "$bin_dir"
    on_failure "rm -f $link"
    ln -s "$wanted" "$link"
}

# The manual pages and completions, where man and the shells look for those of a command in $bin_dir. A name that is taken
# stays as it is.
share_folders="man/man1 bash-completion/completions zsh/site-functions fish/vendor_completions.d"
link_share() {
    share=$(dirname "$bin_dir")/share
    for folder in $share_folders; do
        # what the version before had, and this one has not
        find "$share/$folder" -lname "$prefix/current/share/*" ! -exec test -e {} ';' -delete 2>/dev/null || :
        for file in "$prefix/current/share/$folder"/*nun-db*; do
            name=$share/$folder/${file##*/}
            if [ ! -e "$file" ] || [ -e "$name" ] || [ -L "$name" ]; then continue; fi
            mkdir -p "$share/$folder" 2>/dev/null || continue
            on_failure "rm -f $name"
            ln -s "$file" "$name"
        done
    done
}

# Point a link at a version, at one stroke.
point() {
    before=$(linked "$1")
    if [ "$before" = "$2" ]; then return 0; fi
    if [ -n "$before" ]; then
        on_failure "ln -sfn versions/$before $prefix/$1"
    else
        on_failure "rm -f $prefix/$1"
    fi
    ln -sfn "versions/$2" "$prefix/$1.new"
    mv -Tf "$prefix/$1.new" "$prefix/$1"
}

# What uninstall.sh and later runs need to know, and those two scripts themselves.
make_conf() {
    [ -z "$fresh" ] || on_failure "rm -f $conf $prefix/install.sh $prefix/uninstall.sh"
    for name in install.sh uninstall.sh; do
        [ "$here" = "$prefix" ] || cp "$here/$name" "$prefix/$name.new"
        [ "$here" = "$prefix" ] || mv -f "$prefix/$name.new" "$prefix/$name"
    done
    cat >"$conf.new" <<TEXT
data_dir=$data_dir
config_dir=$config_dir
unit_dir=$unit_dir
bin_dir=$bin_dir
user=$user
user_made=$user_made
systemd=$systemd
cluster=$cluster
TEXT
    mv -f "$conf.new" "$conf"
}

# --- starting and stopping

# The value of a setting in the settings file, without quotes around it.
setting() { sed -n "s/^$1=//p" "$settings" | tail -n 1 | sed "s/^\"\(.*\)\"\$/\1/; s/^'\(.*\)'\$/\1/"; }

# Start the server anew, and wait until it is ready. While it says that it imports data, that takes its time.
run_server() {
    rm -f "$scratch/restarted"
    (
        code=0
        systemctl restart pynun || code=$?
        echo "$code" >"$scratch/restarted"
    ) &
    tries=0
    told=no
    while [ "$tries" -lt 60 ]; do
        code=$(cat "$scratch/restarted" 2>/dev/null || :)
        [ "${code:-0}" = 0 ] || fail "systemd could not start pynun; journalctl -u pynun says why"
        if answer=$(NUN_HTTP_ADDR=$(setting NUN_HTTP_ADDR) NUN_TLS_CERT=$(setting NUN_TLS_CERT) \
            "$prefix/current/bin/python" -P -m pynun.cli.health 2>&1) && is_active; then
            step "the server runs: systemctl status pynun"
            return 0
        fi
        case $answer in
            *"not ready: starting: "*)
                [ "$told" = yes ] || say "The server is ${answer##*not ready: }; this waits until it is ready."
                told=yes
                tries=0
                ;;
        esac
        sleep 0.5
        [ -z "$code" ] || tries=$((tries + 1)) # until systemd is done, its own time limit counts
    done
    warn "$answer"
    fail "the server is not ready after 30 seconds; journalctl -u pynun says why"
}

start_server() {
    if ! has_systemd; then
        [ "$systemd" = no ] || warn "systemd does not run here: the unit is installed, and the server was not started"
        say ""
        say "Start the server with (a shell of root):"
        say "  ( set -a; . $settings; NUN_RUN_AS=$(id -u "$user"):$(id -g "$user"); exec $prefix/current/bin/nun-db start )"
        return 0
    fi
    if [ "$start" = no ]; then
        say "Start the server with: systemctl enable --now pynun"
        return 0
    fi
    "$prefix/current/bin/nun-db" check-config >/dev/null || fail "the server was not started: correct the settings (see above)"
    [ -z "$fresh" ] || on_failure "systemctl --quiet disable --now pynun"
    systemctl --quiet enable pynun
    run_server
}

# --- upgrade and rollback

# Where the data is: somebody may have moved it since, and said so in the settings.
find_data() {
    in_use=$data_dir
    [ -r "$settings" ] || return 0
    in_use=$(setting NUN_DBS_DIR)
    case ${in_use:=dbs} in # the default, in the folder that the server is started in
        /*) ;;
        *) in_use=$data_dir/$in_use ;;
    esac
}

data_folder() {
    "$prefix/versions/$1/bin/python" -I "$prefix/versions/$1/share/pynun/data_folder.py" "$2" "$in_use"
}

stop_server() {
    was_active=no
    if is_active; then
        was_active=yes
        on_failure "systemctl restart pynun"
        systemctl stop pynun || fail "systemd could not stop pynun; journalctl -u pynun says why"
    fi
    data_folder "$1" unused || fail "a server still runs on $in_use: stop it, then run this again"
}

# etcd of another version than that of the folder $1, if this machine has one.
restart_etcd() {
    if [ "$cluster" = no ] || ! has_systemd; then return 0; fi
    cmp -s "$prefix/versions/$1/bin/etcd" "$prefix/current/bin/etcd" || systemctl --no-block try-restart pynun-etcd
}

restart_server() {
    if [ "$was_active" = yes ]; then
        run_server
    else
        say "The server was not running, and was not started."
    fi
}

# A backup of the stopped server's data, verified, by the version that wrote it.
back_up() {
    [ -e "$in_use/data.mdb" ] || return 0
    made=$(missing_top "$data_dir-backups")
    [ -z "$made" ] || on_failure "rm -rf $made"
    mkdir -p "$data_dir-backups"
    chmod 0700 "$data_dir-backups"
    "$prefix/versions/$1/bin/nun-db" backup --data-dir "$in_use" --replace "$2" >/dev/null ||
        fail "the data could not be backed up to $2 (see above)"
    step "a backup of the data is in $2"
}

# The new version may have converted the data, which the old one can't read then.
restore_old() {
    data_folder "$1" check 2>/dev/null && return
    systemctl stop pynun 2>/dev/null || true
    "$prefix/versions/$1/bin/nun-db" restore "$2" --data-dir "$in_use" --replace >/dev/null
}

upgrade() {
    find_data
    old=$(linked current)
    if [ "$old" = "$version" ] && is_complete "$version"; then
        say "pynun $version is installed already."
        return 0
    fi
    newest=$(printf '%s\n%s\n' "$old" "$version" | sort -V | tail -n 1)
    [ "$newest" = "$version" ] || fail "version $old is installed, newer than this bundle's $version: to go back, use --rollback"
    make_version
    data_folder "$version" check || fail "the data can't be used by version $version (see above); nothing was changed"
    "$prefix/versions/$version/bin/nun-db" check-config >/dev/null ||
        fail "version $version would not start with these settings (see above); nothing was changed"
    stop_server "$version"
    back_up "$old" "$data_dir-backups/before-$version.backup"
    on_failure "restore_old $old $data_dir-backups/before-$version.backup"
    point current "$version"
    point previous "$old"
    link_share
    make_unit "$version"
    restart_etcd "$old"
    restart_server
    make_conf
    remove_others
    undo=
    say "pynun $version is installed in place of $old. To go back: sh $prefix/install.sh --rollback"
}

# All but the current version and the one before it.
remove_others() {
    for folder in "$prefix"/versions/*; do
        name=${folder##*/}
        [ "$name" = "$(linked current)" ] || [ "$name" = "$(linked previous)" ] || rm -rf "$folder"
    done
}

rollback() {
    find_data
    old=$(linked current)
    version=$(linked previous)
    [ -n "$version" ] || fail "there is no version to go back to: nothing was upgraded"
    is_complete "$version" || fail "version $version can't be used any more: $prefix/versions/$version is not whole"
    copy=$data_dir-backups/before-$old.backup
    if ! data_folder "$version" check; then
        fail "the data can't be used by version $version (see above), nothing was changed. The backup from before the upgrade is $copy: docs/upgrade.md says how to restore it"
    fi
    if [ -n "$dry_run" ]; then
        say "Nothing was changed. Without --dry-run, pynun $version would take the place of $old."
        exit 0
    fi
    stop_server "$version"
    point current "$version"
    point previous "$old"
    link_share
    make_unit "$version"
    restart_etcd "$old"
    restart_server
    undo=
    say "pynun $version is in use again in place of $old; the data is as it is. To undo this: sh $prefix/install.sh --rollback"
}

# --- the whole

scratch=$(mktemp -d)
fresh=yes
if is_installed; then
    fresh=
    read_conf
elif [ "$mode" != install ]; then
    fail "pynun is not installed in $prefix: run sh install.sh without --$mode, or name the folder with --prefix"
fi

if [ "$mode" = rollback ]; then
    [ -n "$dry_run" ] || take_lock
    rollback
    exit 0
fi

check_bundle
installed=$(linked current)
if [ "$mode" = install ] && is_installed && [ "$installed" != "$version" ]; then
    fail "version $installed is installed in $prefix: run sh install.sh --upgrade for $version"
fi
choose_python
check_room
check_link
address=
[ -z "$joining" ] || ask_for_cluster
if [ -n "$dry_run" ]; then
    say "Nothing was changed. Without --dry-run: $mode of pynun $version to $prefix, data in $data_dir, settings in $settings, user $user."
    exit 0
fi
take_lock
if [ "$mode" = upgrade ]; then
    upgrade
    exit 0
fi
make_version
make_user
make_data_dir
make_settings
[ -z "$address" ] || make_cluster_settings
point current "$version"
make_link
link_share
make_unit "$version"
make_conf
[ "$cluster" = no ] || start_etcd
[ -n "$joining" ] || start_server
undo=
say ""
say "pynun $version is installed in $prefix. What to do next: $prefix/current/share/pynun/docs"
show_login
[ -z "$joining" ] || say_next_steps
