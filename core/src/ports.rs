//! All that the rules' performers may touch. Each trait has one conformance suite that every implementation passes.
//!
//! Every method is an effect: the controller wraps each implementation in failpoints whose names come from these
//! traits, so that a new effect is crash-tested without anybody remembering to.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::audit::Event;
use crate::delivery::{ConnectionRef, Identity, Manifest, SecretKeyRef, Source, SourceSight, Strategy};
use crate::entry::{Common, Entry};
use crate::error::{Class, Fault};
use crate::ids::{Digest, Key, LinkId, Stamp};
use crate::link::verification::SignInRefusal;
use crate::link::{Record, State};
use crate::mail::{CodeMail, LinkMail, NoticeMail};
use crate::rotation::Step;
use crate::secret::{SecretBytes, SecretString};
use crate::status::Status;
use crate::time::{Span, Timestamp};

/// The current time. Only shells hold one of these.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// Randomness for keys, ids and codes. Only acts hold one of these.
pub trait Random: Send + Sync {
    /// Fills `out` from the operating system's generator.
    ///
    /// # Errors
    /// A transient fault if the system has no randomness to give.
    fn fill(&self, out: &mut [u8]) -> Result<(), Fault>;
}

/// A value with the token that a compare-and-swap needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The value.
    pub value: T,
    /// Changes with every write of this value; meaningless beyond equality.
    pub version: u64,
}

/// Why a store or a ledger did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CasError {
    /// An insert found something under that name.
    #[error("already exists")]
    AlreadyExists,
    /// The value changed, or went, since it was read.
    #[error("changed by somebody else meanwhile")]
    Conflict,
    /// It did not happen, or nobody knows whether it did: read again.
    #[error("storage: {0}")]
    Failed(Fault),
}

/// What a store says about one record without its ciphertext.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordSummary {
    /// The record's name.
    pub id: LinkId,
    /// `None` for a voided id.
    pub state: Option<State>,
    /// When time alone will change it next.
    pub next_change: Option<Timestamp>,
    /// Position in the store's order of changes.
    pub seq: u64,
}

/// Keeps link records. Rules run on top of it, once, the same for every backend.
///
/// A write that returned `Ok` is durable. Concurrent writers are serialised by `version`.
#[async_trait]
pub trait LinkStore: Send + Sync {
    /// Adds a record under a new id.
    ///
    /// # Errors
    /// `AlreadyExists`; or `Failed`, also when the record is larger than the backend can hold (code `record-too-large`).
    async fn insert(&self, record: &Record) -> Result<u64, CasError>;
    /// Reads one record with its ciphertext.
    ///
    /// # Errors
    /// `Failed`.
    async fn get(&self, id: LinkId) -> Result<Option<Versioned<Record>>, CasError>;
    /// Replaces a record if nobody changed it. Bytes that the new record no longer holds are erased as the backend declares.
    ///
    /// # Errors
    /// `Conflict` if it changed or went; `Failed`.
    async fn replace(&self, record: &Record, unchanged: u64) -> Result<u64, CasError>;
    /// Deletes a record if nobody changed it.
    ///
    /// # Errors
    /// `Conflict` if it changed or went; `Failed`.
    async fn delete(&self, id: LinkId, unchanged: u64) -> Result<(), CasError>;
    /// Erases whatever lies under an id, readable or not: the last resort for bytes that are no record. Returns whether
    /// there was something.
    ///
    /// # Errors
    /// `Failed`.
    async fn purge(&self, id: LinkId) -> Result<bool, CasError>;
    /// Records in order of id, at most `limit`, from after `after` on.
    ///
    /// # Errors
    /// `Failed`.
    async fn list(&self, after: Option<LinkId>, limit: usize) -> Result<Vec<RecordSummary>, CasError>;
    /// Waits until something changed after position `after`, by whichever process, and returns it (at most `limit`, oldest
    /// first, each record once). Deletions are not reported. Several changes of one record may arrive as one.
    ///
    /// # Errors
    /// `Failed`; the caller lists again.
    async fn changes(&self, after: u64, limit: usize) -> Result<Vec<RecordSummary>, CasError>;
}

