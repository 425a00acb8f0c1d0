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
    for (operation, what, _) in path.operations {
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
    let described: Map<String, Value> =
        paths.iter().map(|path| (format!("/{}", path.pattern), entry(path).into())).collect();
    json!({"openapi": "3.0.2", "info": {"title": "Password Sender", "version": env!("CARGO_PKG_VERSION")}, "paths": described})
}

/// One path of the document. The server keeps of it what its own structures have: no status but a number, for example.
fn entry(path: &Path) -> Map<String, Value> {
    let mut entry = Map::new();
    entry.insert("description".to_owned(), path.synopsis.into());
    let in_path: Vec<Value> =
        path.fields.iter().filter(|field| in_path(path, field)).map(|f| parameter(f, "path")).collect();
    if !in_path.is_empty() {
        entry.insert("parameters".to_owned(), in_path.into());
    }
    for (operation, what, status) in path.operations {
        let (method, mut described) = match operation {
            Operation::Write => ("post", body(path)),
            Operation::Delete => ("delete", Map::new()),
            Operation::List => {
                let schema = json!({"type": "string", "enum": ["true"]});
                let list = json!({"name": "list", "in": "query", "required": true, "description": "Says that it is a list.", "schema": schema});
                ("get", Map::from_iter([("parameters".to_owned(), json!([list]))]))
            }
            _ => ("get", query(path)),
        };
        described.insert("summary".to_owned(), (*what).into());
        if !path.description.is_empty() {
            described.insert("description".to_owned(), path.description.into());
        }
        described.insert("operationId".to_owned(), operation_id(path.pattern, *operation).into());
        described.insert("tags".to_owned(), json!(["secrets"]));
        described.insert("responses".to_owned(), responses(path, *operation, *status));
        entry.insert(method.to_owned(), described.into());
    }
    entry
}

type Field = (&'static str, &'static str, &'static str);

/// Whether the field stands in the path itself.
fn in_path(path: &Path, (name, ..): &Field) -> bool {
    path.pattern.contains(&format!("{{{name}}}"))
}

fn parameter((name, kind, what): &Field, place: &str) -> Value {
    json!({"name": name, "in": place, "required": place == "path", "description": what, "schema": {"type": kind}})
}

/// What a read takes. Where something is written too, the fields are those of the write.
fn query(path: &Path) -> Map<String, Value> {
    let written = path.operations.iter().any(|(operation, ..)| *operation == Operation::Write);
    let asked: Vec<Value> =
        path.fields.iter().filter(|field| !written && !in_path(path, field)).map(|f| parameter(f, "query")).collect();
    if asked.is_empty() { Map::new() } else { Map::from_iter([("parameters".to_owned(), asked.into())]) }
}

fn body(path: &Path) -> Map<String, Value> {
    let written: Vec<&Field> = path.fields.iter().filter(|field| !in_path(path, field)).collect();
    if written.is_empty() {
        return Map::new();
    }
    let properties: Map<String, Value> = written
        .into_iter()
        .map(|(name, kind, what)| {
            let mut schema = json!({"type": kind, "description": what});
            if let (Some(schema), "array") = (schema.as_object_mut(), *kind) {
                let items = if *name == "fields" { "object" } else { "string" };
                schema.insert("items".to_owned(), json!({ "type": items }));
            }
            ((*name).to_owned(), schema)
        })
        .collect();
    let mut schema = json!({"type": "object", "properties": properties});
    if let (Some(schema), Ok(example)) = (schema.as_object_mut(), serde_json::from_str::<Value>(path.example)) {
        schema.insert("example".to_owned(), example);
    }
    let content = json!({"required": true, "content": {"application/json": {"schema": schema}}});
    Map::from_iter([("requestBody".to_owned(), content)])
}

/// The statuses that the plugin answers with.
fn responses(path: &Path, operation: Operation, done: u16) -> Value {
    let what = if done == 204 { "Done; there is nothing to say." } else { "OK" };
    let mut statuses = vec![(done, what)];
    if path.pattern.starts_with("gateway/") {
        statuses.extend([
            (400, "The request is malformed, or not offered here."),
            (403, "Wrong opening code, or wrong passphrase."),
            (404, "No such link."),
            (409, "Claimed by somebody else."),
            (410, "The link is over."),
            (429, "To be tried again later."),
        ]);
    } else if operation == Operation::Write {
        statuses.push((400, "What is wrong, in words."));
    } else if operation == Operation::Read && path.pattern.contains('{') {
        statuses.push((404, "There is none."));
    }
    statuses
        .into_iter()
        .map(|(status, what)| (status.to_string(), json!({ "description": what })))
        .collect::<Map<_, _>>()
        .into()
}

fn operation_id(pattern: &str, operation: Operation) -> String {
    let words: Vec<&str> =
        pattern.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    format!("password-sender-{}-{}", word(operation), words.join("-"))
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
        let mut names: Vec<String> = ALL
            .iter()
            .flat_map(|path| path.operations.iter().map(|(op, ..)| operation_id(path.pattern, *op)))
            .collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn what_is_proposed_is_json_with_fields_that_are_described() {
        for path in ALL.iter().filter(|path| !path.example.is_empty()) {
            let proposed: Map<String, Value> = serde_json::from_str(path.example).unwrap();
            let known = |name: &String| path.fields.iter().any(|(field, ..)| field == name);
            // A link takes any field.
            assert!(path.pattern == "link/{role}" || proposed.keys().all(known), "{}", path.pattern);
        }
    }
}
