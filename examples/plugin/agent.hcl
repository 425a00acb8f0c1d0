# password-sender-operator vault-agent: follows the mount, and writes back what it saw.
path "send/events" {
  capabilities = ["read"]
}
path "send/links/*" {
  capabilities = ["read", "list"]
}
path "send/links" {
  capabilities = ["list"]
}
path "send/evidence/*" {
  capabilities = ["update"]
}
# How long it lives, and for longer. The policy default grants both; without the first it is not renewed either.
path "auth/token/lookup-self" {
  capabilities = ["read"]
}
path "auth/token/renew-self" {
  capabilities = ["update"]
}

# What its rotations need. A static role of a database engine:
path "database/rotate-role/shop" {
  capabilities = ["update"]
}
path "database/static-creds/shop" {
  capabilities = ["read"]
}
path "database/static-roles/shop" {
  capabilities = ["read"]
}
# A KV version 2 secret: new values for some keys, the old version destroyed.
path "secret/data/apps/vpn" {
  capabilities = ["read", "patch", "update"]
}
path "secret/metadata/apps/vpn" {
  capabilities = ["read"]
}
path "secret/destroy/apps/vpn" {
  capabilities = ["update"]
}
# A request of your own (rotate_engine=request).
path "secret/data/told" {
  capabilities = ["create", "update"]
}
