//! `/healthz`, `/readyz` and `/metrics`, for a listener of their own that the internet does not reach.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use ps_store::service::Fence;

use crate::counters::Counters;

/// What a store has to say to those who watch a gateway.
pub trait Watched: Send + Sync {
    /// Why claims can't be answered, if they can't.
    fn unready(&self) -> Option<&'static str>;
    /// Further metrics, in the exposition format.
    fn metrics(&self) -> String;
}

/// A store that is always there.
#[derive(Clone, Copy, Debug)]
pub struct Local;

impl Watched for Local {
    fn unready(&self) -> Option<&'static str> {
        None
    }

    fn metrics(&self) -> String {
        String::new()
    }
}

/// The admin endpoints of one gateway. It is ready when claims are answered.
pub fn router(counters: Arc<Counters>, fence: Fence, store: Arc<dyn Watched>) -> Router {
    let (watched, fenced) = (store.clone(), fence.clone());
    let ready = move || async move {
        if let Some(why) = watched.unready() {
            (StatusCode::SERVICE_UNAVAILABLE, why)
        } else if fenced.is_raised() {
            (StatusCode::SERVICE_UNAVAILABLE, "fenced: the operator has not cleared the store yet\n")
        } else {
            (StatusCode::OK, "ok\n")
        }
    };
    let metrics = move || async move {
        let gate = u8::from(fence.is_raised());
        let text = format!(
            "{}# HELP password_sender_gateway_fenced Whether claims are refused until the operator has cleared the store.\n\
             # TYPE password_sender_gateway_fenced gauge\npassword_sender_gateway_fenced {gate}\n{}",
            counters.render(),
            store.metrics()
        );
        ([(CONTENT_TYPE, "text/plain; version=0.0.4"), (CACHE_CONTROL, "no-store")], text)
    };
    Router::new().route("/healthz", get(async || "ok\n")).route("/readyz", get(ready)).route("/metrics", get(metrics))
}
