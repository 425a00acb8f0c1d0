//! The store behind the verbs: a folder of this machine, a namespace of a cluster, or a mount.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use ps_core::service::{LinkService, SignInOffer};
use ps_gateway::admin::{Local, Watched};
use ps_gateway::inherited::Waker;
use ps_gateway::mount::{Endpoint, MountLinkService};
use ps_kubernetes::Access;
use ps_store::EmbeddedStore;
use ps_store::kubernetes::{Gatekeeper, KubernetesStore, Rights, Settings, replica as replica_name};
use ps_store::service::{Fence, StoreLinkService};

use crate::args::{Args, Store};

/// What the servers need of a store.
pub(crate) struct Backend {
    pub(crate) service: Arc<dyn LinkService>,
    pub(crate) fence: Fence,
    pub(crate) watched: Arc<dyn Watched>,
    /// To be called when the operator may have changed records.
    pub(crate) changed: Box<dyn Fn() + Send + Sync>,
    /// What must be kept running; it ends only by a defect.
    pub(crate) background: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// Opens the store that the arguments name. `commanded`: a parent lifts the fence.
pub(crate) async fn open(
    args: &Args,
    replica: &str,
    commanded: bool,
    waker: Option<Arc<Waker>>,
) -> anyhow::Result<Backend> {
    match args.store {
        Store::Kubernetes => return cluster(args, replica).await,
        Store::Vault => return mount(args),
        Store::Embedded => {}
    }
    let links = args.links.as_ref().context("--links is missing")?;
    let store = EmbeddedStore::open(links).context("cannot open the link records")?;
    let fence = if commanded { Fence::raised() } else { Fence::lifted() };
    let store = Arc::new(store);
    let mut service = StoreLinkService::new(store.clone(), fence.clone());
    if let Some(offer) = sign_in(args)? {
        service = service.with_sign_in(offer);
    }
    if let Some(waker) = waker {
        service = service.on_change(move |_| waker.wake());
    }
    Ok(Backend {
        service: Arc::new(service),
        fence,
        watched: Arc::new(Local),
        changed: Box::new(move || store.nudge()),
        background: Box::pin(std::future::pending()),
    })
}

/// How a sign-in begins, if the arguments say so.
fn sign_in(args: &Args) -> anyhow::Result<Option<SignInOffer>> {
    let (Some(endpoint), Some(client_id)) = (&args.oidc_authorization_endpoint, &args.oidc_client_id) else {
        return Ok(None);
    };
    let scope = args.oidc_scope.clone();
    ensure!(scope.split(' ').any(|s| s == "openid"), "--oidc-scope must hold openid");
    let plain = |text: &str| !text.is_empty() && text.len() <= 2000 && text.bytes().all(|b| b.is_ascii_graphic());
    let leads = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"));
    ensure!(
        leads.is_some_and(|rest| !rest.starts_with('/') && plain(rest) && !rest.contains('#')),
        "--oidc-authorization-endpoint must be an https address without a fragment"
    );
    let (authorization_endpoint, client_id) = (endpoint.clone(), client_id.clone());
    Ok(Some(SignInOffer { authorization_endpoint, client_id, scope }))
}

/// How the arguments say to reach the cluster.
pub(crate) fn access(args: &Args) -> Access {
    match &args.kubeconfig {
        Some(path) => Access::Kubeconfig { path: path.clone(), context: args.context.clone() },
        None => Access::InCluster,
    }
}

/// The name of this replica in the fence.
pub(crate) fn replica(args: &Args) -> String {
    if let Some(name) = &args.replica {
        return replica_name(name);
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    replica_name(&format!("{}-{}", host.trim(), std::process::id()))
}

async fn cluster(args: &Args, replica: &str) -> anyhow::Result<Backend> {
    // An error means that somebody has installed one already.
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let client = ps_kubernetes::connect(&access(args), "password-sender-gateway").await?;
    let namespace = args.namespace.as_deref().context("--namespace is missing")?;
    let fence = Fence::raised();
    let settings = Settings::new(Rights::Gateway);
    let store = Arc::new(KubernetesStore::start(client, namespace, settings, fence.clone()));
    let door = store.clone();
    let mut service = StoreLinkService::new(store.clone(), fence.clone()).with_door(move |id, access| {
        let door = door.clone();
        Box::pin(async move { door.knock(id, &access).await })
    });
    if let Some(offer) = sign_in(args)? {
        service = service.with_sign_in(offer);
    }
    tracing::info!(namespace, replica, "records are Secrets; claims wait for the operator's answer in the fence");
    let gatekeeper = Gatekeeper::new(store.clone(), fence.clone(), replica);
    let background = Box::pin(gatekeeper.run());
    let (service, watched) = (Arc::new(service), Arc::new(Cluster(store)));
    // The watch tells of changes by itself.
    Ok(Backend { service, fence, watched, changed: Box::new(|| ()), background })
}

/// Where the mount is.
pub(crate) fn endpoint(args: &Args) -> anyhow::Result<Endpoint> {
    Ok(Endpoint {
        address: args.vault_addr.clone().context("--vault-addr is missing")?,
        namespace: args.vault_namespace.clone().unwrap_or_default(),
        mount: args.vault_mount.clone(),
        token_file: args.vault_token_file.clone().context("--vault-token-file is missing")?,
        ca_file: args.vault_ca.clone(),
    })
}

/// Links in a mount: whether they may be claimed is the mount's own affair, so there is no fence.
fn mount(args: &Args) -> anyhow::Result<Backend> {
    let service = Arc::new(MountLinkService::new(endpoint(args)?)?);
    tracing::info!(mount = args.vault_mount, "records are in a mount");
    Ok(Backend {
        service: service.clone(),
        fence: Fence::lifted(),
        watched: service.clone(),
        changed: Box::new(|| ()),
        background: Box::pin(service.keep()),
    })
}

/// What the admin port tells of the cluster's store.
struct Cluster(Arc<KubernetesStore>);

impl Watched for Cluster {
    fn unready(&self) -> Option<&'static str> {
        self.0.fresh().err().map(|_| "behind: the records can't be followed at the moment\n")
    }

    fn metrics(&self) -> String {
        let seen = self.0.counts();
        let metric = |name: &str, kind: &str, help: &str, value: u64| {
            let name = format!("password_sender_gateway_store_{name}");
            format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n")
        };
        [
            metric(
                "behind",
                "gauge",
                "Whether records can't be followed at the moment.",
                u64::from(self.0.fresh().is_err()),
            ),
            metric("records", "gauge", "Link records that the watch knows, tombstones among them.", seen.records),
            metric("reads_total", "counter", "Records read from the API server.", seen.reads),
            metric("writes_total", "counter", "Records written to the API server.", seen.writes),
            metric(
                "went_back_total",
                "counter",
                "Times that the API server was older than what it had told before.",
                seen.went_back,
            ),
        ]
        .concat()
    }
}
