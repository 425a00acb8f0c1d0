//! Sources of manifests, observe, decide, act, status.
