# Who may send as `onboarding`: sealed by Vault (link), sealed on their own machine (sealed), with a lease (lease).
path "send/link/onboarding" {
  capabilities = ["update"]
}
path "send/sealed/onboarding" {
  capabilities = ["update"]
}
path "send/lease/*" {
  capabilities = ["read"]
}
