//! `path-help` and the OpenAPI description, from the table of paths.

use serde_json::{Map, Value, json};

use crate::message::{Operation, Response};
use crate::paths::{ALL, Path};

/// Help for one path, or for the mount. There is always an answer: a server fails without.
pub(crate) fn help(path: &str) -> Response {
    let (text, paths) = match Path::of(path) {
        Some(found) => (describe(found), std::slice::from_ref(found)),
        None => (overview(), ALL),
    };
    Response::data(json!({ "help": text, "see_also": null, "openapi": openapi(paths) }))
}

fn overview() -> String {
    let mut text =
        "One-time links, sealed so that neither this server nor the gateway can read them.\n\nPaths:\n".to_owned();
    for path in ALL {
        text.push_str(&format!("    {:<22} {}\n", path.pattern, path.synopsis));
    }
    text
}

fn describe(path: &Path) -> String {
    let mut text = format!("{}\n\nOperations:\n", path.synopsis);
    for (operation, what) in path.operations {
        text.push_str(&format!("    {:<8} {what}\n", word(*operation)));
    }
    if !path.fields.is_empty() {
        text.push_str("\nFields:\n");
    }
    for (name, kind, what) in path.fields {
        text.push_str(&format!("    {name} ({kind})\n        {what}\n"));
    }
    if !path.description.is_empty() {
        text.push_str(&format!("\n{}\n", path.description));
    }
    text
}

fn word(operation: Operation) -> &'static str {
    match operation {
        Operation::Write => "write",
        Operation::Read => "read",
        Operation::List => "list",
        Operation::Delete => "delete",
        _ => "",
    }
}

fn openapi(paths: &[Path]) -> Value {
    let mut described = Map::new();
    for path in paths {
        let in_path = |name: &str| path.pattern.contains(&format!("{{{name}}}"));
        let parameters: Vec<Value> = path
            .fields
            .iter()
            .filter(|(name, ..)| in_path(name))
            .map(|(name, kind, what)| {
                json!({"name": name, "in": "path", "required": true, "description": what, "schema": {"type": kind}})
            })
            .collect();
        let mut entry = Map::new();
        entry.insert("description".to_owned(), path.synopsis.into());
        if !parameters.is_empty() {
            entry.insert("parameters".to_owned(), parameters.into());
        }
        for (operation, what) in path.operations {
            let (method, more) = match operation {
                Operation::Write => ("post", body(path, in_path)),
                Operation::Delete => ("delete", json!({})),
                Operation::List => {
                    let list = json!({"name": "list", "in": "query", "required": true, "schema": {"type": "string", "enum": ["true"]}});
                    ("get", json!({ "parameters": [list] }))
                }
                _ => ("get", json!({})),
            };
            let mut described = more.as_object().cloned().unwrap_or_default();
            described.insert("summary".to_owned(), (*what).into());
            described.insert("operationId".to_owned(), operation_id(path.pattern, *operation).into());
            described.insert("tags".to_owned(), json!(["secrets"]));
            described.insert("responses".to_owned(), json!({"200": {"description": "OK"}}));
            entry.insert(method.to_owned(), described.into());
        }
        described.insert(format!("/{}", path.pattern), entry.into());
    }
    json!({"openapi": "3.0.2", "info": {"title": "Password Sender", "version": env!("CARGO_PKG_VERSION")}, "paths": described})
}

fn body(path: &Path, in_path: impl Fn(&str) -> bool) -> Value {
    let properties: Map<String, Value> = path
        .fields
        .iter()
        .filter(|(name, ..)| !in_path(name))
        .map(|(name, kind, what)| {
            let mut schema = json!({"type": kind, "description": what});
            if let (Some(schema), "array") = (schema.as_object_mut(), *kind) {
                schema.insert("items".to_owned(), json!({}));
            }
            ((*name).to_owned(), schema)
        })
        .collect();
    json!({"requestBody": {"content": {"application/json": {"schema": {"type": "object", "properties": properties}}}}})
}

fn operation_id(pattern: &str, operation: Operation) -> String {
    let plain: String = pattern.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    format!("password-sender-{}-{}", word(operation), plain.trim_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_is_there_for_whatever_is_asked() {
        for path in ["", "link/x", "links/AAAAAAAAAAAAAAAAAAAAAA", "no/such/path", "roles/", "\u{0}"] {
            let Response { data, lease, .. } = help(path);
            assert!(lease.is_none() && data["help"].is_string() && data["openapi"]["paths"].is_object(), "{path}");
        }
        assert!(help("link/x").data["help"].as_str().unwrap().contains("passphrase"));
        assert_eq!(help("").data["openapi"]["paths"].as_object().unwrap().len(), ALL.len());
    }

    #[test]
    fn names_of_operations_differ() {
        let mut names: Vec<String> =
            ALL.iter().flat_map(|path| path.operations.iter().map(|(op, _)| operation_id(path.pattern, *op))).collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
