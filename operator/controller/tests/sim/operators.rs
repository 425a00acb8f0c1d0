//! Two operators, both active, each with several deliveries in work at once.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use ps_controller::{Controller, Rested, Settings};
use ps_core::audit::{Event, Writer};
use ps_core::entry::MailState;
use ps_core::ids::Key;
use ps_core::time::Span;

use crate::ports::{Sim, ports};
use crate::world::{Shared, State, Trap, common};

pub type Work = Pin<Box<dyn Future<Output = Rested>>>;

struct Operator {
    name: String,
    controller: Arc<Controller>,
    tasks: Vec<(Key, Work)>,
    paused: usize,
}

pub struct Operators {
    world: Shared,
    all: Vec<Operator>,
    born: usize,
    /// Whether this run restores backups: a restore ends most stories.
    restorable: bool,
}

impl Operators {
    pub fn new(world: &Shared, restorable: bool) -> Self {
        let mut operators = Self { world: world.clone(), all: Vec::new(), born: 0, restorable };
        for _ in 0..2 {
            let operator = operators.start();
            operators.all.push(operator);
        }
        operators
    }

    fn start(&mut self) -> Operator {
        self.born += 1;
        let name = format!("op{}", self.born);
        let paused = {
            let mut w = self.world.lock();
            let skew = if w.faults { w.dice(40_000) as i64 - 20_000 } else { 0 };
            w.skews.insert(name.clone(), skew);
            let paused = w.faults && w.dice(12) == 0;
            if paused {
                w.paused.insert(name.clone());
            }
            paused
        };
        let settings = Settings {
            me: name.clone(),
            namespace: "password-sender".into(),
            public_url: "https://links.example.com".into(),
            sender: "Team".into(),
            mail_domain: "example.com".into(),
            mail_hold: Span::from_secs(900),
            paused,
            max_bytes: 512 * 1024,
        };
        let log = Arc::new(Sim { world: self.world.clone(), name: name.clone() });
        let common = common(&self.world.lock());
        let controller = Arc::new(Controller::new(ports(&self.world, &name), settings, &common, log));
        Operator { name, controller, tasks: Vec::new(), paused: 0 }
    }