/// The fault by which [`Manifests::get`] refuses an operator that is not sure any more that it may work: not a folder or an API
/// server that fails, beside which what is owed goes on.
#[must_use]
pub fn lease_over(why: &str) -> Fault {
    Fault::new(Class::Transient, "lease-over", why)
}

/// Whether it is that one.
#[must_use]
pub fn is_lease_over(fault: &Fault) -> bool {
    fault.code == "lease-over"
}

/// The ledger-wide entry is gone: without its key nothing that was delivered could be told from what is there now.
#[must_use]
pub fn common_missing() -> Fault {
    Fault::new(Class::Misconfigured, "ledger-common-missing", "the ledger-wide entry is gone, or this is no ledger")
        .remedy("Check that the right ledger is named; if it is, restore it from a backup")
}

/// The operator's own memory.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Reads one entry.
    ///
    /// # Errors
    /// `Failed`.
    async fn get(&self, key: &Key) -> Result<Option<Versioned<Entry>>, CasError>;
    /// As [`Ledger::get`], and certainly as new as every write that ended before the call: what must be asked before
    /// something is done that can't be undone. `get` may be behind other processes for a moment where a backend follows
    /// a watch.
    ///
    /// # Errors
    /// `Failed`.
    async fn get_latest(&self, key: &Key) -> Result<Option<Versioned<Entry>>, CasError> {
        self.get(key).await
    }
    /// Adds the entry of a delivery that has none.
    ///
    /// # Errors
    /// `AlreadyExists`; `Failed`.
    async fn insert(&self, entry: &Entry) -> Result<u64, CasError>;
    /// Replaces an entry if nobody changed it.
    ///
    /// # Errors
    /// `Conflict`; `Failed`.
    async fn replace(&self, entry: &Entry, unchanged: u64) -> Result<u64, CasError>;
    /// Deletes an entry if nobody changed it.
    ///
    /// # Errors
    /// `Conflict`; `Failed`.
    async fn delete(&self, key: &Key, unchanged: u64) -> Result<(), CasError>;
    /// Keys in order, at most `limit`, from after `after` on.
    ///
    /// # Errors
    /// `Failed`.
    async fn list(&self, after: Option<&Key>, limit: usize) -> Result<Vec<Key>, CasError>;
    /// Every entry that has, or had, an attempt on this source ([`Source::index_key`]).
    ///
    /// # Errors
    /// `Failed`.
    async fn by_source(&self, source: &Digest) -> Result<Vec<Entry>, CasError>;
    /// The entry that has an attempt with this record, and has not forgotten it: a record that comes late, under an id whose
    /// tombstone is gone, is nobody's.
    ///
    /// # Errors
    /// `Failed`.
    async fn by_record(&self, record: LinkId) -> Result<Option<Key>, CasError>;
    /// The ledger-wide entry; made on first use from `fresh`, unless that names no ledger: then it must be there.
    ///
    /// # Errors
    /// `Failed`; [`common_missing`] where it is not there and may not be made.
    async fn common(&self, fresh: &Common) -> Result<Versioned<Common>, CasError>;
    /// The ledger-wide entry, which was made by now. It may be behind other processes for a moment, as [`Ledger::get`] may:
    /// a backend that follows a watch asks nobody while nothing changes.
    ///
    /// # Errors
    /// `Failed`; [`common_missing`].
    async fn known_common(&self) -> Result<Versioned<Common>, CasError> {
        self.common(&Common::blank()).await
    }
    /// Replaces the ledger-wide entry if nobody changed it.
    ///
    /// # Errors
    /// `Conflict`; `Failed`.
    async fn replace_common(&self, common: &Common, unchanged: u64) -> Result<u64, CasError>;
}

/// A `VaultConnection`, resolved and checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Connection {
    /// Which object it came from.
    pub name: ConnectionRef,
    /// `http://` or `https://`, host and port, no path.
    pub address: String,
    /// Vault or OpenBao namespace; empty for none.
    pub vault_namespace: String,
    /// PEM of the authorities to trust; `None` for the system's.
    pub ca_pem: Option<String>,
    /// Name to check the server's certificate against instead of the address's host.
    pub tls_server_name: Option<String>,
    /// Longest wait for one request.
    pub timeout: Span,
    /// How to log in.
    pub auth: Auth,
    /// Namespace of the secrets that `auth` names: the connection's own, or the operator's for a cluster-wide one.
    pub secrets_in: String,
    /// The `ClusterVaultConnection` that cleans up when the tenant's own identity is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cleanup: Option<String>,
}

