//! The hand-off: mail session → read → seal in memory → entry → put → re-read the entry → send → accepted. The first one of a
//! delivery makes its entry, and stamps the object between entry and put.
//!
//! Plaintext and `S` exist inside this act only (invariants 1 and 2). A crash anywhere leaves at most one live link:
//! the entry names the record before the record exists, and whoever gives the attempt up voids that id first.

use std::sync::Arc;

use ps_core::decide::{Issue, after, in_the_way};
use ps_core::delivery::{Identity, Manifest, Source, Spec, Strategy};
use ps_core::entry::{
    Attempt, Entry, JudgeSecrets, LinkFacts, MailState, Notice, ReleaseKey, RotatedFirst, Terms, Verifying,
};
use ps_core::error::{Class, Fault};
use ps_core::ids::Key;
use ps_core::link::{Link, Record, State, Verification, too_large};
use ps_core::mail::{LinkMail, NoticeMail};
use ps_core::ports::{CasError, Connection, MailError, Reading};
use ps_core::rotation::{BeforeDelivery, Begun, Step, before_delivery, lifetime, tag, writable};
use ps_core::time::Timestamp;

use super::seal::{Judging, Sealed, seal};
use super::{Trip, stored};
use crate::controller::Controller;
use crate::desk::HeldMail;
use crate::observe::View;

/// How often the stamp of a new delivery is tried within its first attempt.
const STAMP_TRIES: u32 = 3;

/// How often the entry is looked at before a mail is sent.
const LAST_LOOKS: u32 = 3;

impl Controller {
    /// All that was read may have taken long: whether the same is asked for, and this process may still act on it.
    async fn is_still_asked_for(&self, key: &Key, view: &View) -> Result<(), Trip> {
        let asks = |m: &Manifest| (m.uid.clone(), m.generation, m.deleting);
        let now = self.ports.manifests.get(key).await.map_err(Trip::Manifests)?;
        if now.as_ref().map(asks) == view.manifest.as_ref().map(asks) { Ok(()) } else { Err(Trip::Lost) }
    }

