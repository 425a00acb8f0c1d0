//! Credentials in OpenBao, each with a mount, a role and a database user of its own, and manifests that deliver them.

use ps_testbed::{OpenBao, Testbed, unique};
use serde_json::{Map, Value, json};

/// A secret of KV version 2 with three keys: `username`, `password` and `other`, which nobody delivers.
pub struct KvSource {
    pub mount: String,
    pub path: String,
    pub password: String,
}

impl KvSource {
    /// In a mount of its own.
    pub async fn new(bao: &OpenBao) -> Self {
        let mount = unique("kv");
        bao.mount_kv2(&mount).await.unwrap();
        Self::below(bao, &mount).await
    }

    /// Another path of the same mount.
    pub async fn below(bao: &OpenBao, mount: &str) -> Self {
        Self::with_password(bao, mount, &unique("pw")).await
    }

    /// The same with a password of the caller's choice.
    pub async fn with_password(bao: &OpenBao, mount: &str, password: &str) -> Self {
        let (path, password) = (unique("app"), password.to_owned());
        let data = json!({"username": "shop", "password": password, "other": "stays <as> it is"});
        bao.kv_put(mount, &path, data).await.unwrap();
        Self { mount: mount.to_owned(), path, password }
    }

    /// What reading, replacing and destroying it needs, and no more.
    pub fn policy(&self) -> String {
        let Self { mount, path, .. } = self;
        format!(
            r#"path "{mount}/data/{path}" {{ capabilities = ["read", "patch"] }}
               path "{mount}/metadata/{path}" {{ capabilities = ["read"] }}
               path "{mount}/destroy/{path}" {{ capabilities = ["update"] }}
            "#
        )
    }

    /// The same for every secret of its mount, and all that lies beside them.
    pub fn policy_of_mount(&self) -> String {
        format!("path \"{}/*\" {{ capabilities = [\"read\", \"patch\", \"update\"] }}", self.mount)
    }

    /// The newest version's data.
    pub async fn now(&self, bao: &OpenBao) -> Map<String, Value> {
        bao.kv_get(&self.mount, &self.path, 0).await.unwrap().unwrap().data.unwrap()
    }

    /// Whether version 1 is destroyed, and version 2 holds another password and the other keys as they were.
    pub async fn assert_replaced(&self, bao: &OpenBao) {
        let (now, first) = (self.now(bao).await, bao.kv_get(&self.mount, &self.path, 1).await.unwrap().unwrap());
        assert_eq!((first.data, &first.metadata["destroyed"]), (None, &json!(true)), "version 1");
        assert_ne!(now["password"], json!(self.password));
        assert_eq!(now["password"].as_str().unwrap().len(), 32);
        assert_eq!((&now["username"], &now["other"]), (&json!("shop"), &json!("stays <as> it is")));
        let metadata = bao.kv_metadata(&self.mount, &self.path).await.unwrap();
        assert_eq!(metadata["current_version"], 2, "{metadata}");
    }

    /// Whether it is as it was made.
    pub async fn is_untouched(&self, bao: &OpenBao) -> bool {
        let metadata = bao.kv_metadata(&self.mount, &self.path).await.unwrap();
        metadata["current_version"] == 1 && self.now(bao).await["password"] == json!(self.password)
    }
}

/// A static role of the database engine, with a user of its own in PostgreSQL.
#[derive(Clone)]
pub struct RoleSource {
    pub mount: String,
    pub role: String,
    pub user: String,
    /// The password that the role has now, before anything is delivered.
    pub password: String,
}

impl RoleSource {
    pub async fn new(bao: &OpenBao) -> Self {
        let postgres = Testbed::connect_or_start().unwrap().postgres().await.unwrap();
        let (mount, role, user) = (unique("db"), unique("role"), unique("user"));
        postgres.create_user(&user, "first").await.unwrap();
        bao.database_config(&mount, "main", postgres).await.unwrap();
        bao.static_role(&mount, &role, "main", &user, "24h").await.unwrap();
        let (_, password) = bao.static_creds(&mount, &role).await.unwrap();
        Self { mount, role, user, password }
    }

    pub fn policy(&self) -> String {
        let Self { mount, role, .. } = self;
        format!(
            r#"path "{mount}/static-creds/{role}" {{ capabilities = ["read"] }}
               path "{mount}/rotate-role/{role}" {{ capabilities = ["update"] }}
            "#
        )
    }

    /// Whether the target itself accepts a password of this role's user.
    pub async fn logs_in(&self, password: &str) -> bool {
        let postgres = Testbed::connect_or_start().unwrap().postgres().await.unwrap();
        postgres.can_login(&self.user, password).await.unwrap()
    }

    /// The password that Vault has for it now.
    pub async fn current(&self, bao: &OpenBao) -> String {
        bao.static_creds(&self.mount, &self.role).await.unwrap().1
    }
}

/// A manifest for a KV source: the link lives `ttl`, the credential `after` its first opening. `more` is merged into the
/// spec (null removes a member).
pub fn kv_delivery(name: &str, to: &str, source: &KvSource, ttl: &str, after: &str, more: Value) -> String {
    let spec = json!({
        "recipient": {"email": to, "name": "Alice"},
        "source": {"vault": {"connectionRef": {"name": "vault"}, "kv": {"mount": source.mount, "path": source.path}}},
        "fields": [{"label": "User name", "key": "username"}, {"label": "Password", "key": "password", "kind": "password"}],
        "context": {"title": "Database of the web shop"},
        "link": {"ttl": ttl},
        "rotation": {"strategy": "WriteNewVersion", "afterRetrieval": after},
    });
    manifest(name, spec, more)
}

/// A manifest for a static role.
pub fn role_delivery(name: &str, to: &str, source: &RoleSource, ttl: &str, after: &str, more: Value) -> String {
    let database = json!({"mount": source.mount, "staticRole": source.role});
    let spec = json!({
        "recipient": {"email": to},
        "source": {"vault": {"connectionRef": {"name": "vault"}, "database": database}},
        "link": {"ttl": ttl},
        "rotation": {"afterRetrieval": after},
    });
    manifest(name, spec, more)
}

fn manifest(name: &str, mut spec: Value, more: Value) -> String {
    merge(&mut spec, more);
    let object = json!({
        "apiVersion": "passwordsender.io/v1alpha1",
        "kind": "SecretDelivery",
        "metadata": {"name": name},
        "spec": spec,
    });
    serde_yaml::to_string(&object).unwrap()
}

/// JSON Merge Patch, RFC 7396.
fn merge(target: &mut Value, patch: Value) {
    match patch {
        Value::Object(patch) => {
            if !target.is_object() {
                *target = json!({});
            }
            let members = target.as_object_mut().unwrap();
            for (name, value) in patch {
                if value.is_null() {
                    members.remove(&name);
                } else {
                    merge(members.entry(name).or_insert(Value::Null), value);
                }
            }
        }
        Value::Null => {}
        other => *target = other,
    }
}