    /// One operator gets as far as its next port call, or takes up another delivery.
    pub fn advance(&mut self) {
        let (who, what) = {
            let mut w = self.world.lock();
            (w.dice(self.all.len() as u64) as usize, w.random() as usize)
        };
        let operator = &mut self.all[who];
        if operator.paused > 0 {
            operator.paused -= 1;
            return;
        }
        if operator.tasks.is_empty() || (operator.tasks.len() < 3 && what.is_multiple_of(4)) {
            let key = {
                let w = self.world.lock();
                let keys = keys(&w);
                // A request in a record wakes its delivery, more often than not.
                let asked = asked(&w).filter(|_| what.is_multiple_of(2));
                asked.unwrap_or_else(|| keys[what % keys.len()].clone())
            };
            // One delivery is worked on by one task of an operator at a time, as the queue has it.
            if operator.tasks.iter().any(|(k, _)| *k == key) {
                return;
            }
            let (controller, name) = (operator.controller.clone(), key.clone());
            operator.tasks.push((key, Box::pin(async move { controller.work(&name).await })));
            return;
        }
        let at = what % operator.tasks.len();
        // A burst, so that an act is as often finished as interrupted.
        for _ in 0..1 + what % 12 {
            if operator.tasks[at].1.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                drop(operator.tasks.swap_remove(at));
                return;
            }
            let w = self.world.lock();
            if w.racing.is_some() || w.caught.is_some() {
                return;
            }
        }
    }

    /// What needs a certain moment, at that moment: an operator is killed or stopped in the middle of a mail, and somebody
    /// acts on a link between the decision to end it and its end.
    pub fn spring(&mut self) {
        let (caught, racing) = {
            let mut w = self.world.lock();
            (w.caught.take(), w.racing.take())
        };
        if let Some((name, trap)) = caught
            && let Some(who) = self.all.iter().position(|o| o.name == name)
        {
            self.world.lock().say(format!("{name} is caught while it sends"));
            match trap {
                Trap::Killed => self.all[who] = self.start(),
                Trap::Stopped => self.all[who].paused = 60,
            }
            // Until anybody may give the attempt up.
            self.world.lock().now += 61_000;
        }
        let Some((name, key)) = racing else { return };
        let (choice, long) = {
            let mut w = self.world.lock();
            (w.dice(4), 1 + w.dice(30))
        };
        match choice {
            0 => crate::people::hurry(&self.world, &key),
            1 => self.others_go_on(&name, &key, long),
            _ => {}
        }
    }

    /// Whoever else works on this delivery gets further with it, stopped or not.
    fn others_go_on(&mut self, but: &str, key: &Key, steps: u64) {
        for operator in self.all.iter_mut().filter(|o| o.name != but) {
            let Some(at) = operator.tasks.iter().position(|(k, _)| k == key) else { continue };
            operator.paused = 0;
            for _ in 0..steps {
                if operator.tasks[at].1.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                    drop(operator.tasks.swap_remove(at));
                    break;
                }
            }
        }
    }

    /// One operator takes up one delivery; the caller drives it.
    pub fn task(&self, who: usize, key: &Key) -> Work {
        let (controller, key) = (self.all[who].controller.clone(), key.clone());
        Box::pin(async move { controller.work(&key).await })
    }

    /// SIGKILL: what was in memory is gone.
    pub fn crash(&mut self) {
        let who = self.world.lock().dice(self.all.len() as u64) as usize;
        self.world.lock().say(format!("operator {who} is killed"));
        self.all[who] = self.start();
    }

    /// SIGTERM: nothing new begins, messages in memory are given up, and their links with them.
    pub fn stop(&mut self) {
        let who = self.world.lock().dice(self.all.len() as u64) as usize;
        {
            let mut w = self.world.lock();
            w.say(format!("operator {who} is told to stop"));
            w.faults = false;
            // What it can't void, whoever comes next voids.
            w.down.remove("store");
        }
        let operator = &mut self.all[who];
        let mut held = operator.controller.stop();
        for (key, mut work) in std::mem::take(&mut operator.tasks) {
            finish(&key, &mut work);
        }
        held.extend(operator.controller.stop());
        for key in &held {
            let (controller, name) = (operator.controller.clone(), key.clone());
            finish(key, &mut (Box::pin(async move { controller.work(&name).await }) as Work));
        }
        let left = operator.controller.stop();
        assert!(left.is_empty(), "invariant 5: {left:?} still wait in the memory of an operator that ends");
        let mut w = self.world.lock();
        for key in &held {
            for attempt in w.ledger.get(key).iter().flat_map(|(e, _)| &e.attempts) {
                let mine = matches!(&attempt.mail, MailState::Pending { owner, .. } if *owner == operator.name);
                assert!(!mine, "invariant 5: the held mail of {key} outlives its owner");
            }
        }
        w.faults = true;
        drop(w);
        self.all[who] = self.start();
    }

    /// An operator's clock jumps by an hour, or is put right.
    pub fn clock_jumps(&mut self) {
        let mut w = self.world.lock();
        let who = w.dice(self.all.len() as u64) as usize;
        let skew = [3_600_000, -3_600_000, 0, 0][w.dice(4) as usize];
        w.say(format!("operator {who}'s clock is {} s off", skew / 1000));
        w.skews.insert(self.all[who].name.clone(), skew);
    }

    /// SIGSTOP for a while.
    pub fn pause(&mut self) {
        let (who, long) = {
            let mut w = self.world.lock();
            (w.dice(self.all.len() as u64) as usize, w.dice(120) as usize)
        };
        self.all[who].paused = long;
    }

    /// The data folder is restored from the backup; the audit trail, on another volume, is not.
    pub fn restore(&mut self) {
        {
            let mut w = self.world.lock();
            if w.backup.ledger.is_empty() || !self.restorable || w.dice(6) != 0 {
                return;
            }
            w.say("restored from the backup");
            w.restores += 1;
            w.ledger = w.backup.ledger.clone();
            w.store = w.backup.store.clone();
            w.tampered = w.backup.tampered.clone();
            let gone: Vec<_> = w.mails.iter().map(|m| m.record).filter(|r| w.attempt_of(*r).is_none()).collect();
            w.forgotten_mails.extend(gone);
            let unknown = w.audit.iter().any(|event| !known(&w, event));
            if unknown {
                // What the ledger does not know at all waits for a person, who accepts below: it may be sent once more.
                let State { manifests, ledger, permits, claims_per_key, .. } = &mut *w;
                for key in manifests.keys().filter(|key| !ledger.contains_key(*key)) {
                    let claims = claims_per_key.get(key).copied().unwrap_or_default();
                    let permit = permits.entry(key.clone()).or_default();
                    *permit = (*permit).max(claims + 1);
                }
            } else {
                // No witness at all: nobody can tell that these links were claimed before (docs/threat-model.md).
                let State { store, ledger, claims, claims_per_key, mails, .. } = &mut *w;
                let remembered: BTreeSet<_> = ledger
                    .values()
                    .flat_map(|(e, _)| &e.attempts)
                    .filter(|a| a.link.claimed_at.is_some())
                    .map(|a| a.record)
                    .chain(
                        store
                            .iter()
                            .filter(|(_, (r, _))| r.link().is_some_and(|l| l.claim.is_some()))
                            .map(|(id, _)| *id),
                    )
                    .collect();
                claims.retain(|id, _| {
                    let kept = remembered.contains(id);
                    if !kept && let Some(mail) = mails.iter().find(|m| m.record == *id) {
                        claims_per_key.entry(mail.key.clone()).and_modify(|n| *n -= 1);
                    }
                    kept
                });
            }
            w.restored = unknown.then(|| "the audit trail knows more".to_owned());
            w.fenced = true;
            w.faults = false;
            // No claim is answered before it works again.
            w.down.remove("store");
        }
        for who in 0..self.all.len() {
            self.all[who] = self.start();
        }
        // The fence: no claim before each open link was looked at.
        self.run_all();
        let mut w = self.world.lock();
        w.fenced = false;
        w.faults = true;
        // A person accepts what was restored; what was withdrawn stays withdrawn. Not every operator hears of it at once.
        w.restored = None;
        let deaf: Vec<bool> = self.all.iter().map(|_| w.dice(2) == 0).collect();
        drop(w);
        for (operator, _) in self.all.iter().zip(deaf).filter(|(_, deaf)| !deaf) {
            operator.controller.set_restored(None);
        }
    }

    /// Everything that is due is done, again and again, until time has run out for every link and obligation.
    pub fn settle(&mut self) {
        {
            let mut w = self.world.lock();
            w.faults = false;
            for skew in w.skews.values_mut() {
                *skew = 0;
            }
            w.down.clear();
            w.moved.clear();
            for operator in &self.all {
                operator.controller.set_restored(w.restored.clone());
            }
        }
        while !self.world.lock().late.is_empty() {
            crate::world::late_effect(&self.world);
        }
        for _ in 0..40 {
            self.run_all();
            let mut w = self.world.lock();
            w.now += 600_000;
            crate::people::vaults_own_rotations(&mut w);
        }
        self.run_all();
    }

    /// Everything that is due now is done.
    pub fn run_all(&mut self) {
        for operator in &mut self.all {
            operator.paused = 0;
            for _ in 0..2 {
                for (key, mut work) in std::mem::take(&mut operator.tasks) {
                    finish(&key, &mut work);
                }
                let keys = keys(&self.world.lock());
                for key in keys {
                    let (controller, name) = (operator.controller.clone(), key.clone());
                    let mut work: Work = Box::pin(async move { controller.work(&name).await });
                    finish(&key, &mut work);
                }
            }
        }
    }
}

