//! The recipient's page: files built from `web/` and committed in `web/dist/`, embedded here, and what an operator says on it.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{self, HeaderMap, HeaderValue};
use ps_core::encode::sha256;
use ps_core::page::{Brand, Logo};

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const JSON: &str = "application/json";

macro_rules! built {
    ($($name:literal),+ $(,)?) => {
        /// What was built, by name. The first is the page itself.
        const BUILT: &[(&str, &[u8])] =
            &[$(($name, include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/dist/", $name)))),+];
    };
}

built![
    "index.html",
    "app.js",
    "seal.js",
    "secret.js",
    "checks.js",
    "kdf-worker.js",
    "qr.js",
    "ar.json",
    "ar-later.json",
    "de.json",
    "de-later.json",
    "en.json",
    "en-later.json",
    "es.json",
    "es-later.json",
    "fr.json",
    "fr-later.json",
    "it.json",
    "it-later.json",
    "ja.json",
    "ja-later.json",
    "nl.json",
    "nl-later.json",
    "pl.json",
    "pl-later.json",
    "pt.json",
    "pt-later.json",
    "zh.json",
    "zh-later.json",
];

/// One file of the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct File {
    /// Its `Content-Type`.
    pub(crate) content_type: &'static str,
    /// Its bytes.
    plain: Bytes,
    /// The same compressed, if that is shorter.
    gzip: Option<Bytes>,
    /// A picture: its policy lets it be shown and nothing else.
    pub(crate) picture: bool,
}

impl File {
    fn new(content_type: &'static str, plain: Bytes) -> Self {
        // What can't be compressed is served as it is: writing to memory does not fail.
        let packed = (|| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(&plain)?;
            encoder.finish()
        })();
        let gzip = packed.ok().filter(|packed| packed.len() < plain.len()).map(Bytes::from);
        Self { content_type, plain, gzip, picture: false }
    }

    /// The bytes for a client, and whether they are compressed.
    pub(crate) fn body(&self, takes_gzip: bool) -> (Bytes, bool) {
        match &self.gzip {
            Some(gzip) if takes_gzip => (gzip.clone(), true),
            _ => (self.plain.clone(), false),
        }
    }
}

/// All that is served besides the API: the same for every link and for none.
#[derive(Clone, Debug)]
pub struct Page {
    files: Vec<(&'static str, File)>,
    index: File,
    /// `Content-Security-Policy` of the page and its files.
    pub(crate) policy: HeaderValue,
    /// `Strict-Transport-Security`, where it is configured.
    pub(crate) hsts: Option<HeaderValue>,
}

impl Page {
    /// Prepares the page with what an operator says on it.
    #[must_use]
    pub fn new(brand: &Brand) -> Self {
        let kind = |name: &str| match name.rsplit_once('.') {
            Some((_, "js")) => SCRIPT,
            Some((_, "json")) => JSON,
            _ => HTML,
        };
        let mut files: Vec<_> =
            BUILT.iter().map(|(name, bytes)| (*name, File::new(kind(name), Bytes::from_static(bytes)))).collect();
        let json = if brand.json.is_empty() { "{}" } else { &brand.json };
        files.push(("page.json", File::new(JSON, Bytes::copy_from_slice(json.as_bytes()))));
        files.push((
            "robots.txt",
            File::new("text/plain; charset=utf-8", Bytes::from_static(b"User-agent: *\nDisallow: /\n")),
        ));
        if let Some(Logo { content_type, bytes }) = &brand.logo {
            let file = File::new(content_type, Bytes::copy_from_slice(bytes));
            files.push(("logo", File { picture: true, ..file }));
        }
        let index = BUILT.first().map_or(&b""[..], |(_, bytes)| bytes);
        let hsts = brand.hsts_seconds.and_then(|seconds| HeaderValue::try_from(format!("max-age={seconds}")).ok());
        Self { files, index: File::new(HTML, Bytes::from_static(index)), policy: policy(index), hsts }
    }

    /// The file for a path; the page itself for every path that names no other file.
    ///
    /// Mail gateways turn `/#ps1.…` into `/%23ps1.…` and worse. The page recovers the link from its own address, so it must
    /// come whatever stands there. It loads its files relative to that address, so they are known by their last segment.
    pub(crate) fn file(&self, path: &str) -> &File {
        let last = path.rsplit('/').next().unwrap_or_default();
        self.files.iter().find(|(name, _)| *name == last).map_or(&self.index, |(_, file)| file)
    }
}

impl Default for Page {
    fn default() -> Self {
        Self::new(&Brand::default())
    }
}

/// What the page may do: run its own scripts, wear the style that is written in it, load its own files, talk to its own
/// origin, and nothing else.
fn policy(index: &[u8]) -> HeaderValue {
    let text = std::str::from_utf8(index).unwrap_or_default();
    let style =
        text.split_once("<style>").and_then(|(_, rest)| rest.split_once("</style>")).map_or("", |(style, _)| style);
    let hash = STANDARD.encode(sha256(style.as_bytes()));
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'sha256-{hash}'; connect-src 'self'; img-src 'self'; \
         worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types ps"
    );
    // Letters, digits and signs of base64: it is a header's value.
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

/// Whether a client takes gzip.
pub(crate) fn takes_gzip(headers: &HeaderMap) -> bool {
    let offers = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    offers.flat_map(|value| value.split(',')).any(|offer| {
        let mut parts = offer.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let refused = parts.any(|part| part.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0_f32)));
        name.eq_ignore_ascii_case("gzip") && !refused
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use ps_core::page::{SURFACES_DARK, SURFACES_LIGHT};

    use super::*;

    #[test]
    fn every_mangled_path_yields_the_page() {
        let page = Page::default();
        for path in
            ["/", "", "/%23ps1.AAAA", "/%2523ps1.AAAA/", "/safe/?", "/a/b/c", "/index.html", "/app.js/", "/logo"]
        {
            assert_eq!(page.file(path), &page.index, "{path}");
        }
        for (path, kind) in [("/app.js", SCRIPT), ("/%23ps1.AAAA/kdf-worker.js", SCRIPT), ("/ar.json", JSON)] {
            assert_eq!(page.file(path).content_type, kind);
            assert_ne!(page.file(path), &page.index);
        }
    }

    #[test]
    fn all_that_was_built_is_served() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/dist");
        let mut there: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        let mut known: Vec<_> = BUILT.iter().map(|(name, _)| (*name).to_owned()).collect();
        there.sort();
        known.sort();
        assert_eq!(there, known);
    }

    #[test]
    fn what_is_compressed_is_the_same() {
        let page = Page::default();
        let mut first = 0;
        for (name, file) in &page.files {
            let (packed, compressed) = file.body(true);
            if compressed {
                let mut plain = Vec::new();
                flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut plain).unwrap();
                assert_eq!(plain, file.body(false).0, "{name}");
            }
            if ["index.html", "app.js", "ja.json", "page.json"].contains(name) {
                first += packed.len();
            }
        }
        assert!(first <= 15_000, "{first} bytes for a first visit");
    }

    #[test]
    fn gzip_is_for_those_who_take_it() {
        let with = |value: &'static str| {
            takes_gzip(&HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(value))]))
        };
        assert!(with("gzip") && with("br, GZIP;q=0.5") && with("deflate,gzip ; q=1"));
        assert!(!with("gzip;q=0") && !with("gzip; q=0.0") && !with("br") && !with("*") && !with("xgzip"));
        assert!(!takes_gzip(&HeaderMap::new()));
    }

    #[test]
    fn the_policy_is_that_of_the_style_in_the_page() {
        let policy = Page::default().policy;
        assert_ne!(policy, super::policy(b"<style>*{}</style>"));
        assert!(
            policy.to_str().unwrap().contains("style-src 'sha256-") && !policy.to_str().unwrap().contains("unsafe")
        );
    }

    #[test]
    fn a_brand_is_data_beside_the_page() {
        let logo = Logo { content_type: "image/png", bytes: vec![1, 2, 3] };
        let brand = Brand { json: r#"{"name":"X"}"#.into(), logo: Some(logo), hsts_seconds: Some(60) };
        let (plain, branded) = (Page::default(), Page::new(&brand));
        assert_eq!((&plain.index, &plain.policy), (&branded.index, &branded.policy));
        assert_eq!(branded.file("/page.json").body(false).0, r#"{"name":"X"}"#);
        assert_eq!(plain.file("/page.json").body(false).0, "{}");
        assert!(branded.file("/logo").picture && !branded.file("/app.js").picture);
        assert_eq!(branded.hsts.unwrap(), "max-age=60");
    }

    /// Colours are made readable on these; so they must be what the style says.
    #[test]
    fn the_surfaces_are_those_of_the_style() {
        let style = String::from_utf8(Page::default().index.body(false).0.to_vec()).unwrap();
        let (light, dark) = style.split_once("prefers-color-scheme:dark").unwrap();
        for (part, surfaces) in [(light, SURFACES_LIGHT), (dark, SURFACES_DARK)] {
            let value = |name: &str| {
                let (_, rest) = part.split_once(name).unwrap();
                let value = rest.trim_start_matches([':', ' ']).split(';').next().unwrap();
                // The build writes #fff for #ffffff.
                if value.len() == 4 {
                    value.chars().skip(1).fold("#".to_owned(), |s, c| format!("{s}{c}{c}"))
                } else {
                    value.into()
                }
            };
            assert_eq!([value("--ground"), value("--sheet"), value("--tint")], surfaces);
        }
    }
}
