//! Keeps an index up to date: list, watch, and again, for ever.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, pin_mut};
use http::Request;
use kube::core::WatchEvent;
use ps_core::error::Fault;

use super::{Indexed, Shared};
use crate::exchange::Refusal;
use crate::fault::{self, Doing};
use crate::table::RowMeta;
use crate::wire::{WireHead, number};

/// Rows per page of a list, at first: whoever may update rows can give each a MiB of metadata, and so make pages too large.
const PAGE: u32 = 100;
/// How long the API server is asked to keep a watch.
const WATCH: u64 = 290;
/// A watch that lasted this long ended because it was asked to.
const UNDISTURBED: Duration = Duration::from_secs(WATCH - 20);
/// Longest silence of a watch: bookmarks come about every minute.
const SILENCE: Duration = Duration::from_secs(90);
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// Why a watch ended.
enum Ended {
    /// As watches do: it is resumed.
    Resume,
    /// The history from our position on is gone, or the watch makes no sense: list again.
    List,
}

pub(super) async fn follow<T: Indexed>(shared: Arc<Shared<T>>) {
    let mut pause = SHORTEST_PAUSE;
    let mut listed = false;
    loop {
        let started = Instant::now();
        match turn(&shared, &mut listed).await {
            Ok(()) => pause = SHORTEST_PAUSE,
            Err(fault) => {
                tracing::warn!(code = fault.code, "watching Secrets in {}: {fault}", shared.table.namespace());
                shared.change(|state| state.fault = Some(fault));
                if started.elapsed() > LONGEST_PAUSE {
                    pause = SHORTEST_PAUSE;
                }
                tokio::time::sleep(jittered(pause)).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Lists if need be, and watches once.
async fn turn<T: Indexed>(shared: &Shared<T>, listed: &mut bool) -> Result<(), Fault> {
    // A position that the API server has not reached yet means that its numbers went backwards: a watch would be silent.
    if *listed {
        // Known before the question.
        let newest = shared.lock().newest();
        *listed = shared.table.position().await? >= newest;
    }
    if !*listed {
        list(shared).await?;
        *listed = true;
    }
    let began = Instant::now();
    let ended = tokio::select! {
        ended = watch(shared) => ended,
        () = shared.restart.notified() => Ok(Ended::List),
    };
    shared.change(|state| state.behind = Some(Instant::now()));
    match ended {
        Ok(Ended::Resume) if began.elapsed() >= UNDISTURBED => {}
        // A connection that broke may mean a restored etcd whose numbers have passed our position already: a list shows it.
        Ok(Ended::Resume | Ended::List) => *listed = false,
        Err(fault) => {
            *listed = false;
            return Err(fault);
        }
    }
    Ok(())
}

async fn list<T: Indexed>(shared: &Shared<T>) -> Result<(), Fault> {
    shared.lock().begin_list();
    let mut rows = Vec::new();
    let mut next: Option<String> = None;
    let mut size = PAGE;
    let position = loop {
        let page = match shared.table.page(next.as_deref(), size).await {
            Err(fault) if fault::is_too_large(&fault) && size > 1 => {
                size /= 2;
                continue;
            }
            page => page?,
        };
        rows.extend(page.rows.into_iter().map(|meta| {
            let value = (shared.parse)(&meta);
            (meta.name, value, meta.version)
        }));
        next = page.next;
        if next.is_none() {
            break page.position;
        }
    };
    let (was, backwards) = shared.change(|state| {
        state.fault = None;
        state.heard = Some(Instant::now());
        let was = state.seen;
        (was, state.listed(rows, position))
    });
    if backwards {
        tracing::error!(
            was,
            position,
            "the Kubernetes API's history of Secrets in {} went backwards: etcd was restored from a backup",
            shared.table.namespace()
        );
    }
    Ok(())
}

async fn watch<T: Indexed>(shared: &Shared<T>) -> Result<Ended, Fault> {
    let doing = shared.table.doing("watch", "");
    let position = shared.lock().seen;
    let uri = format!(
        "{}?{}&watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH}&resourceVersion={position}",
        shared.table.folder(),
        shared.table.selectors()
    );
    let request = Request::get(uri)
        .header(http::header::ACCEPT, METADATA)
        .body(Vec::new())
        .map_err(|_| fault::unreadable(&doing))?;
    let events = match shared.table.client.request_events::<WireHead>(request).await {
        Ok(events) => events,
        Err(kube::Error::Api(status)) if status.code == 410 || is_too_large(&status) => return Ok(Ended::List),
        Err(error) => return Err(fault::of(&doing, &error)),
    };
    shared.change(|state| {
        state.fault = None;
        state.heard = Some(Instant::now());
        state.behind = None;
    });
    pin_mut!(events);
    loop {
        let event = match tokio::time::timeout(SILENCE, events.next()).await {
            Err(_) => return Err(fault::silent(&doing)),
            Ok(None) => return Ok(Ended::Resume),
            Ok(Some(Err(error))) => return Err(fault::of(&doing, &error)),
            Ok(Some(Ok(event))) => event,
        };
        match event {
            WatchEvent::Error(status) if status.code == 410 || is_too_large(&status) => return Ok(Ended::List),
            WatchEvent::Error(status) => return Err(Refusal::Said(status).fault(&doing)),
            other => apply(shared, &doing, other)?,
        }
    }
}

fn apply<T: Indexed>(shared: &Shared<T>, doing: &Doing, event: WatchEvent<WireHead>) -> Result<(), Fault> {
    enum Told<T> {
        Put(RowMeta, T),
        Gone(RowMeta),
        Reached(u64),
    }
    let told = match event {
        WatchEvent::Added(head) | WatchEvent::Modified(head) => {
            let meta = head.metadata.meta(doing)?;
            let value = (shared.parse)(&meta);
            Told::Put(meta, value)
        }
        WatchEvent::Deleted(head) => Told::Gone(head.metadata.meta(doing)?),
        WatchEvent::Bookmark(mark) => Told::Reached(number(&Some(mark.metadata.resource_version), doing)?),
        WatchEvent::Error(_) => return Ok(()),
    };
    shared.change(|state| {
        state.fault = None;
        state.heard = Some(Instant::now());
        match told {
            Told::Put(meta, value) => state.watched(&meta.name, value, meta.version),
            Told::Gone(meta) => state.watched_deletion(&meta.name, meta.version),
            Told::Reached(position) => state.reach(position),
        }
    });
    Ok(())
}

/// "Too large resource version": the API server is behind us, for a moment or for good.
fn is_too_large(status: &kube::core::Status) -> bool {
    status.details.as_ref().is_some_and(|d| d.causes.iter().any(|c| c.reason == "ResourceVersionTooLarge"))
}

/// Between half of it and all of it.
fn jittered(pause: Duration) -> Duration {
    let mut random = [0_u8; 1];
    // Without randomness there is no jitter, and nothing worse.
    let part = getrandom::fill(&mut random).map_or(255, |()| u32::from(random[0]));
    pause / 2 + pause / 2 * part / 255
}