    pub(super) async fn issue(&self, key: &Key, view: &View, order: &Issue) -> Result<(), Trip> {
        let before = match &view.entry {
            Some(known) => known.value.clone(),
            None => self.fresh_entry(key, view)?,
        };
        let (spec, number) = (&order.spec, order.number);
        if spec.oidc {
            let ready = self.ports.identities.ready().await;
            ready.map_err(|fault| Trip::Delivery { attempt: number, fault })?;
        }
        // Nothing is read from Vault for a mail that can't leave.
        self.ports.mailer.ready().await?;
        self.desk.unblock_mail();
        let at = self.connect(&spec.connection, number).await?;
        let reading = self.read(key, &at, view, spec, number).await?;
        let passphrase = match &spec.passphrase {
            None => None,
            Some(name) => {
                let secret = self.ports.connections.secret(&key.namespace, name).await;
                Some(secret.map_err(|fault| Trip::Delivery { attempt: number, fault: passphrase_fault(fault) })?)
            }
        };

        let now = self.now();
        let expires_at = now + spec.ttl;
        let not_after = expires_at + spec.claim_window;
        let sender = if spec.sender.is_empty() { self.settings.sender.clone() } else { spec.sender.clone() };
        let tags = reading.fields.iter().map(|(k, v)| (k.clone(), tag(&self.tag_key, k, v.expose()))).collect();
        let keys = if spec.rotation.keys.is_empty() {
            reading.fields.keys().cloned().collect()
        } else {
            spec.rotation.keys.clone()
        };
        let identity = reading.identity.clone();
        let Sealed { sealed, ciphertext, preview, link, opening_code, judging } =
            seal(spec, &sender, reading, passphrase, not_after, &self.settings.public_url, self.ports.random.clone())
                .await
                .map_err(|fault| Trip::Delivery { attempt: number, fault })?;
        // Known before anything is written down: an attempt that can't be put would leave a tombstone at each try.
        if ciphertext.len() > self.settings.max_bytes {
            let fault = too_large("ciphertext", ciphertext.len(), self.settings.max_bytes);
            return Err(Trip::Delivery { attempt: number, fault });
        }

        self.is_still_asked_for(key, view).await?;
        let message_id = self.message_id()?;
        let (release, verify) = judging.map(|judging| verifying(spec, &sender, judging)).unzip();
        let attempt = Attempt {
            number,
            record: sealed.id,
            digest: sealed.digest(),
            connection: spec.connection.clone(),
            resolved: Some(Box::new(at.clone())),
            source: spec.source.clone(),
            source_key: spec.source.index_key(&at.address, &at.vault_namespace),
            identity,
            tags,
            release,
            verify,
            recipient_digest: spec.recipient_digest(),
            source_digest: spec.source_digest(),
            terms: terms(spec, keys, expires_at, not_after),
            mail: MailState::Pending { owner: self.settings.me.clone(), until: now + after::OWNERSHIP },
            message_id: message_id.clone(),
            begun_at: now,
            link: LinkFacts {
                state: State::Open,
                journal_read: 0,
                claimed_at: None,
                acknowledged: false,
                disputed: false,
                tampered: None,
                revoke: None,
                ended_at: None,
            },
            obligation: None,
            evidence: None,
            forgotten: false,
        };
        let entry = self.without_known_events(after::begin(&before, attempt, spec.redeliver.as_ref(), now));
        let version = match &view.entry {
            Some(known) => self.ports.ledger.replace(&entry, known.version).await?,
            None => self.ports.ledger.insert(&entry).await?,
        };
        self.log.wrote(view.entry(), &entry);
        if view.entry.is_none() {
            self.stamp(key, &entry).await.map_err(Trip::Manifests)?;
        }

        // Its tombstone may be gone by then, if it was superseded while we were that slow.
        if self.now() >= not_after {
            return Err(Trip::Lost);
        }
        let record = Record::Link(Box::new(Link::new(sealed, expires_at, ciphertext, preview)));
        let put = match stored(number, self.ports.store.insert(&record).await) {
            // Another attempt at the same would fail as this one did.
            Err(Trip::Record { fault, .. }) => return Err(Trip::Delivery { attempt: number + 1, fault }),
            put => put?,
        };
        let id = record.id();
        drop(record);

        // Superseded while we were slow? Then the id is void, and mailing it would only puzzle the recipient.
        if !self.is_unchanged(key, version).await? {
            // Whoever superseded us may have put its tombstone, and have it removed again, before we put this.
            stored(number, self.ports.store.replace(&Record::Void { id }, put).await)?;
            return Err(Trip::Lost);
        }
        let mail = LinkMail {
            to: spec.recipient.clone(),
            message_id,
            sender,
            link,
            opening_code,
            expires_at,
            works_for: (spec.rotation.strategy != Strategy::None).then_some(spec.rotation.after_retrieval),
            kinds: spec.kinds(),
        };
        self.desk.succeed(key, number);
        self.send(key, number, Arc::new(mail), spec.deliver_before).await
    }

    /// The object must carry the entry's stamp before anything is done for it. A change by somebody else in between, or a lost
    /// answer, costs another try and not the attempt.
    async fn stamp(&self, key: &Key, entry: &Entry) -> Result<(), Fault> {
        let mut stamped = Ok(());
        for _ in 0..STAMP_TRIES {
            stamped = self.ports.manifests.put_stamp(key, &entry.uid, &entry.stamp).await;
            if stamped.as_ref().err().is_none_or(|fault| !fault.is_transient()) {
                break;
            }
        }
        stamped
    }

    /// Whether the entry is as this act wrote it. A storage that fails for a moment here would cost an attempt, so it is
    /// asked again at once.
    async fn is_unchanged(&self, key: &Key, version: u64) -> Result<bool, Trip> {
        let mut looks = 1;
        loop {
            match self.ports.ledger.get_latest(key).await {
                Err(CasError::Failed(fault)) if fault.is_transient() && looks < LAST_LOOKS => looks += 1,
                found => return Ok(found?.is_some_and(|entry| entry.version == version)),
            }
        }
    }

