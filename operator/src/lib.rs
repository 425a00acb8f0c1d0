//! The operator binary: arguments, configuration, wiring, supervision, admin endpoints.
