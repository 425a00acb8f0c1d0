//! What the API server's refusals mean to whoever operates this.
//!
//! Messages are ours. The server's own text is quoted only where no Secret and no token can be in it.

use std::fmt;

use http::StatusCode;
use kube::core::Status;
use ps_core::error::{Class, Fault};

/// What was asked of the API server when it refused: for messages, and for the Role that is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doing {
    /// The verb of RBAC: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`.
    pub verb: &'static str,
    /// API group; empty for the core group.
    pub group: String,
    /// Plural resource, with its subresource: `secrets`, `serviceaccounts/token`, `secretdeliveries/status`.
    pub resource: String,
    /// Namespace; empty for what has none, or for all.
    pub namespace: String,
    /// Name of the object; empty for none.
    pub name: String,
}

impl Doing {
    /// A request to the core group.
    #[must_use]
    pub fn new(verb: &'static str, resource: &str, namespace: &str, name: &str) -> Self {
        Self {
            verb,
            group: String::new(),
            resource: resource.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    /// The same, of another API group.
    #[must_use]
    pub fn of_group(mut self, group: &str) -> Self {
        group.clone_into(&mut self.group);
        self
    }

    /// Whether what is sent or answered may be secret.
    fn is_secret(&self) -> bool {
        self.group.is_empty() && (self.resource.starts_with("secrets") || self.resource.ends_with("/token"))
    }

    fn place(&self) -> String {
        if self.namespace.is_empty() { "the cluster".to_owned() } else { format!("namespace {}", self.namespace) }
    }
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if !self.name.is_empty() {
            write!(f, " {}", self.name)?;
        }
        write!(f, " in {}", self.place())
    }
}

/// The fault that an error of kube's client stands for, for those who use `kube::Api` themselves.
#[must_use]
pub fn of(doing: &Doing, error: &kube::Error) -> Fault {
    match error {
        kube::Error::Api(status) => refused(doing, status),
        kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => unreadable(doing),
        kube::Error::BuildRequest(_) | kube::Error::HttpError(_) => invalid(doing, "the request can't be built"),
        other => unreachable(doing, other),
    }
}

/// The fault that a refusal stands for.
#[must_use]
pub fn refused(doing: &Doing, status: &Status) -> Fault {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let cause = |reason: &str| status.details.as_ref().is_some_and(|d| d.causes.iter().any(|c| c.reason == reason));
    let said = if doing.is_secret() { String::new() } else { quoted(&status.message) };
    match code {
        StatusCode::UNAUTHORIZED => Fault::new(
            Class::Denied,
            "kubernetes-unauthenticated",
            format!("the Kubernetes API does not accept our token ({doing})"),
        )
        .remedy("See that the service account exists and that its token is mounted and not expired"),
        StatusCode::FORBIDDEN if cause("NamespaceTerminating") => Fault::new(
            Class::Misconfigured,
            "kubernetes-terminating",
            format!("namespace {} is being deleted: can't {doing}", doing.namespace),
        )
        .remedy("Wait until the namespace is gone, and make it anew if it is still needed"),
        StatusCode::FORBIDDEN if status.message.contains("exceeded quota") => Fault::new(
            Class::Misconfigured,
            "kubernetes-quota",
            format!("a ResourceQuota of {} is used up: can't {doing}", doing.place()),
        )
        .remedy("Raise the quota for these objects, or delete what is no longer needed"),
        StatusCode::FORBIDDEN => denied(doing, &said),
        StatusCode::NOT_FOUND => Fault::new(
            Class::Misconfigured,
            "kubernetes-not-found",
            format!("the Kubernetes API knows no such object, namespace or kind: {doing}"),
        )
        .remedy("See that the namespace exists and that the CRDs are installed"),
        StatusCode::CONFLICT if status.is_already_exists() => {
            Fault::new(Class::Transient, "kubernetes-exists", format!("it exists already: {doing}"))
        }
        StatusCode::CONFLICT => {
            Fault::new(Class::Transient, "kubernetes-conflict", format!("changed by somebody else meanwhile: {doing}"))
        }
        StatusCode::GONE => Fault::new(
            Class::Transient,
            "kubernetes-gone",
            format!("the API server no longer has the history that was asked for: {doing}"),
        ),
        StatusCode::PAYLOAD_TOO_LARGE => too_large(doing),
        _ if status.message.contains("request is too large") => too_large(doing),
        StatusCode::TOO_MANY_REQUESTS => Fault::new(
            Class::Transient,
            "kubernetes-busy",
            format!("the API server takes no more requests now: {doing}"),
        )
        .remedy("If it lasts, give our service account a priority level of its own (API priority and fairness)"),
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => {
            let fields: Vec<&str> = status
                .details
                .iter()
                .flat_map(|details| &details.causes)
                .map(|cause| cause.field.as_str())
                .filter(|field| !field.is_empty())
                .collect();
            let what = if said.is_empty() { format!("fields {}", fields.join(", ")) } else { said };
            invalid(doing, &what)
        }
        _ => {
            let number = code.as_u16();
            let said = if said.is_empty() { said } else { format!(": {said}") };
            Fault::new(
                Class::Transient,
                "kubernetes-failed",
                format!("the API server answered {number} to {doing}{said}"),
            )
        }
    }
}

/// The fault of a request without an answer. Whether it had an effect is not known.
#[must_use]
pub fn unreachable(doing: &Doing, error: &(dyn std::error::Error + 'static)) -> Fault {
    let what = cause(error);
    Fault::new(
        Class::Transient,
        "kubernetes-unreachable",
        format!("the Kubernetes API does not answer ({what}): {doing}"),
    )
    .remedy("See whether the API server runs and whether a NetworkPolicy lets us reach it")
}

/// The fault of an answer that took too long.
#[must_use]
pub fn silent(doing: &Doing) -> Fault {
    Fault::new(
        Class::Transient,
        "kubernetes-unreachable",
        format!("the Kubernetes API does not answer (it took too long): {doing}"),
    )
    .remedy("See whether the API server runs and whether a NetworkPolicy lets us reach it")
}

/// The fault of an answer that is not what was asked for.
#[must_use]
pub fn unreadable(doing: &Doing) -> Fault {
    Fault::new(
        Class::Transient,
        "kubernetes-answer",
        format!("what answers is no Kubernetes API that we understand: {doing}"),
    )
    .remedy("See what is between us and the API server")
}

/// The fault of an object that is larger than the API server takes.
#[must_use]
pub fn too_large(doing: &Doing) -> Fault {
    Fault::new(Class::Permanent, "object-too-large", format!("it is larger than a Kubernetes object may be: {doing}"))
        .remedy("A Secret holds 1 MiB at most, and its annotations 256 KiB")
}

/// The fault of an answer that is larger than anything of ours.
#[must_use]
pub(crate) fn oversized(doing: &Doing) -> Fault {
    Fault::new(Class::Permanent, "object-too-large", format!("what is there is larger than anything of ours: {doing}"))
        .remedy("Look at that Secret's metadata: somebody has filled it, with the operator's or a gateway's rights")
}

/// Whether a fault says that something is too large.
pub(crate) fn is_too_large(fault: &Fault) -> bool {
    fault.code == "object-too-large"
}

/// The fault of a resourceVersion that is no number.
#[must_use]
pub fn version(doing: &Doing) -> Fault {
    Fault::new(
        Class::Permanent,
        "kubernetes-version",
        format!("the API server's resourceVersion is no number: {doing}"),
    )
    .remedy("Use an API server whose resourceVersions can be compared: each Kubernetes on etcd, and any from 1.35 on")
}

/// The fault of a Secret under our name that is not ours.
#[must_use]
pub fn foreign(namespace: &str, name: &str, expected: &str) -> Fault {
    Fault::new(
        Class::Misconfigured,
        "kubernetes-foreign-object",
        format!("Secret {namespace}/{name} is not of type {expected}: somebody else made it"),
    )
    .remedy("Delete that Secret, or keep our rows in a namespace of their own")
}

fn invalid(doing: &Doing, what: &str) -> Fault {
    Fault::new(
        Class::Permanent,
        "kubernetes-invalid",
        format!("the API server refuses it as invalid ({what}): {doing}"),
    )
    .remedy("See that CRDs, admission policies and operator are of one version")
}

fn denied(doing: &Doing, said: &str) -> Fault {
    let Doing { verb, group, resource, namespace, .. } = doing;
    let message = if said.is_empty() || said.contains(" cannot ") {
        format!("our service account may not {doing}")
    } else {
        format!("our service account may not {doing}: {said}")
    };
    let group = if group.is_empty() { "\"\"" } else { group };
    let rule = format!("apiGroups: [{group}], resources: [{resource}], verbs: [{verb}]");
    let remedy = if namespace.is_empty() {
        format!("Grant a ClusterRole with {rule}; an admission policy may refuse it as well")
    } else {
        format!("Grant a Role in namespace {namespace} with {rule}; an admission policy may refuse it as well")
    };
    Fault::new(Class::Denied, "kubernetes-denied", message).remedy(remedy)
}

/// One line of the server's text, of a bounded length.
fn quoted(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect::<String>().trim().to_owned()
}

/// Why there was no answer, in words of ours: an error's own text may quote what was sent.
fn cause(error: &(dyn std::error::Error + 'static)) -> &'static str {
    let mut link = Some(error);
    while let Some(error) = link {
        if error.is::<tower::timeout::error::Elapsed>() {
            return "it took too long";
        }
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            match io.kind() {
                std::io::ErrorKind::ConnectionRefused => return "connection refused",
                std::io::ErrorKind::TimedOut => return "it took too long",
                std::io::ErrorKind::ConnectionReset
                | std::io::ErrorKind::BrokenPipe
                | std::io::ErrorKind::UnexpectedEof => return "the connection broke",
                std::io::ErrorKind::InvalidData => return "its certificate is not trusted, or it speaks no TLS",
                _ => {}
            }
            if let Some(inner) = io.get_ref() {
                link = Some(inner);
                continue;
            }
        }
        link = error.source();
    }
    "no connection, or it broke"
}