    /// Reads the credential, rotated first where it would not live as long as is promised, or where that is asked for.
    async fn read(&self, key: &Key, at: &Connection, view: &View, spec: &Spec, number: u32) -> Result<Reading, Trip> {
        let trip = self.vault_trip(&spec.connection, number);
        self.ports.vault.check_rights(at, &spec.source, spec.rotation.strategy).await.map_err(&trip)?;
        let seen = self.now();
        let first = self.ports.vault.read(at, &spec.source).await.map_err(&trip)?;
        self.desk.unblock(&spec.connection);
        writable(&spec.source.place(), spec.rotation.strategy, &first.others)
            .map_err(|fault| Trip::Delivery { attempt: number, fault })?;
        let promised = spec.ttl + spec.rotation.after_retrieval;
        let lifetime = lifetime(promised, first.rotates_in, first.period);
        let source_key = spec.source.index_key(&at.address, &at.vault_namespace);
        let begun = view.entry().and_then(|e| e.rotated_first.as_ref());
        let begun = begun.filter(|b| b.attempt == number && b.source_key == source_key);
        let before = before_delivery(lifetime, &spec.rotation, begun.map(|b| &b.identity), &first.identity);
        match before {
            BeforeDelivery::Deliver => return Ok(first),
            BeforeDelivery::TooShort => {
                return Err(Trip::Delivery { attempt: number, fault: too_short(spec, &first) });
            }
            BeforeDelivery::WriteDown | BeforeDelivery::Rotate => {}
        }
        let others = self.ports.ledger.by_source(&source_key).await?;
        if let Some(fault) = in_the_way(key, &source_key, begun, &others, &self.settings.me, self.now()) {
            return Err(Trip::Delivery { attempt: number, fault });
        }
        let old = first.identity.clone();
        drop(first);
        if before == BeforeDelivery::WriteDown {
            let begun = Begun { at: self.now(), by: self.settings.me.clone() };
            self.write_down(key, view, RotatedFirst { attempt: number, source_key, identity: old, begun }).await?;
            // The next round finds it written, and the object stamped.
            return Err(Trip::Lost);
        }
        let under_way = self.desk.begin_step(source_key, &Step::RotateRole, Some(seen), self.now());
        let under_way = under_way.map_err(|fault| Trip::Delivery { attempt: number, fault })?;
        self.ports.vault.rotate(at, &spec.source, &Step::RotateRole).await.map_err(&trip)?;
        let fresh = self.ports.vault.read(at, &spec.source).await.map_err(&trip)?;
        drop(under_way);
        match (&old, &fresh.identity) {
            (Identity::Static { rotated: old }, Identity::Static { rotated: new }) if new > old => {
                self.desk.proven(&source_key);
                Ok(fresh)
            }
            _ => Err(trip(Fault::new(
                Class::Transient,
                "vault-stale-read",
                "the role was rotated, but the old credential is still read",
            ))),
        }
    }

    /// Writes down that a source is about to be rotated for an attempt.
    async fn write_down(&self, key: &Key, view: &View, first: RotatedFirst) -> Result<(), Trip> {
        match &view.entry {
            Some(known) => self.persist(view, &after::rotating_first(&known.value, first, self.now())).await,
            None => self.insert(&after::rotating_first(&self.fresh_entry(key, view)?, first, self.now())).await,
        }
    }

    pub(super) async fn send_held(&self, key: &Key, number: u32) -> Result<(), Trip> {
        let Some(held) = self.desk.held(key, number) else { return Err(Trip::Lost) };
        let (me, now) = (self.settings.me.clone(), self.now());
        // Ours for another while, before it is sent: whoever thinks that we died voids the id first.
        let ours = |e: &Entry| pending_of(e, number, &me).then(|| after::still_pending(e, number, &me, now));
        if let Err(trip) = self.update(key, ours).await {
            self.desk.drop_held(key);
            return Err(trip);
        }
        self.send(key, number, held.mail, held.deliver_before).await
    }

    async fn send(&self, key: &Key, number: u32, mail: Arc<LinkMail>, before: Option<Timestamp>) -> Result<(), Trip> {
        let too_late = || before.is_some_and(|limit| self.now() >= limit);
        if too_late() {
            // Not sent and not held: the next decision gives the attempt up.
            self.desk.drop_held(key);
            return Err(Trip::Lost);
        }
        let mut answer = self.ports.mailer.send_link(&mail).await;
        if let Err(MailError::Unknown(fault)) = &answer
            && !too_late()
        {
            // The same message once more, under the same Message-ID; whatever that says short of "accepted", the first
            // one may have arrived.
            answer = self.ports.mailer.send_link(&mail).await.map_err(|_| MailError::Unknown(fault.clone()));
        }
        let (me, now) = (self.settings.me.clone(), self.now());
        let ours = |e: &Entry| pending_of(e, number, &me);
        match answer {
            Ok(()) => {
                self.desk.drop_held(key);
                self.desk.mailed(key);
                self.update(key, |e| ours(e).then(|| after::mail_accepted(e, number, now))).await
            }
            Err(MailError::Unknown(fault)) => {
                self.desk.drop_held(key);
                self.update(key, |e| ours(e).then(|| after::mail_unknown(e, number, &fault, now))).await
            }
            Err(MailError::Refused(fault)) => {
                self.desk.drop_held(key);
                self.update(key, |e| ours(e).then(|| after::mail_refused(e, number, &fault, now))).await
            }
            Err(error @ (MailError::NotSent(_) | MailError::Deferred(_))) => {
                let trip = Trip::from(error);
                let since = self.desk.held(key, number).map_or(now, |held| held.since);
                let next_try = after::next_send(trip.fault().class, since, now, self.jitter());
                self.desk.hold(key, HeldMail { attempt: number, since, next_try, deliver_before: before, mail });
                Err(trip)
            }
        }
    }

