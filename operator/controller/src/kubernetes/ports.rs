//! The ports over what is known and the API server.

use std::sync::Arc;

use async_trait::async_trait;
use kube::core::Request;
use kube::core::params::{GetParams, Patch, PatchParams};
use ps_api::{GROUP, VERSION};
use ps_core::delivery::{ConnectionRef, Manifest, SecretKeyRef};
use ps_core::error::{Class, Fault};
use ps_core::ids::{Digest, Key, Stamp};
use ps_core::ports::{Connection, Connections, Manifests};
use ps_core::secret::SecretString;
use ps_core::status::Status;
use ps_kubernetes::fault::Doing;
use serde_json::Value;

use super::api::{Refusal, is_name};
use super::connection::admit;
use super::object::{Known, Sent};
use super::raw::Raw;
use super::state::{FeedId, Item, What};
use super::{EventNote, KubernetesSource, patch, secret, token};

/// The name under which our fields are managed.
const MANAGER: &str = "password-sender";
/// How often a status is sent while others change the object.
const STATUS_TRIES: u32 = 4;

#[async_trait]
impl Manifests for KubernetesSource {
    async fn get(&self, key: &Key) -> Result<Option<Manifest>, Fault> {
        let known = {
            let state = self.state();
            if let Some(fault) = state.blind(What::Deliveries, &key.namespace) {
                return Err(fault);
            }
            state.deliveries.get(key).cloned()
        };
        Ok(known.and_then(|known| known.manifest(key)))
    }

    async fn confirm_gone(&self, key: &Key) -> Result<(), Fault> {
        let request = Request::new(collection(key)).get(&key.name, &GetParams::default());
        let doing = Doing { verb: "get", ..doing(key, "secretdeliveries") };
        match self.api.send::<Value>(&doing, request).await {
            // The watch tells of it in a moment.
            Ok(_) => Err(object_changed(key)),
            Err(refusal) if refusal.missing.as_ref() == Some(&key.name) => Ok(()),
            Err(refusal) => Err(refusal.fault),
        }
    }

    async fn put_stamp(&self, key: &Key, uid: &str, stamp: &Stamp) -> Result<(), Fault> {
        let known = self.incarnation(key, uid)?;
        if known.deleting {
            // A finalizer can't be added any more.
            return Err(object_changed(key));
        }
        let Some(body) = patch::stamp(&known, stamp) else { return Ok(()) };
        let first = known.stamp.is_none();
        match self.merge(key, &body).await {
            Ok(raw) => self.answered(key, &raw, None),
            Err(refusal) => return Err(self.refused(key, refusal).await),
        }
        if first && self.state().lacks_cleanup(key, &self.options.operator_namespace) {
            let connection = self.connection_of(key).map(|c| format!("{} {}", c.kind.as_str(), c.name));
            self.tell(key, uid, EventNote::no_cleanup_connection(&connection.unwrap_or_default()));
        }
        Ok(())
    }

    async fn release(&self, key: &Key, uid: &str) -> Result<(), Fault> {
        let known = {
            let state = self.state();
            if let Some(fault) = state.blind(What::Deliveries, &key.namespace) {
                return Err(fault);
            }
            state.deliveries.get(key).cloned()
        };
        // What is gone need not be let go.
        let Some(known) = known else { return Ok(()) };
        if *known.uid != *uid {
            return Err(object_changed(key));
        }
        let Some(body) = patch::release(&known) else { return Ok(()) };
        match self.merge(key, &body).await {
            Ok(raw) => {
                self.answered(key, &raw, None);
                Ok(())
            }
            Err(refusal) if refusal.status == 404 => {
                self.gone(key, uid);
                Ok(())
            }
            Err(refusal) => Err(self.refused(key, refusal).await),
        }
    }

    async fn put_status(&self, key: &Key, uid: &str, status: &Status) -> Result<(), Fault> {
        self.write_status(key, uid, status).await
    }
}

impl KubernetesSource {
    /// What is known of exactly this incarnation.
    fn incarnation(&self, key: &Key, uid: &str) -> Result<Arc<Known>, Fault> {
        let state = self.state();
        if let Some(fault) = state.blind(What::Deliveries, &key.namespace) {
            return Err(fault);
        }
        state.deliveries.get(key).filter(|known| *known.uid == *uid).cloned().ok_or_else(|| object_changed(key))
    }

    /// Somebody else's change of the same object in between is no reason to give up.
    async fn write_status(&self, key: &Key, uid: &str, status: &Status) -> Result<(), Fault> {
        let mut conflict = object_changed(key);
        for _ in 0..STATUS_TRIES {
            let known = self.incarnation(key, uid)?;
            let Some((next, digest)) = known.status_to_send(status) else { return Ok(()) };
            // Before it is sent: the watch may show it before the answer comes, and that is no news.
            self.sending(key, uid, Sent { digest, left: None });
            let body = patch::status(key, &known, &next);
            let parameters = PatchParams::apply(MANAGER).force();
            let request =
                Request::new(collection(key)).patch_subresource("status", &key.name, &parameters, &Patch::Apply(&body));
            match self.api.send::<Raw>(&doing(key, "secretdeliveries/status"), request).await {
                Ok(raw) => {
                    self.answered(key, &raw, Some(digest));
                    return Ok(());
                }
                // Nobody is left to read it.
                Err(refusal) if refusal.status == 404 => return Ok(()),
                Err(refusal) if refusal.status == 409 => conflict = self.refused(key, refusal).await,
                Err(refusal) => return Err(refusal.fault),
            }
        }
        Err(conflict)
    }

