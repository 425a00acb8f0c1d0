//! The suite that every link service passes, through the mount: a gateway's client, a real server, a clock that is a file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use ps_core::ids::LinkId;
use ps_core::link::Link;
use ps_core::service::{
    AcknowledgeRequest, ClaimAnswer, ClaimRequest, DeclineRequest, LinkService, LookupAnswer, LookupRequest, Refusal,
    StateAnswer,
};
use ps_core::time::Timestamp;
use ps_gateway::mount::{Endpoint, MountLinkService};
use ps_gateway::verbs::{Bench, Broken, Sample, verb_suite};
use ps_testbed::{OpenBao, TokenOptions};
use serde_json::json;

use crate::stand::{MOUNT, NAME, clocked, set_up};

/// A mount whose time is in a file.
struct MountBench {
    bao: OpenBao,
    clock: Clock,
    service: Arc<dyn LinkService>,
}

#[derive(Clone)]
struct Clock(PathBuf);

impl Clock {
    fn set(&self, now: Timestamp) {
        // A reader finds the old time or the new one, never half of one.
        let fresh = self.0.with_extension(ps_testbed::unique("t"));
        std::fs::write(&fresh, now.as_millis().to_string()).unwrap();
        std::fs::rename(fresh, &self.0).unwrap();
    }
}

/// Sets the clock to the time that the suite gives, and asks then.
struct Timed {
    inner: MountLinkService,
    clock: Clock,
}

#[async_trait]
impl LinkService for Timed {
    async fn lookup(&self, request: &LookupRequest, now: Timestamp) -> Result<LookupAnswer, Refusal> {
        self.clock.set(now);
        self.inner.lookup(request, now).await
    }
    async fn claim(&self, request: &ClaimRequest, now: Timestamp) -> Result<ClaimAnswer, Refusal> {
        self.clock.set(now);
        self.inner.claim(request, now).await
    }
    async fn acknowledge(&self, request: &AcknowledgeRequest, now: Timestamp) -> Result<StateAnswer, Refusal> {
        self.clock.set(now);
        self.inner.acknowledge(request, now).await
    }
    async fn decline(&self, request: &DeclineRequest, now: Timestamp) -> Result<StateAnswer, Refusal> {
        self.clock.set(now);
        self.inner.decline(request, now).await
    }
}

#[async_trait]
impl Bench for MountBench {
    fn service(&self) -> Arc<dyn LinkService> {
        self.service.clone()
    }

    async fn put(&self, link: Link) -> Result<(), Broken> {
        // The suite's links live for ttl and window from when they are put.
        let put_at = link.expires_at - ps_gateway::verbs::TTL;
        self.clock.set(put_at);
        let bytes = |bytes: &Option<Vec<u8>>| ps_core::encode::b64(bytes.as_deref().unwrap_or_default());
        let body = json!({"sealed": link.sealed, "ciphertext": bytes(&link.ciphertext), "preview": bytes(&link.preview),
            "ttl": ps_gateway::verbs::TTL.to_string()});
        self.bao.call("POST", "send/sealed/any", Some(&body)).await.map(drop).map_err(|e| Broken(e.to_string()))
    }

    async fn revoke(&self, id: LinkId, now: Timestamp) -> Result<(), Broken> {
        self.clock.set(now);
        self.bao.call("DELETE", &format!("send/links/{id}"), None).await.map(drop).map_err(|e| Broken(e.to_string()))
    }
}

async fn gateway_token(bao: &OpenBao, file: &Path) {
    bao.policy("gateway", "path \"send/gateway/*\" {\n  capabilities = [\"update\"]\n}\n").await.unwrap();
    let token = bao.token(&["gateway"], &TokenOptions::default()).await.unwrap();
    std::fs::write(file, token.token).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_suite_runs_through_the_mount() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock(folder.path().join("clock"));
    let bao = OpenBao::dev().await.unwrap();
    let file = clock.0.to_str().unwrap().to_owned();
    clock.set(Timestamp::from_secs(1_800_000_000));
    bao.mount_plugin(NAME, &clocked(), &[&file], MOUNT).await.unwrap();
    set_up(&bao).await;
    let token_file = folder.path().join("token");
    gateway_token(&bao, &token_file).await;
    let inner = MountLinkService::new(Endpoint {
        address: bao.address().to_owned(),
        namespace: String::new(),
        mount: MOUNT.to_owned(),
        token_file,
        ca_file: None,
    })
    .unwrap();
    let service = Arc::new(Timed { inner, clock: clock.clone() });
    let bench = MountBench { bao, clock, service };
    verb_suite(&bench).await.unwrap();
    // The samples were really put, under names that the suite gives.
    let sample = Sample::new("race", &[], Timestamp::from_secs(1_800_000_000));
    let read = bench.bao.call("GET", &format!("send/links/{}", sample.holder.id), None).await.unwrap();
    assert_eq!(read["data"]["state"], "claimed");
}
