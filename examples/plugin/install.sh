#!/bin/sh
# Registers the program password-sender-plugin as password-sender and mounts it at send/, for OpenBao:
#
#     PLUGIN_DIR=/etc/openbao/plugins PUBLIC_URL=https://links.example.com sh install.sh bao
#
# and for HashiCorp Vault:
#
#     PLUGIN_DIR=/etc/vault.d/plugins PUBLIC_URL=https://links.example.com sh install.sh vault
#
# The program lies in PLUGIN_DIR already, which is the server's plugin_directory, on every node of a cluster; with the .sha256 that
# it was shipped with beside it, it is compared with that first. The address and the token are those that `bao` and `vault` take
# from the environment.
set -eu
cli=${1:?bao or vault}
here=$(dirname "$0")
name=password-sender
program=password-sender-plugin
sha256=$(sha256sum "${PLUGIN_DIR:?}/$program" | cut -d ' ' -f 1)
shipped="$PLUGIN_DIR/$program.sha256"
if [ -e "$shipped" ] && [ "$sha256" != "$(cut -d ' ' -f 1 "$shipped")" ]; then
    echo "$PLUGIN_DIR/$program is not the program that $shipped was made for: nothing was registered" >&2
    exit 1
fi

"$cli" plugin register -sha256="$sha256" -command="$program" secret "$name"
"$cli" secrets enable -path=send "$name"
"$cli" write send/config public_url="${PUBLIC_URL:?}"

# Who is handed a credential of the shop's database may use it for an hour; then it is rotated.
"$cli" write send/roles/onboarding max_ttl=8h \
    rotate_engine=database rotate_mount=database rotate_name=shop rotate_after=1h

for policy in gateway sender agent; do
    "$cli" policy write "send-$policy" "$here/$policy.hcl"
done
