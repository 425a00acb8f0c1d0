//! The world as ports: the clock, Vault, the mail server and the provider; [`crate::kept`] has the rest. Effects are
//! instantaneous; everything that can go wrong around them is the hook's business.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use ps_controller::hooks::{Fate, Hook, Phase};
use ps_controller::{Ports, StepLog};
use ps_core::delivery::*;
use ps_core::entry::Entry;
use ps_core::error::{Class, Fault};
use ps_core::ids::Key;
use ps_core::invariants::Invariant::{EvidenceOnly, IntentFirst, RotationIsOwed};
use ps_core::link::Record;
use ps_core::link::email_code::EmailCode;
use ps_core::link::verification::SignInRefusal;
use ps_core::mail::{CodeMail, LinkMail, NoticeMail};
use ps_core::ports::*;
use ps_core::rotation::{Step, tag};
use ps_core::secret::{SecretBytes, SecretString};
use ps_core::status::Status;
use ps_core::time::{Span, Timestamp};
use ps_envelope::FactorSecret;

use crate::world::{self, ELSEWHERE, Mail, Secret, Shared, Trap};

/// One operator's view of the world: its clock may be off.
pub struct Sim {
    pub world: Shared,
    pub name: String,
}

pub fn ports(world: &Shared, name: &str) -> Ports {
    let sim = Arc::new(Sim { world: world.clone(), name: name.to_owned() });
    let plain = Ports {
        manifests: sim.clone(),
        connections: sim.clone(),
        ledger: sim.clone(),
        store: sim.clone(),
        vault: sim.clone(),
        mailer: sim.clone(),
        identities: sim.clone(),
        audit: sim.clone(),
        clock: sim.clone(),
        random: sim.clone(),
    };
    let hook: Arc<dyn Hook> = sim;
    plain.hooked(&hook)
}

#[async_trait]
impl Hook for Sim {
    async fn at(&self, port: &'static str, method: &'static str, phase: Phase, effect: bool) -> Fate {
        if method == "send_link" && phase == Phase::Before {
            let now = self.now();
            self.world.lock().sending.entry(self.name.clone()).or_default().push(now);
        }
        if method == "send_link" {
            let mut w = self.world.lock();
            if w.faults && w.dice(10) == 0 {
                let trap = if w.dice(2) == 0 { Trap::Killed } else { Trap::Stopped };
                w.caught = Some((self.name.clone(), trap));
            }
        }
        YieldOnce(false).await;
        let mut w = self.world.lock();
        // Whether a notice was handed over is the mailer's own luck: twice unknown counts as told.
        let told = method == "send_notice" && phase == Phase::Before;
        let unlucky = w.faults && !told && w.dice(60) == 0;
        if unlucky {
            w.say(format!("{}: {port}.{method} {phase:?} fails", self.name));
            if method == "send_link" && phase == Phase::Before {
                w.sending.get_mut(&self.name).unwrap().remove(0);
            }
            return Fate::Fail;
        }
        if phase == Phase::After {
            *w.calls.entry((port, method)).or_default() += 1;
        }
        if effect && phase == Phase::After && method != "put_status" {
            w.say(format!("{}: {port}.{method}", self.name));
        }
        Fate::Pass
    }
}

struct YieldOnce(bool);

impl Future for YieldOnce {
    type Output = ();
    fn poll(mut self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        if std::mem::replace(&mut self.0, true) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    }
}

impl Clock for Sim {
    fn now(&self) -> Timestamp {
        let w = self.world.lock();
        Timestamp::from_millis(w.now + w.skews.get(&self.name).copied().unwrap_or_default())
    }
}

impl Random for Sim {
    fn fill(&self, out: &mut [u8]) -> Result<(), Fault> {
        let mut w = self.world.lock();
        for byte in out {
            *byte = w.random() as u8;
        }
        Ok(())
    }
}