    async fn merge(&self, key: &Key, body: &Value) -> Result<Raw, Refusal> {
        let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let request = Request::new(collection(key)).patch(&key.name, &parameters, &Patch::Merge(body));
        self.api.send::<Raw>(&doing(key, "secretdeliveries"), request).await
    }

    /// Takes over the answer to a write of ours, unless something newer was seen, or it is gone.
    pub(super) fn answered(&self, key: &Key, raw: &Raw, sent: Option<Digest>) {
        let mut state = self.state();
        let Some(before) = state.deliveries.get(key).filter(|b| *b.uid == *raw.metadata.uid).cloned() else { return };
        let mut known = Known::read(raw, Some(&before));
        if let Some(digest) = sent {
            let sent = Some(Sent { digest, left: Some(known.shown.raw) });
            known.sent = sent;
            if before.version >= known.version {
                // The watch was faster; what it left of our status is known all the same.
                if let Some(there) = state.deliveries.get_mut(key).filter(|there| there.version == known.version) {
                    Arc::make_mut(there).sent = sent;
                }
                return;
            }
            // `apply` keeps what was noted while an object was read; this is the note itself.
            if let Some(there) = state.deliveries.get_mut(key) {
                Arc::make_mut(there).sent = sent;
            }
        }
        let was_dirty = state.dirty.contains(key);
        let own =
            before.generation == known.generation && before.deleting == known.deleting && before.let_go == known.let_go;
        let id = self.feed_of(key);
        state.answered(&id, Item::Delivery(key.clone(), Arc::new(known)));
        if own && !was_dirty {
            state.dirty.remove(key);
        }
        self.woken(state);
    }

    /// The API server does not know this object any more. It is forgotten before the watch says so: it would be let go again
    /// and again until then.
    fn gone(&self, key: &Key, uid: &str) {
        let mut state = self.state();
        if state.deliveries.get(key).is_some_and(|known| *known.uid == *uid) {
            state.forget(What::Deliveries, key);
        }
        self.woken(state);
    }

    fn feed_of(&self, key: &Key) -> FeedId {
        let only = (!self.options.namespaces.is_empty()).then(|| key.namespace.clone());
        FeedId { what: What::Deliveries, only }
    }

    fn sending(&self, key: &Key, uid: &str, sent: Sent) {
        let mut state = self.state();
        if let Some(known) = state.deliveries.get_mut(key).filter(|known| *known.uid == *uid) {
            Arc::make_mut(known).sent = Some(sent);
        }
    }

    /// A refused write. After a conflict the object is read once, so that the next try need not wait for the watch.
    async fn refused(&self, key: &Key, refusal: Refusal) -> Fault {
        match refusal.status {
            404 => object_changed(key),
            409 => {
                let request = Request::new(collection(key)).get(&key.name, &GetParams::default());
                let doing = Doing { verb: "get", ..doing(key, "secretdeliveries") };
                if let Ok(raw) = self.api.send::<Raw>(&doing, request).await {
                    self.refreshed(key, &raw);
                }
                object_changed(key)
            }
            _ => refusal.fault,
        }
    }

    /// Takes over an object that was read out of turn, unless it is gone by now.
    fn refreshed(&self, key: &Key, raw: &Raw) {
        let mut state = self.state();
        let Some(before) = state.deliveries.get(key).cloned() else { return };
        let known = Known::read(raw, Some(&before));
        let id = self.feed_of(key);
        state.answered(&id, Item::Delivery(key.clone(), Arc::new(known)));
        self.woken(state);
    }
}

#[async_trait]
impl Connections for KubernetesSource {
    async fn resolve(&self, name: &ConnectionRef) -> Result<Connection, Fault> {
        let connection = self.state().resolve(name, &self.options.operator_namespace)?;
        admit(&self.options, &connection)?;
        Ok(connection)
    }

    async fn secret(&self, namespace: &str, key: &SecretKeyRef) -> Result<SecretString, Fault> {
        secret::read(&self.api, namespace, key).await
    }

    async fn service_account_token(
        &self,
        namespace: &str,
        account: &str,
        audience: &str,
    ) -> Result<SecretString, Fault> {
        token::request(&self.api, &self.options.own_audiences, namespace, account, audience).await
    }
}

fn collection(key: &Key) -> String {
    // Names come from the API server; anything else is sent to a namespace that can't exist.
    let namespace = if is_name(&key.namespace) { &key.namespace } else { "-" };
    format!("/apis/{GROUP}/{VERSION}/namespaces/{namespace}/secretdeliveries")
}

fn doing(key: &Key, resource: &str) -> Doing {
    Doing::new("patch", resource, &key.namespace, &key.name).of_group(GROUP)
}

fn object_changed(key: &Key) -> Fault {
    Fault::new(Class::Transient, "object-changed", format!("{key} is another object by now, or was changed meanwhile"))
}
