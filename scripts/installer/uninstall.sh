#!/bin/sh
# Takes pynun off this machine. The data and the settings stay, unless --purge is given. install.sh leaves it in the
# folder of the program: sh /opt/pynun/uninstall.sh
set -eu
LC_ALL=C
export LC_ALL
unset CDPATH

usage() {
    cat <<'TEXT'
usage: sh uninstall.sh [--purge] [--yes]

Stops the server, and etcd if this is a node of a cluster, and removes the program. The data, its backups, the data of
etcd and the settings stay.

  --purge   remove these too, and the user that was made for the server
  --yes     don't ask
TEXT
}

say() { printf '%s\n' "$1"; }
fail() {
    printf 'uninstall.sh: %s\n' "$1" >&2
    exit 1
}

purge=
yes=
while [ $# -gt 0 ]; do
    case $1 in
        --purge) purge=yes ;;
        --yes) yes=yes ;;
        --help)
            usage
            exit 0
            ;;
        *) fail "unknown option $1; see sh uninstall.sh --help" ;;
    esac
    shift
done

[ "$(id -u)" = 0 ] || fail "it must be run as root: sudo sh uninstall.sh"
prefix=$(cd "$(dirname "$0")" && pwd -P)
conf=$prefix/install.conf
[ -r "$conf" ] || fail "pynun is not installed in $prefix: run the uninstall.sh of the folder that it is installed in"
conf_value() { sed -n "s/^$1=//p" "$conf"; }
data_dir=$(conf_value data_dir)
config_dir=$(conf_value config_dir)
units=$(conf_value unit_dir)
link=$(conf_value bin_dir)/nun-db
user=$(conf_value user)
# Where the data is: somebody may have moved it since, and said so in the settings.
in_use=$data_dir
if [ -r "$config_dir/pynun.env" ]; then
    in_use=$(sed -n 's/^NUN_DBS_DIR=//p' "$config_dir/pynun.env" | tail -n 1 | sed "s/^\"\(.*\)\"\$/\1/; s/^'\(.*\)'\$/\1/")
    case ${in_use:=dbs} in
        /*) ;;
        *) in_use=$data_dir/$in_use ;;
    esac
fi

# Only a node of a cluster has the data of etcd.
etcd_dir=$data_dir-etcd
etcd_data='' option=''
[ ! -d "$etcd_dir" ] || etcd_data=" the data of etcd in $etcd_dir," option=' with --cluster'

# The answer must be the given word.
ask() {
    [ -z "$yes" ] || return 0
    [ -t 0 ] || fail "there is no terminal to ask on: use --yes to remove it without asking"
    printf '%s Type %s to go on: ' "$1" "$2"
    read -r answer || answer=
    [ "$answer" = "$2" ] || fail "nothing was removed"
}
# Removes a folder that is empty by now. What others put into it (a key for TLS) is theirs: it stays, and is named.
remove_empty() {
    if rmdir "$1" 2>/dev/null || [ ! -d "$1" ]; then return 0; fi
    names=$(find "$1" -mindepth 1 -maxdepth 1 | sed 's|.*/||' | sort | head -n 10 | tr '\n' ' ')
    say "$1 stays, for it holds what pynun did not put there: ${names% }; remove it yourself if nobody needs it."
}

if [ -n "$purge" ]; then
    ask "This removes pynun, all its data in $data_dir,$etcd_data and its backups in $data_dir-backups." purge
else
    ask "This removes pynun from $prefix; the data in $in_use,$etcd_data and the settings in $config_dir stay." yes
fi

if [ "$(conf_value systemd)" = yes ] && [ -d /run/systemd/system ] && command -v systemctl >/dev/null 2>&1; then
    for name in pynun pynun-etcd; do
        [ ! -e "$units/$name.service" ] || systemctl --quiet disable --now "$name" ||
            fail "systemd could not stop $name, nothing was removed; journalctl -u $name says why"
    done
fi
# A server run by hand must be stopped first: its files must not disappear under it.
helper=$prefix/current/share/pynun/data_folder.py
if [ -x "$prefix/current/bin/python" ] && [ -r "$helper" ]; then
    "$prefix/current/bin/python" -I "$helper" unused "$in_use" 2>/dev/null ||
        fail "a server still runs on $in_use, nothing was removed: stop it, then run this again"
fi

if [ -e "$units/pynun.service" ]; then
    rm -f "$units/pynun.service" "$units/pynun-etcd.service"
    [ ! -d /run/systemd/system ] || systemctl daemon-reload || :
fi
if [ -L "$link" ] && [ "$(readlink "$link")" = "$prefix/current/bin/nun-db" ]; then rm -f "$link"; fi
for folder in man/man1 bash-completion/completions zsh/site-functions fish/vendor_completions.d; do
    find "${link%/*/*}/share/$folder" -lname "$prefix/current/share/*" -delete 2>/dev/null || :
done
user_made=$(conf_value user_made)
rm -rf "$prefix/versions" "$prefix/current" "$prefix/previous"
rm -f "$conf" "$prefix/install.sh" "$prefix/.lock" "$prefix/uninstall.sh"
remove_empty "$prefix"
say "The program is removed."

if [ -z "$purge" ]; then
    say "Kept: the data in $in_use,$etcd_data the settings in $config_dir, the user $user. A new installation$option takes them up again."
    exit 0
fi
rm -rf "$data_dir" "$data_dir-backups" "$etcd_dir" "$config_dir/cluster"
rm -f "$config_dir/pynun.env" "$config_dir/etcd.env"
say "The data,$etcd_data its backups and the settings are removed."
case $in_use/ in
    "$data_dir"/*) ;;
    *) if [ -d "$in_use" ]; then say "$in_use stays, where the settings had the data: remove it yourself if nobody needs it."; fi ;;
esac
remove_empty "$config_dir"
if [ "$user_made" = yes ] && id -u "$user" >/dev/null 2>&1; then
    # Remaining files must not belong to the next user who gets this uid.
    for folder in "$config_dir" "$in_use"; do
        [ ! -d "$folder" ] || find "$folder" -user "$user" -exec chown -h root:0 {} +
    done
    if userdel "$user"; then say "The user $user is removed."; else say "The user $user could not be removed."; fi
else
    say "The user $user stays, for this installation did not make it."
fi
for changes in "$units/pynun.service.d" "$units/pynun-etcd.service.d"; do
    [ ! -e "$changes" ] || say "$changes holds changes to the unit, and stays."
done
