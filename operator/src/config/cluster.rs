//! What `run` needs besides: where it lives in the cluster, and how one of several operators is elected.

use ps_core::time::Span;
use serde::Deserialize;

use super::{ConfigError, span};

/// Where service accounts find the name of their namespace.
const OWN_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// The operator in a cluster. `standalone` does not read it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Kubernetes {
    /// The operator's own namespace: its ledger and its Lease lie there. Default: that of its service account.
    #[serde(default)]
    pub namespace: Option<String>,
    /// The namespace of link records, which holds nothing else. Default: the operator's own with `-links` at its end.
    #[serde(default)]
    pub links_namespace: Option<String>,
    /// The namespaces whose deliveries are served. Default: all.
    #[serde(default)]
    pub watch_namespaces: Vec<String>,
    /// Where namespaced `VaultConnection`s may lead, each `https://host[:port]`. Default: anywhere.
    #[serde(default)]
    pub vault_addresses: Vec<String>,
    /// Whether connections may lead to `http://` on this machine, which is the operator's own pod. For tests only.
    /// Default: false.
    #[serde(default)]
    pub allow_http: bool,
    /// How one of several operators is elected.
    #[serde(default)]
    pub leader_election: LeaderElection,
}

/// Leader election, with the meaning of client-go's options of the same names. Safety never depends on it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LeaderElection {
    /// Whether to elect at all. Without it every operator that runs is active. Default true.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Name of the Lease in the operator's namespace. Default `password-sender-operator`.
    #[serde(default = "lease_name")]
    pub lease_name: String,
    /// How long others wait after the last sign of the leader. Between `2s` and `5m`; default `15s`.
    #[serde(default = "lease_duration", deserialize_with = "span")]
    pub lease_duration: Span,
    /// After this long without a renewal the leader stops. Less than `leaseDuration`; default `10s`.
    #[serde(default = "renew_deadline", deserialize_with = "span")]
    pub renew_deadline: Span,
    /// Between two tries. Less than `renewDeadline`; default `2s`.
    #[serde(default = "retry_period", deserialize_with = "span")]
    pub retry_period: Span,
}

impl Default for LeaderElection {
    fn default() -> Self {
        Self {
            enabled: true,
            lease_name: lease_name(),
            lease_duration: lease_duration(),
            renew_deadline: renew_deadline(),
            retry_period: retry_period(),
        }
    }
}

const fn yes() -> bool {
    true
}

fn lease_name() -> String {
    "password-sender-operator".to_owned()
}

const fn lease_duration() -> Span {
    Span::from_secs(15)
}

const fn renew_deadline() -> Span {
    Span::from_secs(10)
}

const fn retry_period() -> Span {
    Span::from_secs(2)
}

impl Kubernetes {
    /// The operator's own namespace.
    ///
    /// # Errors
    /// If it is not configured, and this process has no service account.
    pub fn own_namespace(&self) -> Result<String, ConfigError> {
        if let Some(name) = &self.namespace {
            return Ok(name.clone());
        }
        match std::fs::read_to_string(OWN_NAMESPACE) {
            Ok(name) if !name.trim().is_empty() => Ok(name.trim().to_owned()),
            _ => Err(ConfigError::Field {
                field: "kubernetes.namespace",
                why: "name the operator's namespace: this process has no service account that tells it".into(),
            }),
        }
    }

