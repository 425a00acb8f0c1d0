//! From a started process to its end.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use tokio::sync::watch;
use tonic::transport::Server;

use crate::backend::Service;
use crate::broker::{Broker, Phase};
use crate::identity::Identity;
use crate::launch::{Launch, Refused};
use crate::listen::Socket;
use crate::program::Program;
use crate::proto::health::health_server::HealthServer;
use crate::proto::logical::plugin_version_server::PluginVersionServer;
use crate::proto::pb::backend_server::BackendServer;
use crate::proto::plugin::grpc_broker_server::GrpcBrokerServer;
use crate::proto::plugin::grpc_controller_server::GrpcControllerServer;
use crate::proto::plugin::grpc_stdio_server::GrpcStdioServer;
use crate::services::{Alive, Controller, Stdio, Version};

/// The largest request that is read, in bytes. The server takes bodies of 32 MiB, which JSON can make longer.
const LARGEST: usize = 64 << 20;
/// A server that does not open its stream in this time has died while it started us.
const FIRST_WORD: Duration = Duration::from_secs(90);
/// The server kills what is not gone 2 s after it was told to go.
const GOODBYE: Duration = Duration::from_secs(1);
/// Few connections and short work: more threads would only cost memory.
const THREADS: usize = 2;

/// Why serving ended badly.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("TLS can't be set up")]
    Identity(#[from] crate::identity::NoIdentity),
    #[error("no socket, or no stdout")]
    Io(#[from] std::io::Error),
    #[error("serving failed")]
    Transport(#[from] tonic::transport::Error),
    #[error("the server that started this plugin never spoke")]
    Silence,
}

/// Serves `program` to the server that started this process, until that server says so or is gone. `hint` is what a person
/// who starts it by hand should read.
pub fn serve(program: impl Program, hint: &str) -> ExitCode {
    let launch = match Launch::read(|name| std::env::var(name).ok()) {
        Ok(launch) => launch,
        Err(refused) => {
            let text =
                if refused == Refused::ByHand { format!("{refused}.\n{hint}\n") } else { format!("{refused}\n") };
            // A closed stderr is no reason to die differently.
            std::io::stderr().write_all(text.as_bytes()).unwrap_or_default();
            return ExitCode::FAILURE;
        }
    };
    crate::log::start();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build();
    let ended = runtime.map_err(Ended::Io).and_then(|runtime| {
        let ended = runtime.block_on(run(program, launch));
        // Storage that nobody answers any more must not hold the process.
        runtime.shutdown_timeout(Duration::ZERO);
        ended
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            tracing::error!(%error, source, "the plugin ends");
            ExitCode::FAILURE
        }
    }
}

async fn run(program: impl Program, launch: Launch) -> Result<(), Ended> {
    let identity = Identity::new(launch.host_certificate.clone())?;
    let mut socket = Socket::bind(&launch.socket_folder)?;
    let incoming = socket.accept(identity.server.clone());
    let broker = Broker::new(identity.client.clone());
    let phase = broker.phase();
    let stop = watch::Sender::new(false);
    let mut stopped = stop.subscribe();
    let version = program.version();
    let served = Server::builder()
        .add_service(
            BackendServer::new(Service::new(program, broker.clone()))
                .max_decoding_message_size(LARGEST)
                .max_encoding_message_size(LARGEST),
        )
        .add_service(GrpcBrokerServer::new(broker))
        .add_service(GrpcControllerServer::new(Controller(stop)))
        .add_service(GrpcStdioServer::new(Stdio::new()))
        .add_service(HealthServer::new(Alive))
        .add_service(PluginVersionServer::new(Version(version)))
        .serve_with_incoming(incoming);
    // Only when everything is ready: the server connects as soon as it has read this.
    let line = launch.handshake(socket.path(), &identity.certificate);
    let mut out = std::io::stdout();
    out.write_all(line.as_bytes())?;
    out.flush()?;
    socket.sweep();

    tokio::select! {
        served = served => Err(served.err().map_or(Ended::Silence, Ended::Transport)),
        _ = stopped.wait_for(|stop| *stop) => {
            // The answer is on its way; the server hangs up when it has it.
            tokio::time::timeout(GOODBYE, gone(phase)).await.unwrap_or_default();
            Ok(())
        }
        () = gone(phase.clone()) => Ok(()),
        () = silence(phase.clone()) => Err(Ended::Silence),
    }
}

/// Waits until the server's stream has ended.
async fn gone(mut phase: watch::Receiver<Phase>) {
    phase.wait_for(|phase| *phase == Phase::Over).await.map(drop).unwrap_or_default();
}

/// Ends when the server has not spoken in time; never, if it has.
async fn silence(mut phase: watch::Receiver<Phase>) {
    let spoke = phase.wait_for(|phase| *phase != Phase::Waiting);
    if tokio::time::timeout(FIRST_WORD, spoke).await.is_ok() {
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether `watched` ends within an hour of a clock that runs by itself.
    async fn ends(watched: impl Future<Output = ()>) -> bool {
        tokio::time::timeout(Duration::from_secs(3600), watched).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_server_that_never_spoke_is_silent() {
        let phase = watch::Sender::new(Phase::Waiting);
        assert!(ends(silence(phase.subscribe())).await);
        assert!(!ends(gone(phase.subscribe())).await);
        phase.send_replace(Phase::Talking);
        assert!(!ends(silence(phase.subscribe())).await);
        assert!(!ends(gone(phase.subscribe())).await);
        phase.send_replace(Phase::Over);
        assert!(ends(gone(phase.subscribe())).await);
    }
}
