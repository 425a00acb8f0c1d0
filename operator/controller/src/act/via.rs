//! As whom Vault is asked for an attempt: the tenant, or whoever may clean up after it ([`ps_core::cleanup`]).

use ps_core::cleanup;
use ps_core::delivery::{ConnectionRef, SourceSight};
use ps_core::entry::Attempt;
use ps_core::error::{Class, Fault};
use ps_core::ports::Connection;
use ps_core::rotation::Step;

use super::Trip;
use crate::controller::Controller;

/// What Vault is asked for.
#[derive(Clone, Copy)]
pub(super) enum Ask<'a> {
    /// A look at the source.
    Look,
    /// One step of a rotation.
    Step(&'a Step),
}

impl Controller {
    async fn ask(&self, at: &Connection, attempt: &Attempt, what: Ask<'_>) -> Result<Option<SourceSight>, Fault> {
        let vault = &self.ports.vault;
        match what {
            Ask::Look => {
                let sight = vault.observe(at, &attempt.source, &attempt.identity, &self.tag_key, self.now()).await?;
                Ok(Some(sight))
            }
            Ask::Step(step) => vault.rotate(at, &attempt.source, step).await.map(|()| None),
        }
    }

    /// Asks Vault as the tenant; where its identity is gone, as its clean-up connection. A look answers with a sight.
    pub(super) async fn as_whoever_can(&self, attempt: &Attempt, what: Ask<'_>) -> Result<Option<SourceSight>, Trip> {
        let own = self.reconnect(attempt).await?;
        let fault = match self.ask(&own, attempt, what).await {
            Ok(answer) => return Ok(answer),
            Err(fault) => fault,
        };
        if let Some(name) = cleanup::cleaner(attempt, &own, &fault) {
            // Its own trouble would say less than the tenant's: that one is what a person has to look at.
            if let Ok(at) = self.cleaner(attempt, name).await
                && let Ok(answer) = self.ask(&at, attempt, what).await
            {
                return Ok(answer);
            }
        }
        Err(self.vault_trip(&attempt.connection, attempt.number)(fault))
    }

    /// The connection of an attempt: as it is now, or as it was if its object is gone.
    async fn reconnect(&self, attempt: &Attempt) -> Result<Connection, Trip> {
        let at = match self.ports.connections.resolve(&attempt.connection).await {
            Ok(at) => at,
            Err(fault) => match cleanup::remembered(attempt, &fault) {
                Some(at) => at.clone(),
                None => return Err(Trip::Delivery { attempt: attempt.number, fault }),
            },
        };
        same_server(attempt, at)
    }

    /// The clean-up connection, used by the operator's own namespace.
    async fn cleaner(&self, attempt: &Attempt, name: &str) -> Result<Connection, Trip> {
        let name = ConnectionRef::cluster(&self.settings.namespace, name);
        same_server(attempt, self.connect(&name, attempt.number).await?)
    }
}

/// A connection that still leads to the server that the credential came from: another server's answers would prove
/// nothing, and a rotation there would kill somebody else's credential.
fn same_server(attempt: &Attempt, at: Connection) -> Result<Connection, Trip> {
    if attempt.source.index_key(&at.address, &at.vault_namespace) == attempt.source_key {
        return Ok(at);
    }
    let message =
        format!("connection {} leads to another server or namespace than when this was delivered", at.name.name);
    let fault = Fault::new(Class::Misconfigured, "connection-changed", message).field("spec.address").remedy(
        "Point it back until what was delivered is rotated, and use a connection of another name for the new server",
    );
    Err(Trip::Delivery { attempt: attempt.number, fault })
}
