//! The broker: how a server tells where its storage for a mount listens.
//!
//! The server offers (number, socket) on one stream that stays open for as long as it lives, and names the number in
//! `Setup`. Either may come first.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsConnector;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status, Streaming};

use crate::identity::NAME;
use crate::proto::plugin::ConnInfo;
use crate::proto::plugin::grpc_broker_server::GrpcBroker;

/// How long the server itself waits for an offer.
const OFFER: Duration = Duration::from_secs(5);
/// How long an attempt to reach the server's socket may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long one answer of its storage is waited for; a change of a link holds others up meanwhile.
const ANSWER: Duration = Duration::from_secs(60);

/// How far the conversation with the server has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The server has not opened the stream yet.
    Waiting,
    /// It has.
    Talking,
    /// The stream has ended: the server is gone, or going.
    Over,
}

/// The offers so far.
#[derive(Clone)]
pub(crate) struct Broker {
    offers: Arc<Mutex<HashMap<u32, ConnInfo>>>,
    changed: watch::Sender<()>,
    phase: watch::Sender<Phase>,
    tls: Arc<ClientConfig>,
}

impl Broker {
    pub(crate) fn new(tls: Arc<ClientConfig>) -> Self {
        Self { offers: Arc::default(), changed: watch::Sender::new(()), phase: watch::Sender::new(Phase::Waiting), tls }
    }

    pub(crate) fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// A channel to what was, or will soon be, offered as `number`. It connects when first used, and again if it must.
    pub(crate) async fn channel(&self, number: u32) -> Result<Channel, String> {
        let mut changed = self.changed.subscribe();
        let offer = async {
            loop {
                if let Some(offer) = self.offers.lock().unwrap_or_else(PoisonError::into_inner).remove(&number) {
                    return offer;
                }
                if changed.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let offer = tokio::time::timeout(OFFER, offer).await.map_err(|_| "the server offered no storage".to_owned())?;
        if offer.network != "unix" {
            return Err(format!("the server offers its storage over {:?}, not over a Unix socket", offer.network));
        }
        let (path, tls) = (offer.address, TlsConnector::from(self.tls.clone()));
        // The URI stands for nothing: the connector knows where to go.
        Ok(Endpoint::from_static("http://localhost")
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
                let (path, tls) = (path.clone(), tls.clone());
                async move {
                    let stream = UnixStream::connect(path).await?;
                    let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
                    Ok::<_, io::Error>(TokioIo::new(tls.connect(name, stream).await?))
                }
            })))
    }
}

#[tonic::async_trait]
impl GrpcBroker for Broker {
    type StartStreamStream = ReceiverStream<Result<ConnInfo, Status>>;

    async fn start_stream(
        &self,
        request: Request<Streaming<ConnInfo>>,
    ) -> Result<Response<Self::StartStreamStream>, Status> {
        let mut offered = request.into_inner();
        let (ours, answer) = mpsc::channel(1);
        let broker = self.clone();
        self.phase.send_replace(Phase::Talking);
        tokio::spawn(async move {
            while let Some(Ok(offer)) = offered.next().await {
                broker.offers.lock().unwrap_or_else(PoisonError::into_inner).insert(offer.service_id, offer);
                broker.changed.send_replace(());
            }
            broker.phase.send_replace(Phase::Over);
            // Until here: a server whose stream is answered by an end can't offer anything.
            drop(ours);
        });
        Ok(Response::new(ReceiverStream::new(answer)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;

    #[tokio::test]
    async fn an_offer_may_come_before_or_after_it_is_asked_for() {
        let identity = Identity::new(rustls::pki_types::CertificateDer::from(vec![0])).unwrap();
        let broker = Broker::new(identity.client);
        let offer = |service_id, network: &str| {
            let offer = ConnInfo { service_id, network: network.to_owned(), address: "/nowhere".to_owned() };
            broker.offers.lock().unwrap().insert(service_id, offer);
            broker.changed.send_replace(());
        };
        offer(1, "unix");
        assert!(broker.channel(1).await.is_ok());
        let waiting = tokio::spawn({
            let broker = broker.clone();
            async move { broker.channel(2).await.is_ok() }
        });
        tokio::task::yield_now().await;
        offer(2, "unix");
        assert!(waiting.await.unwrap());
        offer(3, "tcp");
        assert!(broker.channel(3).await.is_err());
    }
}
