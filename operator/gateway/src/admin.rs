//! `/healthz`, `/readyz` and `/metrics`, for a listener of their own that the internet does not reach.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use ps_store::service::Fence;

use crate::counters::Counters;

/// The admin endpoints of one gateway. It is ready when claims are answered.
pub fn router(counters: Arc<Counters>, fence: Fence) -> Router {
    let ready = move || async move {
        if fence.is_raised() {
            (StatusCode::SERVICE_UNAVAILABLE, "fenced: the operator has not cleared the store yet\n")
        } else {
            (StatusCode::OK, "ok\n")
        }
    };
    let metrics = move || async move {
        ([(CONTENT_TYPE, "text/plain; version=0.0.4"), (CACHE_CONTROL, "no-store")], counters.render())
    };
    Router::new().route("/healthz", get(async || "ok\n")).route("/readyz", get(ready)).route("/metrics", get(metrics))
}