fn finish(key: &Key, work: &mut Work) {
    for _ in 0..100_000 {
        if work.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            return;
        }
    }
    panic!("{key} does not come to rest");
}

fn keys(w: &State) -> Vec<Key> {
    let mut keys: Vec<Key> = w.manifests.keys().chain(w.ledger.keys()).cloned().collect();
    keys.sort();
    keys.dedup();
    keys
}

/// A delivery whose record holds a request that nobody has answered.
fn asked(w: &State) -> Option<Key> {
    let asking = |e: &ps_core::entry::Entry| {
        let record = |a: &ps_core::entry::Attempt| w.store.get(&a.record)?.0.link()?.open_request().map(drop);
        e.attempts.iter().any(|a| record(a).is_some())
    };
    w.ledger.values().map(|(e, _)| e).find(|e| asking(e)).map(|e| e.key.clone())
}

/// Whether the ledger has what the audit trail tells.
fn known(w: &State, event: &Event) -> bool {
    w.ledger.get(&event.delivery).is_some_and(|(entry, _)| {
        entry.incarnation() == event.incarnation
            && match event.writer {
                Writer::Operator => event.seq < entry.next_seq,
                Writer::Record => {
                    entry.attempt(event.attempt).is_some_and(|a| event.seq < u64::from(a.link.journal_read))
                }
            }
    })
}
