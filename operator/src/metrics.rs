//! Prometheus metrics: counters and histograms with closed label sets; no delivery, person or path is ever a label.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};
use ps_core::audit::EventKind;
use ps_core::error::Fault;

/// Typed handles of every metric.
pub struct Metrics {
    registry: Registry,
    /// Audit events by kind: every change of state of every delivery.
    events: IntCounterVec,
    /// Acts that failed, by code and class.
    faults: IntCounterVec,
    /// Decisions performed, by action.
    actions: IntCounterVec,
    /// Seconds from due to proven.
    pub rotation_delay: Histogram,
    /// Deliveries that wait for a worker.
    pub queue_ready: IntGauge,
    /// Deliveries that wait for their time.
    pub queue_timed: IntGauge,
    /// Starts of the gateway child.
    pub gateway_starts: IntCounter,
    /// 1 while this operator works, 0 while it stands by.
    pub leader: IntGauge,
    /// 1 while the last self-check succeeded, 0 while it failed; it starts at 0.
    pub self_check: IntGauge,
    /// Kubernetes Events that were dropped since this process began to lead.
    pub events_dropped: IntGauge,
    /// Live links that no ledger entry knows and that were revoked.
    pub orphans: IntCounter,
}

impl Metrics {
    /// A registry of its own with every metric in it.
    ///
    /// # Errors
    /// If two metrics had the same name.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new_custom(Some("password_sender".into()), None)?;
        let family = |name: &str, help: &str, labels: &[&str]| -> prometheus::Result<IntCounterVec> {
            let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let events = family("events_total", "Changes of state, by kind of audit event.", &["kind"])?;
        let faults = family("faults_total", "Acts that failed, by code and class.", &["code", "class"])?;
        let actions = family("actions_total", "Decisions performed, by action.", &["action"])?;
        let buckets = vec![0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 3600.0];
        let rotation_delay = Histogram::with_opts(
            HistogramOpts::new("rotation_delay_seconds", "From due to proven dead.").buckets(buckets),
        )?;
        registry.register(Box::new(rotation_delay.clone()))?;
        let gauge = |name: &str, help: &str| -> prometheus::Result<IntGauge> {
            let metric = IntGauge::new(name, help)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let queue_ready = gauge("queue_ready", "Deliveries that wait for a worker.")?;
        let queue_timed = gauge("queue_timed", "Deliveries that wait for their time.")?;
        let leader = gauge("leader", "1 while this operator works, 0 while it stands by.")?;
        let self_check = gauge("self_check_ok", "1 if the last self-check opened a link through publicUrl.")?;
        let events_dropped = gauge("kubernetes_events_dropped", "Events that the API server did not take in time.")?;
        let orphans = IntCounter::new("orphans_revoked_total", "Live links that no ledger entry knows, revoked.")?;
        registry.register(Box::new(orphans.clone()))?;
        let gateway_starts = IntCounter::new("gateway_starts_total", "Starts of the gateway process.")?;
        registry.register(Box::new(gateway_starts.clone()))?;
        let build = IntGauge::with_opts(
            Opts::new("build_info", "Version of this build.").const_label("version", env!("CARGO_PKG_VERSION")),
        )?;
        build.set(1);
        registry.register(Box::new(build))?;
        Ok(Self {
            registry,
            events,
            faults,
            actions,
            rotation_delay,
            queue_ready,
            queue_timed,
            gateway_starts,
            leader,
            self_check,
            events_dropped,
            orphans,
        })
    }

    /// A change of state.
    pub fn event(&self, kind: EventKind) {
        self.events.with_label_values(&[&format!("{kind:?}")]).inc();
    }

    /// A failed act. Codes are stable names from our own code, so the label stays bounded.
    pub fn fault(&self, fault: &Fault) {
        self.faults.with_label_values(&[fault.code.as_str(), fault.class.as_str()]).inc();
    }

    /// A decision.
    pub fn action(&self, name: &str) {
        self.actions.with_label_values(&[name]).inc();
    }

    /// The text exposition format, version 0.0.4.
    ///
    /// # Errors
    /// If a metric is inconsistent, which the registry prevents.
    pub fn render(&self) -> prometheus::Result<String> {
        let mut families = self.registry.gather();
        let process = prometheus::process_collector::ProcessCollector::for_self();
        families.extend(prometheus::core::Collector::collect(&process));
        TextEncoder::new().encode_to_string(&families)
    }
}
