//! The small services that a server expects: shutdown, output, health, version.

use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::proto::health::health_check_response::ServingStatus;
use crate::proto::health::health_server::Health;
use crate::proto::health::{HealthCheckRequest, HealthCheckResponse};
use crate::proto::logical;
use crate::proto::logical::plugin_version_server::PluginVersion;
use crate::proto::plugin::grpc_controller_server::GrpcController;
use crate::proto::plugin::grpc_stdio_server::GrpcStdio;
use crate::proto::plugin::{Empty, StdioData};

/// Ends the process when asked to.
pub(crate) struct Controller(pub(crate) watch::Sender<bool>);

#[tonic::async_trait]
impl GrpcController for Controller {
    async fn shutdown(&self, _: Request<Empty>) -> Result<Response<Empty>, Status> {
        self.0.send_replace(true);
        Ok(Response::new(Empty {}))
    }
}

/// Sends no output: all that there is goes to stderr, as log lines.
pub(crate) struct Stdio {
    never: mpsc::Sender<Result<StdioData, Status>>,
    asked: std::sync::Mutex<Option<mpsc::Receiver<Result<StdioData, Status>>>>,
}

impl Stdio {
    pub(crate) fn new() -> Self {
        let (never, asked) = mpsc::channel(1);
        Self { never, asked: std::sync::Mutex::new(Some(asked)) }
    }
}

#[tonic::async_trait]
impl GrpcStdio for Stdio {
    type StreamStdioStream = ReceiverStream<Result<StdioData, Status>>;

    async fn stream_stdio(&self, _: Request<()>) -> Result<Response<Self::StreamStdioStream>, Status> {
        let asked = self.asked.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let stream = asked.filter(|_| !self.never.is_closed());
        stream
            .map(|stream| Response::new(ReceiverStream::new(stream)))
            .ok_or_else(|| Status::already_exists("streamed"))
    }
}

/// Says that the plugin serves.
pub(crate) struct Alive;

#[tonic::async_trait]
impl Health for Alive {
    async fn check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(HealthCheckResponse { status: ServingStatus::Serving.into() }))
    }
}

/// Says which version it is.
pub(crate) struct Version(pub(crate) String);

#[tonic::async_trait]
impl PluginVersion for Version {
    async fn version(&self, _: Request<logical::Empty>) -> Result<Response<logical::VersionReply>, Status> {
        Ok(Response::new(logical::VersionReply { plugin_version: self.0.clone() }))
    }
}
