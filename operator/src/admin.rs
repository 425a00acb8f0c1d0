//! `/healthz`, `/readyz` and `/metrics` on the admin port.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use ps_core::time::{Span, Timestamp};

use crate::metrics::Metrics;

/// No worker came by for this long: something hangs.
const STUCK_AFTER: Span = Span::from_secs(120);

/// What the endpoints read.
pub struct Health {
    /// Whether everything is started.
    pub ready: AtomicBool,
    /// When the main loop last came by, in milliseconds.
    pub alive_at: AtomicI64,
    /// The metrics.
    pub metrics: Arc<Metrics>,
}

impl Health {
    /// Not ready yet.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>, now: Timestamp) -> Arc<Self> {
        Arc::new(Self { ready: AtomicBool::new(false), alive_at: AtomicI64::new(now.as_millis()), metrics })
    }

    /// The main loop came by.
    pub fn beat(&self, now: Timestamp) {
        self.alive_at.store(now.as_millis(), Ordering::Relaxed);
    }
}

/// The admin endpoints.
pub fn router(health: Arc<Health>) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(health)
}

async fn healthz(State(health): State<Arc<Health>>) -> (StatusCode, &'static str) {
    let alive = Timestamp::from_millis(health.alive_at.load(Ordering::Relaxed));
    if crate::clock::now().since(alive) > STUCK_AFTER {
        return (StatusCode::SERVICE_UNAVAILABLE, "the main loop does not come by\n");
    }
    (StatusCode::OK, "ok\n")
}

async fn readyz(State(health): State<Arc<Health>>) -> (StatusCode, &'static str) {
    if health.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "starting, or standing by\n")
    }
}

async fn metrics(State(health): State<Arc<Health>>) -> axum::response::Response {
    match health.metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt as _;

    use super::*;

    async fn ask(health: &Arc<Health>, path: &str) -> u16 {
        let request = Request::get(path).body(Body::empty()).unwrap();
        router(Arc::clone(health)).oneshot(request).await.unwrap().status().as_u16()
    }

    #[tokio::test]
    async fn who_does_not_come_by_is_not_healthy_and_who_is_not_ready_is() {
        let now = crate::clock::now();
        let health = Health::new(Arc::new(Metrics::new().unwrap()), now);
        assert_eq!((ask(&health, "/healthz").await, ask(&health, "/readyz").await), (200, 503));
        health.ready.store(true, Ordering::Relaxed);
        assert_eq!(ask(&health, "/readyz").await, 200);
        health.beat(Timestamp::from_millis(now.as_millis() - STUCK_AFTER.as_millis() - 1));
        assert_eq!(ask(&health, "/healthz").await, 503);
        health.beat(crate::clock::now());
        assert_eq!(ask(&health, "/healthz").await, 200);
        assert_eq!(ask(&health, "/secrets").await, 404);
    }
}
