path "send/gateway/*" {
  capabilities = ["update"]
}
path "auth/token/renew-self" { capabilities = ["update"] }
