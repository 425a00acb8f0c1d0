//! The paths of a mount, in one table: for routing, for `path-help` and for OpenAPI.

use ps_core::ids::LinkId;

use crate::message::Operation;

/// The longest role name.
const LONGEST_NAME: usize = 64;

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// Settings of the mount.
    Config,
    /// The list of roles.
    Roles,
    /// One role.
    Role(String),
    /// Seal here: plaintext in, link out.
    Link(String),
    /// Sealed by the client: ciphertext and hashes in.
    Sealed(String),
    /// The list of links.
    Links,
    /// One link.
    LinkId(LinkId),
    /// A lease on a link.
    Lease(LinkId),
    /// What was seen of a link's rotation.
    Evidence(LinkId),
    /// A verb of the gateway.
    Gateway(Verb),
    /// History.
    Events,
    /// Housekeeping now.
    Tidy,
    /// Counts.
    Metrics,
}

/// The verbs of the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// State and preview.
    Lookup,
    /// E-mailed codes and sign-ins, which a mount has not.
    Code,
    /// The content, to one claimant.
    Claim,
    /// The claimant has saved it.
    Acknowledge,
    /// "Not meant for me."
    Decline,
}

impl Verb {
    const ALL: [(&'static str, Self); 5] = [
        ("lookup", Self::Lookup),
        ("code", Self::Code),
        ("claim", Self::Claim),
        ("acknowledge", Self::Acknowledge),
        ("decline", Self::Decline),
    ];
}

/// Where `path` goes; `None` for a path that a mount does not have.
#[must_use]
pub fn route(path: &str) -> Option<Route> {
    let (head, rest) = match path.split_once('/') {
        Some((head, rest)) => (head, Some(rest)),
        None => (path, None),
    };
    let named = |make: fn(String) -> Route| rest.filter(|name| is_name(name)).map(|name| make(name.to_owned()));
    let id = |make: fn(LinkId) -> Route| rest.and_then(LinkId::parse).map(make);
    match (head, rest) {
        ("config", None) => Some(Route::Config),
        ("events", None) => Some(Route::Events),
        ("tidy", None) => Some(Route::Tidy),
        ("metrics", None) => Some(Route::Metrics),
        ("roles", None | Some("")) => Some(Route::Roles),
        ("links", None | Some("")) => Some(Route::Links),
        ("roles", _) => named(Route::Role),
        ("link", _) => named(Route::Link),
        ("sealed", _) => named(Route::Sealed),
        ("links", _) => id(Route::LinkId),
        ("lease", _) => id(Route::Lease),
        ("evidence", _) => id(Route::Evidence),
        ("gateway", Some(verb)) => Verb::ALL.iter().find(|(name, _)| *name == verb).map(|(_, v)| Route::Gateway(*v)),
        _ => None,
    }
}

/// Whether a role may have this name.
fn is_name(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(letter) && !name.starts_with('.')
}

/// One path, for people.
#[derive(Debug)]
pub struct Path {
    /// As OpenAPI writes it.
    pub pattern: &'static str,
    /// What may be done there, what that is, and the status when it is done.
    pub operations: &'static [(Operation, &'static str, u16)],
    /// One line.
    pub synopsis: &'static str,
    /// More.
    pub description: &'static str,
    /// What a write takes, or a read where nothing is written: name, type, meaning.
    pub fields: &'static [(&'static str, &'static str, &'static str)],
    /// A body to begin with, as JSON: what the UI sends if nobody changes it. Empty where there can be none.
    pub example: &'static str,
    /// An example of what it stands for.
    sample: &'static str,
}

impl Path {
    /// The path's entry for a request's path.
    #[must_use]
    pub fn of(path: &str) -> Option<&'static Self> {
        let kind = |route: &Route| std::mem::discriminant(route);
        let wanted = route(path)?;
        ALL.iter().find(|entry| {
            route(entry.sample).is_some_and(|route| match (&route, &wanted) {
                (Route::Gateway(_), Route::Gateway(_)) => route == wanted,
                _ => kind(&route) == kind(&wanted),
            })
        })
    }
}

const NAME: (&str, &str, &str) = ("name", "string", "Name of the role.");
const ROLE: (&str, &str, &str) = ("role", "string", "Name of the role to issue under.");
const ID: (&str, &str, &str) = ("id", "string", "Id of the link: 22 characters.");

const ACCESS: (&str, &str, &str) = ("access", "string", "What the link gives access by, base64url.");
const CODE: (&str, &str, &str) = ("openingCode", "string", "The opening code, as it was typed.");
const PROOF: (&str, &str, &str) = ("proof", "string", "That the passphrase is known, base64url.");
const TOKEN_HASH: (&str, &str, &str) =
    ("tokenHash", "string", "First claim: SHA-256 of the claimant's token, base64url.");
const TOKEN: (&str, &str, &str) = ("token", "string", "The token of whoever has claimed it, base64url.");
const DECLINE: (&str, &str, &str) = ("decline", "string", "What the link is declined with, base64url.");
const EXPOSED: (&str, &str, &str) = ("exposed", "boolean", "Whether the link had reached a server in its path.");

