//! The JSON of payloads.

use ps_core::encode::b64;
use ps_envelope::MAX_PAYLOAD_JSON;
use serde_json::{Value, json};

use super::{bad, good, payload_refused, repeated};

/// A field list of one, for payloads that are about something else.
pub(super) const F: &str = r#""fields":[{"key":"k","label":"","kind":"text","value":"v"}]"#;

pub(super) fn many(fields: usize, files: usize) -> String {
    let fields: Vec<_> =
        (0..fields).map(|n| format!(r#"{{"key":"k{n}","label":"","kind":"text","value":""}}"#)).collect();
    let files: Vec<_> = (0..files).map(|_| r#"{"name":"f","type":"","data":""}"#.to_owned()).collect();
    format!(r#"{{"v":1,"fields":[{}],"files":[{}]}}"#, fields.join(","), files.join(","))
}

pub(super) fn payload() -> Vec<Value> {
    let f = json!([{"key": "k", "label": "", "kind": "text", "value": "v"}]);
    let mut cases = Vec::new();
    let mut accept = |name: &str, text: String, mut want: Value| {
        if want.get("fields").is_none() {
            want["fields"] = f.clone();
        }
        cases.push(good(name, json!({"json": b64(text.as_bytes())}), json!({"payload": want})));
    };
    accept("least", format!(r#"{{"v":1,{F}}}"#), json!({}));
    accept(
        "every member",
        r#"{"v":1,"title":"T","purpose":"P","environment":"E","url":"https://x.example/","note":"N","sender":"S","worksForMs":3600000,"fields":[{"key":"user","label":"User","kind":"text","value":"u"},{"key":"pass","label":"Password","kind":"password","value":"p"},{"key":"site","label":"","kind":"url","value":"https://y.example/"},{"key":"pem","label":"","kind":"multiline","value":"a\nb"},{"key":"otp","label":"","kind":"totp","value":"JBSWY3DPEHPK3PXP"},{"key":"ssh","label":"","kind":"sshKey","value":"-----"}],"files":[{"name":"ca.pem","type":"application/x-pem-file","data":"AP8"},{"name":"empty","type":"","data":""}]}"#.into(),
        json!({
            "title": "T", "purpose": "P", "environment": "E", "url": "https://x.example/", "note": "N", "sender": "S",
            "worksForMs": 3_600_000,
            "fields": [
                {"key": "user", "label": "User", "kind": "text", "value": "u"},
                {"key": "pass", "label": "Password", "kind": "password", "value": "p"},
                {"key": "site", "label": "", "kind": "url", "value": "https://y.example/"},
                {"key": "pem", "label": "", "kind": "multiline", "value": "a\nb"},
                {"key": "otp", "label": "", "kind": "totp", "value": "JBSWY3DPEHPK3PXP"},
                {"key": "ssh", "label": "", "kind": "sshKey", "value": "-----"},
            ],
            "files": [
                {"name": "ca.pem", "type": "application/x-pem-file", "data": "AP8"},
                {"name": "empty", "type": "", "data": ""},
            ],
        }),
    );
    accept("members in another order", format!(r#"{{{F},"title":"T","v":1}}"#), json!({"title": "T"}));
    accept("white space", format!("\r\n\t {{ \"v\" : 1 , {F} }} \n"), json!({}));
    accept("unknown members", format!(r#"{{"v":1,{F},"x":{{"v":2,"fields":[null,true,1e9]}},"Title":5}}"#), json!({}));
    accept("an unknown member twice", format!(r#"{{"x":1,"x":2,"v":1,{F}}}"#), json!({}));
    accept("an unknown member called __proto__", format!(r#"{{"__proto__":{{"title":"no"}},"v":1,{F}}}"#), json!({}));
    accept("an unknown member with a lone surrogate", format!(r#"{{"x":"\ud800","v":1,{F}}}"#), json!({}));
    accept("empty texts", format!(r#"{{"v":1,"title":"","note":"",{F}}}"#), json!({"title": "", "note": ""}));
    accept(
        "escapes",
        format!(r#"{{"v":1,"note":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00\u0000",{F}}}"#),
        json!({"note": "\"\\/\u{8}\u{c}\n\r\té😀\0"}),
    );
    accept("escaped member name", format!(r#"{{"\u0076":1,"t\u0069tle":"T",{F}}}"#), json!({"title": "T"}));
    accept("version as 1.0", format!(r#"{{"v":1.0,{F}}}"#), json!({}));
    accept("version as 1e0", format!(r#"{{"v":1e0,{F}}}"#), json!({}));
    accept("zero duration", format!(r#"{{"v":1,"worksForMs":0,{F}}}"#), json!({"worksForMs": 0}));
    accept("minus zero duration", format!(r#"{{"v":1,"worksForMs":-0,{F}}}"#), json!({"worksForMs": 0}));
    accept("duration as 3.6e6", format!(r#"{{"v":1,"worksForMs":3.6e6,{F}}}"#), json!({"worksForMs": 3_600_000}));
    accept(
        "longest duration",
        format!(r#"{{"v":1,"worksForMs":9007199254740991,{F}}}"#),
        json!({"worksForMs": 9_007_199_254_740_991_i64}),
    );
    accept("empty list of files", format!(r#"{{"v":1,{F},"files":[]}}"#), json!({}));
    accept(
        "unknown kind",
        r#"{"v":1,"fields":[{"key":"k","label":"","kind":"hologram","value":"v"}]}"#.into(),
        json!({"fields": [{"key": "k", "label": "", "kind": "unknown", "value": "v"}]}),
    );
    accept(
        "kinds are spelled exactly",
        r#"{"v":1,"fields":[{"key":"k","label":"","kind":"Password","value":"v"}]}"#.into(),
        json!({"fields": [{"key": "k", "label": "", "kind": "unknown", "value": "v"}]}),
    );
    accept(
        "keys that differ in case, and a label twice",
        r#"{"v":1,"fields":[{"key":"a","label":"L","kind":"text","value":""},{"key":"A","label":"L","kind":"text","value":""}]}"#.into(),
        json!({"fields": [{"key": "a", "label": "L", "kind": "text", "value": ""}, {"key": "A", "label": "L", "kind": "text", "value": ""}]}),
    );
    accept(
        "one file and no field",
        many(0, 1),
        json!({"fields": [], "files": [{"name": "f", "type": "", "data": ""}]}),
    );
    let numbered = |n: usize| -> Value {
        (0..n).map(|n| json!({"key": format!("k{n}"), "label": "", "kind": "text", "value": ""})).collect()
    };
    accept("64 fields", many(64, 0), json!({"fields": numbered(64)}));
    accept(
        "63 fields and a file",
        many(63, 1),
        json!({"fields": numbered(63), "files": [{"name": "f", "type": "", "data": ""}]}),
    );
    let least = format!(r#"{{"v":1,{F}}}"#);
    let spaces = MAX_PAYLOAD_JSON - least.len();
    cases.push(good(
        "1 MiB",
        json!({"json": repeated(least.as_bytes(), b" ", spaces, b"")}),
        json!({"payload": {"fields": f}}),
    ));
    cases.push(bad(
        "1 MiB and a byte",
        json!({"json": repeated(least.as_bytes(), b" ", spaces + 1, b"")}),
        "too-large",
    ));

    let mut refuse = |name: &str, text: String, error: &str| {
        cases.push(bad(name, json!({"json": b64(text.as_bytes())}), error));
    };
    payload_refused::forms(&mut refuse);
    payload_refused::members(&mut refuse);
    cases.push(bad("not UTF-8", json!({"json": b64(&[least.as_bytes(), b"\xff"].concat())}), "bad-json"));
    let overlong = [br#"{"v":1,"title":"#, &[b'"', 0xc0, 0x80, b'"'][..], b",", F.as_bytes(), b"}"].concat();
    cases.push(bad("overlong UTF-8", json!({"json": b64(&overlong)}), "bad-json"));
    cases
}