impl StepLog for Sim {
    fn step(&self, key: &Key, decision: &ps_core::decide::Decision) {
        let action = format!("{:?}", decision.action);
        let action = action.split(['(', ' ']).next().unwrap_or_default().to_owned();
        let mut w = self.world.lock();
        if let ps_core::decide::Action::Issue(order) = &decision.action {
            w.limits.insert((self.name.clone(), key.clone()), order.spec.deliver_before);
        }
        if w.faults
            && matches!(action.as_str(), "Supersede" | "Revoke" | "Void" | "Settle" | "DeleteRecord" | "FlushAudit")
        {
            w.racing = Some((self.name.clone(), key.clone()));
        }
        w.say(format!("{}: {key} {action}: {}", self.name, decision.reason));
    }
    fn failed(&self, key: &Key, fault: &Fault) {
        let mut w = self.world.lock();
        w.said("a fault", &format!("{fault:?}"));
        w.say(format!("{}: {key} failed: {}", self.name, fault.code));
    }
    fn wrote(&self, _: Option<&Entry>, _: &Entry) {}
    fn rested(&self, key: &Key, status: &Status) {
        let mut w = self.world.lock();
        w.written("a status", status);
        w.statuses.insert(key.clone(), status.clone());
    }
}

#[async_trait]
impl Connections for Sim {
    async fn resolve(&self, name: &ConnectionRef) -> Result<Connection, Fault> {
        Ok(Connection {
            name: name.clone(),
            address: self.world.lock().address(&name.name).into(),
            vault_namespace: String::new(),
            ca_pem: None,
            tls_server_name: None,
            timeout: Span::from_secs(10),
            auth: Auth::Token { secret: SecretKeyRef { name: "t".into(), key: "t".into() } },
            secrets_in: name.namespace.clone(),
            cleanup: None,
        })
    }
    async fn secret(&self, _: &str, _: &SecretKeyRef) -> Result<SecretString, Fault> {
        Ok(SecretString::new("token".into()))
    }
    async fn service_account_token(&self, _: &str, _: &str, _: &str) -> Result<SecretString, Fault> {
        Ok(SecretString::new("jwt".into()))
    }
}

impl Sim {
    /// Whether Vault answers this connection at all.
    fn reach(&self, at: &Connection) -> Result<(), Fault> {
        failing(&self.world.lock(), &at.name.name)
    }
}

/// Whether something works now.
pub fn failing(w: &world::State, what: &str) -> Result<(), Fault> {
    w.fails(what).map_or(Ok(()), Err)
}

