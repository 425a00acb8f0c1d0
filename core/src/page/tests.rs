//! Bounds of the page's configuration, hostile values, and colours that can always be read.

use proptest::prelude::*;

use super::*;

fn brand(json: serde_json::Value) -> Result<Brand, PageConfigError> {
    serde_json::from_value::<PageConfig>(json).expect("it parses").brand()
}

fn refused(json: serde_json::Value) -> &'static str {
    brand(json).expect_err("it is refused").field
}

fn data(kind: &str, bytes: &[u8]) -> String {
    format!("data:{kind};base64,{}", STANDARD.encode(bytes))
}

const PNG: &[u8] = b"\x89PNG\r\n\x1a\nrest";

#[test]
fn nothing_configured_is_nothing_said() {
    assert_eq!(PageConfig::default().brand().expect("fine"), Brand { json: "{}".into(), ..Brand::default() });
}

#[test]
fn all_of_it() {
    let all = serde_json::json!({
        "name": "Example GmbH", "color": "#FFCC00", "logo": data("image/png", PNG), "hstsSeconds": 31_536_000,
        "guidance": {"default": "Keep it in the vault.", "de": "Im Tresor ablegen.\nNicht in Mails."},
        "contact": {"default": "Service desk: +49 30 1234"},
    });
    let brand = brand(all).expect("fine");
    let told: serde_json::Value = serde_json::from_str(&brand.json).expect("JSON");
    assert_eq!(told["name"], "Example GmbH");
    assert_eq!(told["light"], serde_json::json!(["#876c00", "#ffffff"]));
    assert_eq!(told["dark"], serde_json::json!(["#ffcc00", "#000000"]));
    assert_eq!((&told["logo"], &told["guidance"]["de"]), (&true.into(), &"Im Tresor ablegen.\nNicht in Mails.".into()));
    assert_eq!(brand.logo, Some(Logo { content_type: "image/png", bytes: PNG.to_vec() }));
    assert_eq!(brand.hsts_seconds, Some(31_536_000));
    let svg = super::logo(&data("image/svg+xml", b"<?xml version=\"1.0\"?><svg/>")).expect("a picture");
    assert_eq!(svg.content_type, "image/svg+xml");
}

#[test]
fn hostile_and_broken_values_are_refused() {
    for name in ["", "  ", "a\nb", "a\u{0}b", "\u{202e}evil", "a\u{2066}b", &"x".repeat(61)] {
        assert_eq!(refused(serde_json::json!({"name": name})), "name", "{name:?}");
    }
    for color in ["", "red", "#fff", "0a5c8f", "#0a5c8g", "#0a5c8f;}", "#+a5c8f", "#0a5c8f ", "url(#0a5c8)"] {
        assert_eq!(refused(serde_json::json!({"color": color})), "color", "{color:?}");
    }
    let large = data("image/png", &[PNG, &[0; MAX_LOGO]].concat());
    for logo in [
        "https://evil.example/logo.png",
        "javascript:alert(1)",
        "data:text/html;base64,PHNjcmlwdD4=",
        "data:image/png,raw",
        "data:image/png;base64,####",
        &data("image/png", b"<svg"),
        &data("image/svg+xml", b"<html>"),
        &data("image/svg+xml", b"\xff<svg"),
        &large,
    ] {
        assert_eq!(refused(serde_json::json!({"logo": logo})), "logo", "{logo:.40}");
    }
    for texts in [
        serde_json::json!({"sv": "hej"}),
        serde_json::json!({"__proto__": "x"}),
        serde_json::json!({"en": ""}),
        serde_json::json!({"en": "a\u{7}b"}),
        serde_json::json!({"en": "x".repeat(601)}),
    ] {
        for field in ["guidance", "contact"] {
            assert_eq!(refused(serde_json::json!({field: texts.clone()})), field, "{texts}");
        }
    }
    for seconds in [0, MAX_HSTS_SECONDS + 1] {
        assert_eq!(refused(serde_json::json!({"hstsSeconds": seconds})), "hstsSeconds");
    }
    assert!(serde_json::from_value::<PageConfig>(serde_json::json!({"css": "*{}"})).is_err());
    // Markup is text: the page never reads it as anything else.
    let markup = "</script><img src=x onerror=alert(1)>";
    let kept = brand(serde_json::json!({"name": markup, "contact": {"en": markup}})).expect("fine");
    let told: serde_json::Value = serde_json::from_str(&kept.json).expect("JSON");
    assert_eq!((&told["name"], &told["contact"]["en"]), (&markup.into(), &markup.into()));
}

#[test]
fn contrast_is_what_wcag_says() {
    let color = |text| Color::parse(text).expect("a colour");
    assert!((color("#ffffff").contrast(color("#000000")) - 21.0).abs() < 1e-9);
    assert!((color("#767676").contrast(color("#ffffff")) - 4.54).abs() < 0.01);
    assert!((color("#123456").contrast(color("#123456")) - 1.0).abs() < 1e-9);
}

proptest! {
    #[test]
    fn every_colour_becomes_one_that_can_be_read(rgb in any::<[u8; 3]>()) {
        let [r, g, b] = rgb;
        let color = Color::parse(&format!("#{r:02x}{g:02x}{b:02x}")).expect("a colour");
        for ([main, on], surfaces) in [(color.for_light(), SURFACES_LIGHT), (color.for_dark(), SURFACES_DARK)] {
            prop_assert!(main.contrast(on) >= 4.5);
            for surface in surfaces {
                prop_assert!(main.contrast(Color::parse(surface).expect("a colour")) >= 4.5, "{main:?} on {surface}");
            }
        }
    }
}
