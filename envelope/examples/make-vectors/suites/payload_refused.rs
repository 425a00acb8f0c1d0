//! Payloads that a client must refuse.

use super::payload::{F, many};

pub(super) fn forms(refuse: &mut impl FnMut(&str, String, &str)) {
    refuse("empty", String::new(), "bad-json");
    refuse("null", "null".into(), "wrong-type");
    refuse("an array", format!("[{{\"v\":1,{F}}}]"), "wrong-type");
    refuse("byte order mark", format!("\u{feff}{{\"v\":1,{F}}}"), "bad-json");
    refuse("something behind", format!("{{\"v\":1,{F}}}x"), "bad-json");
    refuse("NUL behind", format!("{{\"v\":1,{F}}}\0"), "bad-json");
    refuse("cut off", format!("{{\"v\":1,{F}"), "bad-json");
    refuse("comma behind the last member", format!("{{\"v\":1,{F},}}"), "bad-json");
    refuse("single quotes", format!("{{'v':1,{F}}}"), "bad-json");
    refuse("comment", format!("{{/**/\"v\":1,{F}}}"), "bad-json");
    refuse("line end inside text", format!("{{\"v\":1,\"title\":\"a\nb\",{F}}}"), "bad-json");
    refuse("leading zero", format!("{{\"v\":01,{F}}}"), "bad-json");
    refuse("NaN", format!("{{\"v\":1,\"worksForMs\":NaN,{F}}}"), "bad-json");
    refuse("broken escape", format!(r#"{{"v":1,"title":"\x41",{F}}}"#), "bad-json");
    refuse("lone high surrogate", format!(r#"{{"v":1,"title":"\ud83d",{F}}}"#), "lone-surrogate");
    refuse("lone low surrogate", format!(r#"{{"v":1,"title":"\ude00",{F}}}"#), "lone-surrogate");
    let lone = r#"{"v":1,"fields":[{"key":"k","label":"","kind":"text","value":"\udfff"}]}"#;
    refuse("lone surrogate in a value", lone.into(), "lone-surrogate");
}

pub(super) fn members(refuse: &mut impl FnMut(&str, String, &str)) {
    refuse("no version", format!("{{{F}}}"), "missing-member");
    refuse("version 2", format!("{{\"v\":2,{F}}}"), "bad-version");
    refuse("version 0", format!("{{\"v\":0,{F}}}"), "bad-version");
    refuse("version 1.5", format!("{{\"v\":1.5,{F}}}"), "bad-number");
    refuse("version as text", format!("{{\"v\":\"1\",{F}}}"), "wrong-type");
    refuse("version as true", format!("{{\"v\":true,{F}}}"), "wrong-type");
    for name in ["title", "purpose", "environment", "url", "note", "sender"] {
        refuse(&format!("{name} is null"), format!("{{\"v\":1,\"{name}\":null,{F}}}"), "wrong-type");
        refuse(
            &format!("{name} twice"),
            format!("{{\"v\":1,\"{name}\":\"\",{F},\"{name}\":\"\"}}"),
            "duplicate-member",
        );
    }
    refuse("title is a number", format!("{{\"v\":1,\"title\":7,{F}}}"), "wrong-type");
    refuse("version twice", format!("{{\"v\":1,{F},\"v\":1}}"), "duplicate-member");
    refuse("version twice, once escaped", format!("{{\"v\":1,{F},\"\\u0076\":1}}"), "duplicate-member");
    refuse("fields twice", format!("{{\"v\":1,{F},{F}}}"), "duplicate-member");
    refuse("files twice", format!("{{\"v\":1,{F},\"files\":[],\"files\":[]}}"), "duplicate-member");
    refuse("duration twice", format!("{{\"v\":1,{F},\"worksForMs\":1,\"worksForMs\":1}}"), "duplicate-member");
    refuse("negative duration", format!("{{\"v\":1,\"worksForMs\":-1,{F}}}"), "bad-number");
    refuse("half a millisecond", format!("{{\"v\":1,\"worksForMs\":0.5,{F}}}"), "bad-number");
    refuse("duration too long", format!("{{\"v\":1,\"worksForMs\":9007199254740992,{F}}}"), "bad-number");
    refuse("infinite duration", format!("{{\"v\":1,\"worksForMs\":1e400,{F}}}"), "bad-number");
    refuse("duration as text", format!("{{\"v\":1,\"worksForMs\":\"1\",{F}}}"), "wrong-type");
    refuse("no fields", r#"{"v":1}"#.into(), "missing-member");
    refuse("fields null", r#"{"v":1,"fields":null}"#.into(), "wrong-type");
    refuse("fields an object", r#"{"v":1,"fields":{"k":"v"}}"#.into(), "wrong-type");
    refuse("files but no fields", r#"{"v":1,"files":[{"name":"f","type":"","data":""}]}"#.into(), "missing-member");
    refuse("no field and no file", many(0, 0), "item-count");
    refuse("65 fields", many(65, 0), "item-count");
    refuse("64 fields and a file", many(64, 1), "item-count");
    refuse("65 files", many(0, 65), "item-count");

    let one = |field: &str| format!(r#"{{"v":1,"fields":[{field}]}}"#);
    for name in ["key", "label", "kind", "value"] {
        let member = |skip: &str| -> String {
            let all = ["key", "label", "kind", "value"].into_iter().filter(|n| *n != skip);
            all.map(|n| format!("\"{n}\":\"text\"")).collect::<Vec<_>>().join(",")
        };
        refuse(&format!("field without {name}"), one(&format!("{{{}}}", member(name))), "missing-member");
        refuse(
            &format!("field with {name} twice"),
            one(&format!("{{{},\"{name}\":\"x\"}}", member(""))),
            "duplicate-member",
        );
        refuse(&format!("field with {name} null"), one(&format!("{{{},\"{name}\":null}}", member(name))), "wrong-type");
    }
    refuse("field is text", one("\"k\""), "wrong-type");
    refuse("field with an empty key", one(r#"{"key":"","label":"L","kind":"text","value":"v"}"#), "empty-field-key");
    let twice = r#"{"key":"k","label":"","kind":"text","value":"v"},{"\u006bey":"\u006b","label":"","kind":"text","value":"w"}"#;
    refuse("two fields with one key", one(twice), "repeated-field-key");
    let file = |data: &str| format!(r#"{{"v":1,{F},"files":[{{"name":"f","type":"","data":{data}}}]}}"#);
    refuse("file with padding in its data", file("\"AA==\""), "bad-base64");
    refuse("file with unused bits set", file("\"AB\""), "bad-base64");
    refuse("file with plain base64", file("\"+/+/\""), "bad-base64");
    refuse("file with a line end in its data", file("\"AA\\n\""), "bad-base64");
    refuse("file with data null", file("null"), "wrong-type");
    refuse("file without data", format!(r#"{{"v":1,{F},"files":[{{"name":"f","type":""}}]}}"#), "missing-member");
    refuse("file without name", format!(r#"{{"v":1,{F},"files":[{{"type":"","data":""}}]}}"#), "missing-member");
    refuse("file without type", format!(r#"{{"v":1,{F},"files":[{{"name":"f","data":""}}]}}"#), "missing-member");
    refuse(
        "file with a name twice",
        format!(r#"{{"v":1,{F},"files":[{{"name":"f","name":"f","type":"","data":""}}]}}"#),
        "duplicate-member",
    );
    refuse("files an object", format!(r#"{{"v":1,{F},"files":{{}}}}"#), "wrong-type");
}