    /// The namespace of link records.
    ///
    /// # Errors
    /// If it is the operator's own.
    pub fn links(&self, own: &str) -> Result<String, ConfigError> {
        match &self.links_namespace {
            Some(links) if links == own => Err(ConfigError::Field {
                field: "kubernetes.linksNamespace",
                why: "another one than the operator's own: the gateway reads everything in it".into(),
            }),
            Some(links) => Ok(links.clone()),
            None => Ok(format!("{own}-links")),
        }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let field = |field, why: &str| Err(ConfigError::Field { field, why: why.to_owned() });
        for (name, value) in [
            ("kubernetes.namespace", self.namespace.as_slice()),
            ("kubernetes.linksNamespace", self.links_namespace.as_slice()),
            ("kubernetes.watchNamespaces", &self.watch_namespaces),
            ("kubernetes.leaderElection.leaseName", std::slice::from_ref(&self.leader_election.lease_name)),
        ] {
            if !value.iter().all(|v| is_label(v)) {
                return field(name, "a name of lower-case letters, digits and hyphens, at most 63 characters");
            }
        }
        // Where it is the service account's, that is seen when it is known.
        if let Some(own) = &self.namespace {
            self.links(own)?;
        }
        if !self.vault_addresses.iter().all(|address| is_address(address, self.allow_http)) {
            return field("kubernetes.vaultAddresses", "addresses like https://vault.example.com:8200, without a path");
        }
        let LeaderElection { lease_duration, renew_deadline, retry_period, .. } = self.leader_election;
        if lease_duration < Span::from_secs(2) || lease_duration > Span::from_secs(300) {
            return field("kubernetes.leaderElection.leaseDuration", "between 2s and 5m");
        }
        if renew_deadline >= lease_duration {
            return field("kubernetes.leaderElection.renewDeadline", "less than leaseDuration");
        }
        if retry_period >= renew_deadline || retry_period == Span::ZERO {
            return field("kubernetes.leaderElection.retryPeriod", "more than 0 and less than renewDeadline");
        }
        Ok(())
    }
}

/// Scheme, host and perhaps a port, as connections have it.
fn is_address(text: &str, allow_http: bool) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://").filter(|_| allow_http));
    let host = host.map(|host| host.strip_suffix('/').unwrap_or(host));
    host.is_some_and(|h| !h.is_empty() && h.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b)))
}

/// RFC 1123: what Kubernetes takes as the name of a namespace.
fn is_label(name: &str) -> bool {
    let letters = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    letters && (1..=63).contains(&name.len()) && !name.starts_with('-') && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(config: Kubernetes) -> String {
        config.check().err().map(|e| e.to_string()).unwrap_or_default()
    }

    #[test]
    fn defaults_are_fine_and_bad_values_name_their_field() {
        assert_eq!(refused(Kubernetes::default()), "");
        let name = |s: &str| Some(s.to_owned());
        assert!(
            refused(Kubernetes { namespace: name("A"), ..Kubernetes::default() }).starts_with("kubernetes.namespace")
        );
        let same = Kubernetes { namespace: name("ps"), links_namespace: name("ps"), ..Kubernetes::default() };
        assert!(refused(same).starts_with("kubernetes.linksNamespace"));
        for (election, field) in [
            (LeaderElection { lease_duration: Span::from_secs(1), ..LeaderElection::default() }, "leaseDuration"),
            (LeaderElection { renew_deadline: Span::from_secs(15), ..LeaderElection::default() }, "renewDeadline"),
            (LeaderElection { retry_period: Span::ZERO, ..LeaderElection::default() }, "retryPeriod"),
            (LeaderElection { lease_name: "x y".into(), ..LeaderElection::default() }, "leaseName"),
        ] {
            let told = refused(Kubernetes { leader_election: election, ..Kubernetes::default() });
            assert!(told.contains(field), "{told}");
        }
        for (address, allow_http, fine) in [
            ("https://vault.example.com:8200", false, true),
            ("https://[fd00::1]/", false, true),
            ("http://127.0.0.1:8200", true, true),
            ("http://127.0.0.1:8200", false, false),
            ("vault.example.com", false, false),
            ("https://vault.example.com/v1", false, false),
            ("https://*.example.com", false, false),
            ("https://", false, false),
        ] {
            let vault_addresses = vec![address.to_owned()];
            let told = refused(Kubernetes { vault_addresses, allow_http, ..Kubernetes::default() });
            assert_eq!(told.is_empty(), fine, "{address}: {told}");
            assert!(fine || told.starts_with("kubernetes.vaultAddresses"), "{told}");
        }
        assert_eq!(Kubernetes::default().links("password-sender").unwrap(), "password-sender-links");
        let links = Kubernetes { links_namespace: name("ps"), ..Kubernetes::default() };
        assert_eq!((refused(links.clone()), links.links("operators").unwrap()), (String::new(), "ps".to_owned()));
        let told = links.links("ps").unwrap_err().to_string();
        assert!(told.starts_with("kubernetes.linksNamespace"), "the service account's own: {told}");
    }
}