    pub(super) fn message_id(&self) -> Result<String, Trip> {
        let mut random = [0_u8; 16];
        self.ports.random.fill(&mut random).map_err(Trip::Storage)?;
        Ok(format!("{}@{}", ps_core::encode::b64(&random), self.settings.mail_domain))
    }

    pub(super) async fn notice_mail(&self, key: &Key, notice: &Notice) -> Result<NoticeMail, Trip> {
        let entry = self.ports.ledger.get(key).await?.ok_or(Trip::Lost)?.value;
        let recipient = entry.attempt(notice.attempt).map(|a| a.terms.recipient.clone()).unwrap_or_default();
        let name = format!("{key}/{}/{:?}/{}", notice.attempt, notice.kind, notice.at.as_millis());
        let id = ps_core::ids::Digest::of(name.as_bytes()).to_string();
        Ok(NoticeMail {
            to: notice.to.clone(),
            message_id: format!("{}@{}", id.get(..32).unwrap_or(&id), self.settings.mail_domain),
            kind: notice.kind,
            delivery: key.clone(),
            recipient,
            at: notice.at,
            text: notice.text.clone(),
        })
    }
}

/// Whether this attempt's mail is still ours to send.
pub(crate) fn pending_of(entry: &Entry, number: u32, me: &str) -> bool {
    entry.attempt(number).is_some_and(|a| matches!(&a.mail, MailState::Pending { owner, .. } if owner == me))
}

fn verifying(spec: &Spec, sender: &str, judging: Judging) -> (ReleaseKey, Box<Verifying>) {
    let Judging { release, code_key, judge_key } = judging;
    let (recipient, sender) = (spec.recipient.clone(), sender.to_owned());
    let secrets = JudgeSecrets { code_key, judge_key, recipient, sender };
    let judged = |kind: &Verification| *kind != Verification::Passphrase;
    (release, Box::new(Verifying::new(spec.kinds().into_iter().filter(judged).collect(), secrets)))
}

fn terms(spec: &Spec, keys: Vec<String>, expires_at: Timestamp, not_after: Timestamp) -> Terms {
    Terms {
        expires_at,
        not_after,
        claim_window: spec.claim_window,
        strategy: spec.rotation.strategy,
        keys,
        password_policy: spec.rotation.password_policy.clone(),
        after_retrieval: spec.rotation.after_retrieval,
        on_expiry: spec.rotation.on_expiry,
        on_revocation: spec.rotation.on_revocation,
        on_locked: spec.rotation.on_locked,
        on_source_rotated: spec.rotation.on_source_rotated,
        notify: spec.notify.clone(),
        recipient: spec.recipient.masked(),
    }
}

/// Which field names the secret, where somebody has to change something.
fn passphrase_fault(fault: Fault) -> Fault {
    let known = fault.is_transient() || fault.field.is_some();
    if known { fault } else { fault.field("spec.verification.passphrase.secretKeyRef") }
}

fn too_short(spec: &Spec, reading: &Reading) -> Fault {
    let promised = spec.ttl + spec.rotation.after_retrieval;
    let left = reading.rotates_in.unwrap_or_default();
    let period = reading.period.map_or(String::new(), |p| format!(" (its period is {p})"));
    let role = match &spec.source {
        Source::DatabaseStatic { role, .. } => role.as_str(),
        Source::Kv1 { .. } | Source::Kv2 { .. } => "",
    };
    let message = format!(
        "Vault rotates role {role} by itself in {left}{period}, but link.ttl + rotation.afterRetrieval promise {promised}"
    );
    Fault::new(Class::Misconfigured, "static-role-period-too-short", message)
        .field("spec.link.ttl")
        .remedy("Shorten link.ttl or rotation.afterRetrieval, or lengthen the role's rotation_period")
}