#[async_trait]
impl Vault for Sim {
    async fn check_rights(&self, at: &Connection, _: &Source, _: Strategy) -> Result<(), Fault> {
        self.reach(at)
    }
    async fn read(&self, at: &Connection, source: &Source) -> Result<Reading, Fault> {
        self.reach(at)?;
        if at.address == ELSEWHERE {
            return Err(Fault::new(
                Class::Misconfigured,
                "vault-not-found",
                "another server, which has no such secret",
            ));
        }
        let w = self.world.lock();
        let (mut rotates_in, mut every) = (None, None);
        let (value, identity) = match &w.vault[&source.place()] {
            Secret::Static { value, rotated, period } => {
                rotates_in = period.map(|p| Span::from_millis(rotated + p - w.now));
                every = period.map(Span::from_millis);
                (value, Identity::Static { rotated: Timestamp::from_millis(*rotated) })
            }
            Secret::Kv1(value) => (value, Identity::Kv1),
            Secret::Kv2(versions) => {
                let last = versions.last().unwrap();
                (&last.value, Identity::Kv2 { version: versions.len() as u64, created: last.created.to_string() })
            }
        };
        let fields = BTreeMap::from([
            ("username".to_owned(), SecretString::new("app".into())),
            ("password".to_owned(), SecretString::new(value.clone())),
        ]);
        Ok(Reading { fields, identity, rotates_in, period: every, others: Vec::new() })
    }
    async fn observe(
        &self,
        at: &Connection,
        source: &Source,
        delivered: &Identity,
        tag_key: &SecretBytes,
        now: Timestamp,
    ) -> Result<SourceSight, Fault> {
        assert_ne!(at.address, ELSEWHERE, "{EvidenceOnly}: another server's answer proves nothing");
        let reading = self.read(at, source).await?;
        let delivered = match (delivered, &self.world.lock().vault[&source.place()]) {
            (Identity::Kv2 { version, .. }, Secret::Kv2(versions)) if reading.identity != *delivered => {
                if versions[*version as usize - 1].destroyed {
                    DeliveredVersion::Destroyed
                } else {
                    DeliveredVersion::Present
                }
            }
            _ => DeliveredVersion::NotLooked,
        };
        let tags = reading.fields.iter().map(|(k, v)| (k.clone(), tag(tag_key, k, v.expose()))).collect();
        Ok(SourceSight {
            at: now,
            current: Some(reading.identity),
            tags,
            delivered,
            unseen: false,
            written: Vec::new(),
        })
    }
    async fn rotate(&self, at: &Connection, source: &Source, step: &Step) -> Result<(), Fault> {
        assert_ne!(at.address, ELSEWHERE, "{RotationIsOwed}: somebody else's credential on another server");
        self.reach(at)?;
        let mut w = self.world.lock();
        let known = w.intended.contains(&source.index_key(&at.address, &at.vault_namespace));
        assert!(known, "{IntentFirst}: {} is rotated, and no entry has ever said so", source.place());
        // Written, and then the connection breaks before the old version is destroyed.
        if let Step::WriteNewVersion { cas, keys, password_policy, destroy: Some(_) } = step
            && w.faults
            && w.dice(8) == 0
        {
            let (cas, keys, password_policy) = (*cas, keys.clone(), password_policy.clone());
            world::rotate(
                &mut w,
                &source.place(),
                &Step::WriteNewVersion { cas, keys, password_policy, destroy: None },
            );
            return Err(Fault::new(Class::Transient, "vault-timeout", "no answer"));
        }
        if w.faults && w.dice(10) == 0 {
            w.late.push((source.place(), step.clone()));
            return Err(Fault::new(Class::Transient, "vault-timeout", "no answer"));
        }
        world::rotate(&mut w, &source.place(), step);
        Ok(())
    }
}

