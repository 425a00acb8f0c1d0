//! What can be wrong with a provider, as faults.

use ps_core::error::{Class, Fault};

const FIELD: &str = "oidc";

/// No provider is configured.
pub(crate) fn not_configured() -> Fault {
    Fault::new(Class::Misconfigured, "oidc-not-configured", "the operator has no identity provider")
        .field("spec.verification.oidc")
        .remedy("Configure oidc (issuer, clientId, clientSecretFile) for the operator, or leave verification.oidc out")
}

/// It did not answer, or not as a provider does. `what` is one of our own words.
pub(crate) fn unreachable(what: &'static str, why: &str) -> Fault {
    Fault::new(Class::Transient, "oidc-unreachable", format!("the identity provider's {what}: {why}"))
        .remedy("See that the issuer can be reached from the operator, and that oidc.caFile trusts its certificate")
}

/// It answers, and says something that can't be used.
pub(crate) fn odd(what: &'static str, why: &str) -> Fault {
    Fault::new(Class::Misconfigured, "oidc-provider-odd", format!("the identity provider's {what}: {why}"))
        .field(FIELD)
        .remedy("See that oidc.issuer is exactly the issuer that the provider names in its discovery document")
}

/// It does not know this client, or its secret is wrong.
pub(crate) fn client_refused() -> Fault {
    Fault::new(Class::Misconfigured, "oidc-client-refused", "the identity provider does not accept this client")
        .field(FIELD)
        .remedy("See that clientId and the secret are right, and that PUBLIC_URL/ is a redirect URI of the client")
}
