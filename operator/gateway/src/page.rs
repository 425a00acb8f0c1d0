//! The recipient's page: four files, built from `web/` and committed in `web/dist/`, embedded here.

/// One file of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct File {
    /// Its `Content-Type`.
    pub(crate) content_type: &'static str,
    /// Its bytes.
    pub(crate) bytes: &'static [u8],
}

const INDEX: File = File {
    content_type: "text/html; charset=utf-8",
    bytes: include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/dist/index.html")),
};
const SCRIPT: File = File {
    content_type: "text/javascript; charset=utf-8",
    bytes: include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/dist/app.js")),
};
const WORKER: File = File {
    content_type: "text/javascript; charset=utf-8",
    bytes: include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/dist/kdf-worker.js")),
};
const STYLE: File = File {
    content_type: "text/css; charset=utf-8",
    bytes: include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/dist/style.css")),
};
const ROBOTS: File = File { content_type: "text/plain; charset=utf-8", bytes: b"User-agent: *\nDisallow: /\n" };

/// The file for a path; the page itself for every path that names no other file.
///
/// Mail gateways turn `/#ps1.…` into `/%23ps1.…` and worse. The page recovers the link from its own address, so it must
/// come whatever stands there. It loads its files relative to that address, so they are known by their last segment.
pub(crate) fn file(path: &str) -> File {
    match path.rsplit('/').next() {
        Some("app.js") => SCRIPT,
        Some("kdf-worker.js") => WORKER,
        Some("style.css") => STYLE,
        Some("robots.txt") => ROBOTS,
        _ => INDEX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mangled_path_yields_the_page() {
        for path in ["/", "", "/%23ps1.AAAA", "/%2523ps1.AAAA/", "/safe/?", "/a/b/c", "/index.html", "/app.js/"] {
            assert_eq!(file(path), INDEX, "{path}");
        }
        assert_eq!(file("/app.js"), SCRIPT);
        assert_eq!(file("/%23ps1.AAAA/kdf-worker.js"), WORKER);
        assert_eq!(file("/style.css"), STYLE);
    }
}