#[async_trait]
impl Mailer for Sim {
    async fn ready(&self) -> Result<(), MailError> {
        Ok(())
    }
    async fn send_link(&self, mail: &LinkMail) -> Result<(), MailError> {
        let mut w = self.world.lock();
        let sent_at = w.sending.get_mut(&self.name).unwrap().remove(0);
        assert!(!w.paused.contains(&self.name), "{} was told to send nothing", self.name);
        let luck = if w.faults { w.dice(20) } else { 19 };
        if luck == 0 {
            return Err(MailError::Deferred(Fault::new(Class::Transient, "greylisted", "later")));
        }
        if luck == 1 {
            return Err(MailError::Refused(Fault::new(Class::Permanent, "refused", "no such user")));
        }
        if luck == 3 {
            return Err(MailError::NotSent(Fault::new(Class::Transient, "mail-down", "not today")));
        }
        let fragment = mail.link.expose().split_once('#').unwrap().1.to_owned();
        let opener = ps_envelope::Opener::from_fragment(&fragment).unwrap();
        let name = mail.to.email.split(['@', '.']).next().unwrap().to_owned();
        let mut token = [0_u8; 32];
        for byte in &mut token {
            *byte = w.random() as u8;
        }
        let key = Key::new("default", name);
        let limit = w.limits.get(&(self.name.clone(), key.clone())).copied().flatten();
        assert!(limit.is_none_or(|limit| sent_at < limit), "{key} was sent after deliverBefore");
        let attempt = w.attempt_of(opener.id()).expect("invariant 5: what is mailed is in the ledger first");
        let (place, strategy) = (attempt.source.place(), attempt.terms.strategy);
        let r = attempt.release.as_ref().map(|r| FactorSecret::from_bytes(SecretBytes::new(r.0.to_vec())).unwrap());
        let value = value_of(&w.store.get(&opener.id()).map(|(r, _)| r.clone()), &opener, r).unwrap_or_default();
        let line = format!("{}: mail to {key}, record {}", self.name, opener.id());
        w.say(line);
        let record = opener.id();
        let code = mail.opening_code.expose().to_owned();
        w.mails.push(Mail { key, link: fragment, code, record, value, token, place, strategy });
        w.mailed();
        if luck == 2 {
            return Err(MailError::Unknown(Fault::new(Class::Transient, "reply-lost", "closed after DATA")));
        }
        Ok(())
    }
    async fn send_code(&self, mail: &CodeMail) -> Result<(), MailError> {
        let mut w = self.world.lock();
        assert!(!w.paused.contains(&self.name), "{} was told to send nothing", self.name);
        let luck = if w.faults { w.dice(20) } else { 19 };
        if luck == 0 {
            return Err(MailError::Deferred(Fault::new(Class::Transient, "greylisted", "later")));
        }
        if luck == 1 {
            return Err(MailError::Refused(Fault::new(Class::Permanent, "refused", "no such user")));
        }
        if luck == 3 {
            return Err(MailError::NotSent(Fault::new(Class::Transient, "mail-down", "not today")));
        }
        let code = EmailCode::parse(mail.code.expose()).unwrap();
        let mailed = w.ledger.values().flat_map(|(e, _)| &e.attempts).find(|a| {
            let Some(verify) = a.verify.as_deref() else { return false };
            let hash = verify.secrets.as_ref().map(|s| s.code_key.hash(a.record, &code));
            hash.is_some() && hash == verify.code.as_ref().map(|c| c.hash)
        });
        // Two operators: the other one may have gone on, or the link is over by now.
        let Some(record) = mailed.map(|a| a.record) else { return Ok(()) };
        let line = format!("{}: a code for {record}", self.name);
        w.say(line);
        let codes = w.codes.entry(record).or_default();
        if codes.last().map(String::as_str) != Some(code.expose()) {
            codes.push(code.expose().to_owned());
        }
        if luck == 2 {
            return Err(MailError::Unknown(Fault::new(Class::Transient, "reply-lost", "closed after DATA")));
        }
        Ok(())
    }
    async fn send_notice(&self, mail: &NoticeMail) -> Result<(), MailError> {
        let mut w = self.world.lock();
        let luck = if w.faults { w.dice(30) } else { 29 };
        if luck == 0 {
            return Err(MailError::Deferred(Fault::new(Class::Transient, "greylisted", "later")));
        }
        w.said("a notice", &format!("{mail:?}"));
        w.notices.insert((mail.delivery.clone(), format!("{:?}", mail.kind), mail.message_id.clone()));
        match luck {
            3 => Err(MailError::NotSent(Fault::new(Class::Transient, "mail-down", "not today"))),
            1 => Err(MailError::Refused(Fault::new(Class::Permanent, "refused", "no such user"))),
            2 => Err(MailError::Unknown(Fault::new(Class::Transient, "reply-lost", "closed after DATA"))),
            _ => Ok(()),
        }
    }
}

/// What the recipient of this link would read.
fn value_of(record: &Option<Record>, opener: &ps_envelope::Opener, r: Option<FactorSecret>) -> Option<String> {
    let link = record.as_ref()?.link()?.clone();
    let facts = ps_envelope::Facts::new(link.sealed.not_after, &link.sealed.kinds).unwrap();
    let payload = opener.unlock(facts, None).unwrap().open(r.as_ref(), link.ciphertext.as_ref()?).unwrap();
    payload.fields.iter().find(|f| f.key == "password").map(|f| f.value.expose().to_owned())
}

#[async_trait]
impl Identities for Sim {
    async fn ready(&self) -> Result<(), Fault> {
        Ok(())
    }
    async fn sign_in(&self, answer: &SignIn<'_>) -> Result<Result<(), SignInRefusal>, Fault> {
        let mut w = self.world.lock();
        failing(&w, "identity")?;
        if w.faults && w.dice(10) == 0 {
            return Err(Fault::new(Class::Transient, "identity-timeout", "no answer"));
        }
        assert!(answer.email.ends_with("@vendor.example"));
        let right = answer.code == crate::codes::right_answer(&answer.nonce);
        Ok(if right { Ok(()) } else { Err(SignInRefusal::SignIn) })
    }
}