/// How to log in to Vault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Auth {
    /// A token kept in a secret; renewed while that is possible.
    Token {
        /// Where the token is.
        secret: SecretKeyRef,
    },
    /// AppRole.
    AppRole {
        /// Mount of the auth method, without `auth/`.
        mount: String,
        /// The role id; not secret.
        role_id: String,
        /// Where the secret id is.
        secret_id: SecretKeyRef,
    },
    /// The Kubernetes method: a token of a service account of the tenant's namespace, through TokenRequest.
    Kubernetes {
        /// Mount of the auth method, without `auth/`.
        mount: String,
        /// The role to log in as; not secret.
        role: String,
        /// Name of the service account, in the namespace of the [`ConnectionRef`].
        service_account: String,
        /// Audience of the token: never empty, never the API server's own.
        audience: String,
    },
}

/// Finds connections and the secrets that they and deliveries name.
#[async_trait]
pub trait Connections: Send + Sync {
    /// Resolves a connection.
    ///
    /// # Errors
    /// Misconfigured if there is none of that name or it does not parse.
    async fn resolve(&self, name: &ConnectionRef) -> Result<Connection, Fault>;
    /// Reads one secret of a namespace, fresh each time.
    ///
    /// # Errors
    /// Misconfigured if it does not exist or is empty.
    async fn secret(&self, namespace: &str, key: &SecretKeyRef) -> Result<SecretString, Fault>;
    /// Asks for a short-lived token of a service account (TokenRequest), for one login and never stored.
    ///
    /// # Errors
    /// Misconfigured outside a cluster, if there is no such account, or if its audience would be the API server's own;
    /// Denied if the operator may not ask for it; else transient.
    async fn service_account_token(
        &self,
        namespace: &str,
        account: &str,
        audience: &str,
    ) -> Result<SecretString, Fault>;
}

/// A credential, as read.
pub struct Reading {
    /// Every field that was asked for.
    pub fields: BTreeMap<String, SecretString>,
    /// Which incarnation it is.
    pub identity: Identity,
    /// Static roles: how long until Vault rotates it by itself.
    pub rotates_in: Option<Span>,
    /// Static roles: the period of Vault's own rotation.
    pub period: Option<Span>,
    /// KV version 1: the names of keys that the secret has beside those that were asked for.
    pub others: Vec<String>,
}

/// Vault or OpenBao.
#[async_trait]
pub trait Vault: Send + Sync {
    /// Checks that the identity may do all that reading and `strategy` need, in one request, cached for the token's life.
    ///
    /// # Errors
    /// Denied, naming the path and the capability that its policy lacks.
    async fn check_rights(&self, at: &Connection, source: &Source, strategy: Strategy) -> Result<(), Fault>;
    /// Reads the credential.
    ///
    /// # Errors
    /// A fault with the field of the manifest to change where there is one.
    async fn read(&self, at: &Connection, source: &Source) -> Result<Reading, Fault>;
    /// Looks at the source once more, to see whether the delivered incarnation is dead. `tag` is applied to each value
    /// (field name, value) and the values are forgotten.
    ///
    /// # Errors
    /// As [`Vault::read`]; a source that is gone is not an error but a sight without `current`.
    async fn observe(
        &self,
        at: &Connection,
        source: &Source,
        delivered: &Identity,
        tag_key: &SecretBytes,
        now: Timestamp,
    ) -> Result<SourceSight, Fault>;
    /// Performs one step of a rotation. What it did is seen by the next `observe` only: an error may have had effect.
    ///
    /// # Errors
    /// A fault; a compare-and-set that fails is `vault-cas-mismatch`, transient.
    async fn rotate(&self, at: &Connection, source: &Source, step: &Step) -> Result<(), Fault>;
}

