#!/bin/sh
# Makes the certificates of a cluster's nodes, and the authority that signs them. sh cluster_certificates.sh --help
set -eu
umask 077
LC_ALL=C
export LC_ALL

usage() {
    cat <<'TEXT'
usage: sh cluster_certificates.sh --nodes NAME=ADDRESS,NAME=ADDRESS,NAME=ADDRESS [--output DIR] [--days N]

Makes a folder for each node, with ca.pem, node.pem and node-key.pem: for etcd, and for the nodes among themselves.
Copy each to the machine of that node. Keep ca-key.pem where nobody else can read it: anyone who has it can make nodes.
With it in place, this makes new certificates of the same authority: for another node, or before the old ones end. The
authority itself is valid for a hundred years.

  --nodes LIST   the nodes: name, and address or host name by which the others reach it
  --output DIR   default certificates
  --days N       how long the nodes' certificates are valid, default 3650
TEXT
}

fail() {
    printf 'cluster_certificates.sh: %s\n' "$1" >&2
    exit 1
}

nodes=
output=certificates
days=3650
while [ $# -gt 0 ]; do
    case $1 in
        --nodes | --output | --days)
            [ $# -ge 2 ] || fail "$1 needs a value; see --help"
            case $1 in
                --nodes) nodes=$2 ;;
                --output) output=$2 ;;
                --days) days=$2 ;;
            esac
            shift
            ;;
        --help)
            usage
            exit 0
            ;;
        *) fail "unknown option $1; see --help" ;;
    esac
    shift
done
[ -n "$nodes" ] || fail "--nodes is missing; see --help"
command -v openssl >/dev/null 2>&1 || fail "openssl is not installed (apt-get install openssl)"

mkdir -p "$output"
if [ ! -e "$output/ca-key.pem" ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 36500 -subj "/O=nun-db cluster" \
        -addext "keyUsage=critical,keyCertSign,cRLSign" \
        -keyout "$output/ca-key.pem" -out "$output/ca.pem" 2>/dev/null || fail "openssl could not make the authority"
fi
for node in $(printf '%s' "$nodes" | tr ',' ' '); do
    name=${node%%=*}
    address=${node#*=}
    case $node in
        =* | *= | *[!A-Za-z0-9._=-]*) fail "--nodes: $node is not accepted; accepted: NAME=ADDRESS" ;;
        *=*) ;;
        *) fail "--nodes: $node is not accepted; accepted: NAME=ADDRESS" ;;
    esac
    case $address in
        *[!0-9.]*) kind=DNS ;;
        *) kind=IP ;;
    esac
    mkdir -p "$output/$name"
    # No common name: etcd refuses the requests of clients that have one.
    cat >"$output/$name/extensions" <<TEXT
subjectAltName=$kind:$address,DNS:$name,DNS:localhost,IP:127.0.0.1
extendedKeyUsage=serverAuth,clientAuth
keyUsage=critical,digitalSignature
basicConstraints=critical,CA:FALSE
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
TEXT
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/O=nun-db node" \
        -keyout "$output/$name/node-key.pem" -out "$output/$name/request" 2>/dev/null ||
        fail "openssl could not make the key of $name"
    openssl x509 -req -in "$output/$name/request" -CA "$output/ca.pem" -CAkey "$output/ca-key.pem" -CAcreateserial \
        -days "$days" -extfile "$output/$name/extensions" -out "$output/$name/node.pem" 2>/dev/null ||
        fail "openssl could not make the certificate of $name"
    rm -f "$output/$name/request" "$output/$name/extensions"
    cp "$output/ca.pem" "$output/$name/ca.pem"
    printf '%s\n' "$output/$name: for $address, valid for $days days"
done
