#!/bin/sh
# Create the certificates of a cluster without cert-manager: a separate CA, and one certificate that scheduler,
# workers and client share. Then print the command that creates the Secret.
#
#   certificates.sh FOLDER [DAYS [NAMESPACE]]
#
# FOLDER must not exist, or be empty: keys are never overwritten. The CA's key is not needed afterwards and is
# discarded: a new pair comes with a new CA.
set -eu
umask 077

case "${1:-}" in
    "" | -*) sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
folder=$1
days=${2:-365}
namespace=${3:-masksift}
case "$days" in
    "" | *[!0-9]* | 0*) echo "certificates.sh: DAYS is '$days', which is not a number of days" >&2; exit 2 ;;
esac

mkdir -p "$folder"
if [ -n "$(ls -A "$folder")" ]; then
    echo "certificates.sh: $folder is not empty, and keys are not overwritten: use a new folder" >&2
    exit 2
fi
chmod 700 "$folder"
work=$(mktemp -d "$folder/.making.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

cat > "$work/extensions" <<EXTENSIONS
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature, keyEncipherment
extendedKeyUsage = serverAuth, clientAuth
subjectAltName = DNS:masksift-scheduler.$namespace.svc.cluster.local
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
EXTENSIONS

curve="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
# shellcheck disable=SC2086  # split into words on purpose
{
    openssl req -x509 $curve -keyout "$work/ca.key" -out "$work/ca.crt" -days "$days" -subj "/CN=masksift CA" \
        -addext "basicConstraints = critical, CA:TRUE, pathlen:0" -addext "keyUsage = critical, keyCertSign, cRLSign"
    openssl req $curve -keyout "$work/tls.key" -out "$work/tls.csr" -subj "/CN=masksift"
    openssl x509 -req -in "$work/tls.csr" -CA "$work/ca.crt" -CAkey "$work/ca.key" -CAcreateserial -days "$days" \
        -extfile "$work/extensions" -out "$work/tls.crt"
} 2> "$work/log" || { cat "$work/log" >&2; exit 1; }
mv "$work/ca.crt" "$work/tls.crt" "$work/tls.key" "$folder/"

# As cert-manager creates it: type kubernetes.io/tls, with the CA next to the pair.
cat <<TEXT
$folder: ca.crt, tls.crt, tls.key, for $days days. Create the Secret, then remove the folder:

kubectl --namespace $namespace create secret generic masksift-tls --type kubernetes.io/tls \\
    --from-file ca.crt=$folder/ca.crt --from-file tls.crt=$folder/tls.crt --from-file tls.key=$folder/tls.key
TEXT
