//! What the log hears of a look at the folder.

use ps_core::error::Fault;
use ps_core::ids::Key;

use super::state::State;

/// Says what became wrong, once.
pub(super) fn say(before: &State, next: &State) {
    for (file, fault) in next.files.iter().filter(|(file, fault)| before.files.get(*file) != Some(fault)) {
        tracing::warn!(%file, code = %fault.code, "{fault}");
    }
    for (key, delivery) in &next.deliveries {
        if let Some(fault) =
            delivery.fault.as_ref().filter(|f| before.deliveries.get(key).and_then(|d| d.fault.as_ref()) != Some(*f))
        {
            tracing::warn!(%key, code = %fault.code, "{fault}");
        }
    }
    for (name, connection) in &next.connections {
        if let Some(fault) = connection
            .fault
            .as_ref()
            .filter(|f| before.connections.get(name).and_then(|c| c.fault.as_ref()) != Some(*f))
        {
            tracing::warn!(namespace = %name.namespace, connection = %name.name, code = %fault.code, "{fault}");
        }
    }
    if let Some(fault) = next.folder.as_ref().filter(|fault| before.folder.as_ref() != Some(*fault)) {
        tracing::warn!(code = %fault.code, "{fault}");
    }
}

/// The note of a delivery turns out not to be readable.
pub(super) fn lose(state: &mut State, key: &Key, fault: Fault) {
    tracing::error!(%key, code = %fault.code, "{fault}");
    state.lose(key, fault);
}
