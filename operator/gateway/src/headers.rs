//! Response headers, the same on every answer that this crate makes.

use axum::response::Response;
use http::header::{self, HeaderName, HeaderValue};

/// What the page may do: load its own script, style and worker, talk to its own origin, and nothing else.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types ps";

/// What a JSON answer may do if a browser shows it as a document: nothing.
const DATA_POLICY: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page writes to the clipboard when asked to. Nothing else of the device is its affair.
const PERMISSIONS: &str = "clipboard-write=(self), clipboard-read=(), accelerometer=(), autoplay=(), camera=(), \
     display-capture=(), encrypted-media=(), fullscreen=(), geolocation=(), gyroscope=(), hid=(), magnetometer=(), \
     microphone=(), midi=(), payment=(), picture-in-picture=(), publickey-credentials-get=(), screen-wake-lock=(), \
     serial=(), usb=(), xr-spatial-tracking=()";

/// What an answer is, for its content security policy.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The page or one of its files.
    Page,
    /// JSON, or nothing.
    Data,
}

/// Puts the fixed headers on an answer.
pub(crate) fn seal(mut response: Response, kind: Kind) -> Response {
    let policy = match kind {
        Kind::Page => PAGE_POLICY,
        Kind::Data => DATA_POLICY,
    };
    let fixed: [(HeaderName, &'static str); 8] = [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), PERMISSIONS),
        (HeaderName::from_static("x-robots-tag"), "noindex, nofollow, noarchive"),
    ];
    let headers = response.headers_mut();
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