/// A verb of the gateway; the pattern is its own sample.
macro_rules! verb {
    ($pattern:literal, $synopsis:literal, $fields:expr) => {
        Path {
            pattern: $pattern,
            operations: &[(Operation::Write, $synopsis, 200)],
            synopsis: $synopsis,
            description: "For password-sender-gateway's token only. Bodies and answers are those of docs/link-protocol.md, section 8.",
            fields: $fields,
            example: "",
            sample: $pattern,
        }
    };
}

/// All of them.
pub const ALL: &[Path] = &[
    Path {
        pattern: "config",
        operations: &[
            (Operation::Read, "Read the settings.", 200),
            (Operation::Write, "Change settings; what is not named stays.", 204),
        ],
        synopsis: "Settings of this mount.",
        description: "Links can be made here once public_url is set: the address of a password-sender-gateway that serves this mount.",
        fields: &[
            ("public_url", "string", "What links begin with: the gateway's address as recipients see it."),
            ("default_ttl", "string", "How long a link can be opened where nothing else is said (4h)."),
            ("max_ttl", "string", "The longest that a link can be opened (72h)."),
            ("claim_window", "string", "How long whoever opened a link may repeat that (15m; 24h at most)."),
            ("keep", "string", "How long what remains of an ended link is kept (720h); never its content."),
        ],
        example: r#"{"public_url": "https://links.example.com", "default_ttl": "4h", "max_ttl": "72h"}"#,
        sample: "config",
    },
    Path {
        pattern: "roles/",
        operations: &[(Operation::List, "List the roles.", 200)],
        synopsis: "The roles of this mount.",
        description: "",
        fields: &[],
        example: "",
        sample: "roles/",
    },
    Path {
        pattern: "roles/{name}",
        operations: &[
            (Operation::Read, "Read a role.", 200),
            (Operation::Write, "Make or change a role; what is not named stays.", 204),
            (Operation::Delete, "Delete a role. Its links stay.", 204),
        ],
        synopsis: "What may be sent under a name, and what happens afterwards.",
        description: "Give people update on link/NAME or sealed/NAME for the roles that they may use. The rotate_ fields say what is to be rotated \
                      once a link was opened or has ended; password-sender-operator vault-agent does it, with its own token, and writes what it saw to evidence/ID.",
        fields: &[
            NAME,
            ("default_ttl", "string", "How long a link can be opened where the request does not say."),
            ("max_ttl", "string", "The longest that a link can be opened; the mount's limit holds as well."),
            ("require_passphrase", "boolean", "Refuse links without a passphrase."),
            ("require_lease", "boolean", "A link that nobody put a lease on (lease/ID) dies after 60 seconds."),
            ("rotate_engine", "string", "database, kv or request; empty for no rotation."),
            ("rotate_mount", "string", "database, kv: the mount of the engine."),
            ("rotate_name", "string", "database: the static role. kv: the path of the secret (version 2)."),
            ("rotate_keys", "array", "kv: the keys that get new values."),
            ("rotate_path", "string", "request: the path to write to."),
            ("rotate_method", "string", "request: POST, PUT or DELETE (POST)."),
            ("rotate_data", "object", "request: the body. It is kept with each link: put no secret into it."),
            ("rotate_on", "array", "claimed, expired, declined, locked, revoked: what makes it due (all of them)."),
            ("rotate_after", "string", "How long the credential may be used after the link was opened (0s)."),
        ],
        example: r#"{"max_ttl": "8h", "require_passphrase": false}"#,
        sample: "roles/x",
    },
    Path {
        pattern: "link/{role}",
        operations: &[(Operation::Write, "Seal secrets into a new link.", 200)],
        synopsis: "Make a link from secrets.",
        description: "Every field that is not named here becomes a field of the link: username=alice password=@file. The answer holds the link and its \
                      opening code, once: neither is stored. It is never a lease, and must not be wrapped, because both would be stored then.",
        fields: &[
            ROLE,
            ("ttl", "string", "How long the link can be opened."),
            ("title", "string", "Shown before the link is opened; at most 200 characters."),
            ("sender", "string", "Who sends it; shown before it is opened."),
            ("passphrase", "string", "Asked for when it is opened. Tell it on another way."),
            ("purpose", "string", "Inside the link: what it is for."),
            ("environment", "string", "Inside the link: which environment it belongs to."),
            ("url", "string", "Inside the link: where it is used."),
            ("note", "string", "Inside the link: anything else."),
            (
                "fields",
                "array",
                "Fields in order, each {\"key\", \"value\", \"label\", \"kind\"}; or an object of keys and values.",
            ),
        ],
        example: r#"{"username": "alice", "password": "correct horse", "title": "VPN access", "ttl": "2h"}"#,
        sample: "link/x",
    },
    Path {
        pattern: "sealed/{role}",
        operations: &[(Operation::Write, "Put a link that the client has sealed.", 200)],
        synopsis: "Keep a link that was sealed elsewhere.",
        description: "Ciphertext and hashes come in; the key stays with the client (password-sender send). The answer is a lease: revoking it, or the token that \
                      asked, revokes the link, and renewing it prolongs the link up to its limit.",
        fields: &[
            ROLE,
            ("sealed", "object", "The immutable part of the record (docs/link-protocol.md, section 7)."),
            ("ciphertext", "string", "The sealed payload, base64url, at most 512 KiB."),
            ("preview", "string", "The sealed preview, base64url."),
            ("ttl", "string", "How long the link can be opened."),
        ],
        example: "",
        sample: "sealed/x",
    },
    Path {
        pattern: "links/",
        operations: &[(Operation::List, "List the ids of links, ended ones among them.", 200)],
        synopsis: "The links of this mount.",
        description: "",
        fields: &[],
        example: "",
        sample: "links/",
    },
    Path {
        pattern: "links/{id}",
        operations: &[
            (Operation::Read, "State and times.", 200),
            (Operation::Delete, "Revoke the link; its content is erased.", 204),
        ],
        synopsis: "One link: where it stands, never what it holds.",
        description: "",
        fields: &[ID],
        example: "",
        sample: "links/AAAAAAAAAAAAAAAAAAAAAA",
    },
    Path {
        pattern: "lease/{id}",
        operations: &[(Operation::Read, "Put a lease on a link.", 200)],
        synopsis: "A lease on an open link.",
        description: "Revoking the lease, or the token that asked for it, revokes the link; renewing it prolongs the link up to its limit. No lease is longer than the mount's max_lease_ttl: a link that would be is shortened to it.",
        fields: &[ID],
        example: "",
        sample: "lease/AAAAAAAAAAAAAAAAAAAAAA",
    },
    Path {
        pattern: "evidence/{id}",
        operations: &[(Operation::Write, "Write what was seen of a rotation.", 204)],
        synopsis: "For the daemon that rotates: what came of it.",
        description: "",
        fields: &[
            ID,
            ("scope", "string", "target, vault, request or failed: how far it reaches."),
            ("seen", "string", "In words, without values; at most 300 bytes."),
        ],
        example: r#"{"scope": "request", "seen": "It was rotated by hand."}"#,
        sample: "evidence/AAAAAAAAAAAAAAAAAAAAAA",
    },
    verb!("gateway/lookup", "State and preview of a link.", &[ID, ACCESS]),
    verb!("gateway/code", "Not offered by a mount: e-mailed codes and sign-ins need the operator.", &[]),
    verb!(
        "gateway/claim",
        "The sealed content, to one claimant.",
        &[ID, ACCESS, CODE, PROOF, TOKEN_HASH, TOKEN, EXPOSED]
    ),
    verb!("gateway/acknowledge", "The claimant has saved it.", &[ID, ACCESS, TOKEN]),
    verb!("gateway/decline", "Not meant for whoever got it.", &[ID, ACCESS, CODE, DECLINE, EXPOSED]),
    Path {
        pattern: "events",
        operations: &[(Operation::Read, "A page of history.", 200)],
        synopsis: "What happened to links, in order.",
        description: "Ask with after=NUMBER of the last line seen (0 at first). reset=true says that lines were lost: look at every link again.",
        fields: &[
            ("after", "string", "Number of the last line seen."),
            ("limit", "integer", "At most so many lines (100; 1000)."),
        ],
        example: "",
        sample: "events",
    },
    Path {
        pattern: "tidy",
        operations: &[(Operation::Write, "Do the housekeeping now.", 200)],
        synopsis: "Expire, erase and forget what is due, which happens by itself within a minute or two.",
        description: "",
        fields: &[],
        example: "",
        sample: "tidy",
    },
    Path {
        pattern: "metrics",
        operations: &[(Operation::Read, "Read the counts.", 200)],
        synopsis: "Counts since this process began, and how many links there are.",
        description: "",
        fields: &[],
        example: "",
        sample: "metrics",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_is_routed_to_and_described() {
        for path in ALL {
            assert_eq!(Path::of(path.sample).map(|found| found.pattern), Some(path.pattern), "{}", path.pattern);
        }
    }

    #[test]
    fn other_paths_go_nowhere() {
        let long = "x".repeat(65);
        for bad in [
            "",
            "/",
            "configs",
            "config/",
            "config/x",
            "CONFIG",
            "roles/a/b",
            "roles/..",
            "roles/.a",
            "roles/a b",
            "link",
            "link/",
            "links/short",
            "links/AAAAAAAAAAAAAAAAAAAAAB",
            "links/AAAAAAAAAAAAAAAAAAAAAA/",
            "gateway",
            "gateway/",
            "gateway/claimx",
            "gateway/claim/",
            "events/1",
            "//config",
            "link/\u{0}",
            &format!("roles/{long}"),
        ] {
            assert_eq!(route(bad), None, "{bad:?}");
        }
    }
}