/// Why a mail was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailError {
    /// Certainly not sent; the same message may be tried again.
    #[error("not sent: {0}")]
    NotSent(Fault),
    /// Certainly not sent: the server would not take this message for now. It says nothing of other messages.
    #[error("deferred: {0}")]
    Deferred(Fault),
    /// The server refused it for good.
    #[error("refused: {0}")]
    Refused(Fault),
    /// The reply after DATA was lost: it may have been accepted.
    #[error("unknown: {0}")]
    Unknown(Fault),
}

/// Sends mail.
#[async_trait]
pub trait Mailer: Send + Sync {
    /// Makes sure that an authenticated session exists, so that nothing is read from Vault for a mail that can't leave.
    ///
    /// # Errors
    /// `NotSent` with the fault.
    async fn ready(&self) -> Result<(), MailError>;
    /// Sends a link. Nothing of it is kept after the call.
    ///
    /// # Errors
    /// See [`MailError`].
    async fn send_link(&self, mail: &LinkMail) -> Result<(), MailError>;
    /// Sends a one-time code to a link's recipient. Nothing of it is kept after the call.
    ///
    /// # Errors
    /// See [`MailError`].
    async fn send_code(&self, mail: &CodeMail) -> Result<(), MailError>;
    /// Sends a notice to the sender of a delivery.
    ///
    /// # Errors
    /// See [`MailError`].
    async fn send_notice(&self, mail: &NoticeMail) -> Result<(), MailError>;
}

/// The answer of a sign-in, as a gateway passed it on.
pub struct SignIn<'a> {
    /// The provider's authorization code.
    pub code: &'a str,
    /// The PKCE verifier (RFC 7636).
    pub verifier: &'a str,
    /// What the identity token must say: base64url of SHA-256 over id and claim-token hash.
    pub nonce: String,
    /// The recipient's address, which the account must have.
    pub email: &'a str,
}

/// The identity provider.
#[async_trait]
pub trait Identities: Send + Sync {
    /// Whether there is one; it is not asked.
    ///
    /// # Errors
    /// Misconfigured, `oidc-not-configured`.
    async fn ready(&self) -> Result<(), Fault>;
    /// Exchanges the code as a confidential client and checks the identity token: signature, issuer, audience, expiry, nonce,
    /// `email_verified`, address. `Err` inside is the provider's or the token's word; the code is used up then.
    ///
    /// # Errors
    /// A transient fault if the provider could not be reached or did not answer as one; misconfigured if it does not know
    /// this client.
    async fn sign_in(&self, answer: &SignIn<'_>) -> Result<Result<(), SignInRefusal>, Fault>;
}

/// Takes audit events; appending one twice is allowed (verification removes duplicates).
#[async_trait]
pub trait AuditSink: Send + Sync {
    /// Appends events and makes them durable.
    ///
    /// # Errors
    /// A transient fault: the events stay in the ledger's outbox and are written again.
    async fn append(&self, events: &[Event]) -> Result<(), Fault>;
}

/// Where manifests come from, and where their status goes.
#[async_trait]
pub trait Manifests: Send + Sync {
    /// The manifest as it is now, or `None` if there is none.
    ///
    /// # Errors
    /// A transient fault.
    async fn get(&self, key: &Key) -> Result<Option<Manifest>, Fault>;
    /// Asked before an object that has an entry is believed to be gone: what is watched may be behind whoever made the entry.
    ///
    /// # Errors
    /// A transient fault: it is there after all, or nobody can tell.
    async fn confirm_gone(&self, _key: &Key) -> Result<(), Fault> {
        Ok(())
    }
    /// Puts the stamp (and, in a cluster, the finalizer) on exactly this incarnation.
    ///
    /// # Errors
    /// A transient fault; `object-changed` if the uid is another by now.
    async fn put_stamp(&self, key: &Key, uid: &str, stamp: &Stamp) -> Result<(), Fault>;
    /// Lets a manifest go whose deletion was asked for.
    ///
    /// # Errors
    /// A transient fault.
    async fn release(&self, key: &Key, uid: &str) -> Result<(), Fault>;
    /// Writes the status if it differs from what is there.
    ///
    /// # Errors
    /// A fault of any class: the caller puts it again later, soon after a transient one.
    async fn put_status(&self, key: &Key, uid: &str, status: &Status) -> Result<(), Fault>;
}
