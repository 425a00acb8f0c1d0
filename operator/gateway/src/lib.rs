//! The public HTTP service and its page.
